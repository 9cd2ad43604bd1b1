"""What is asked of a hub, what it answers, and where the token goes."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub_server import Hub, running_hub
from tests.ports import free_port
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.models.hub_client import HubAccess, HubClient
from vllm_studio_tui.models.hub_errors import HubError, unreachable
from vllm_studio_tui.models.pulling.plan import make_plan

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": os.urandom(300_000),
    "pytorch_model.bin": b"x" * 1000,
    "a/b c#1.json": b"{}",
    "LICENSE": b"free",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        hub.add("acme/tiny", dict(FILES))
        yield hub


def access(hub: Hub, tmp_path: Path, **more: str) -> HubAccess:
    return HubAccess.of({"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path), **more})


def refusal(hub: Hub, tmp_path: Path, name: str = "acme/tiny", revision: str | None = None, **more: str) -> HubError:
    with pytest.raises(HubError) as raised:
        make_plan(access(hub, tmp_path, **more), name, revision=revision)
    assert raised.value.title
    assert raised.value.advice
    return raised.value


def test_a_plan_has_files_sizes_digests_room_and_what_is_left(hub: Hub, tmp_path: Path) -> None:
    plan = make_plan(access(hub, tmp_path), "acme/tiny")
    assert {one.name: one.size for one in plan.files} == {
        name: len(body) for name, body in FILES.items() if name != "pytorch_model.bin"
    }
    assert plan.commit == hub.repos["acme/tiny"].commit
    assert plan.licence == "apache-2.0"
    assert plan.here == 0
    assert plan.fits is True
    assert plan.skipped[0].names == ("pytorch_model.bin",)
    assert plan.target == "acme/tiny"
    assert json.dumps(plan.to_json())
    # Four files and a folder: the list came in pages.
    assert sum("/tree/" in one.path for one in hub.asked) == 2


def test_a_range_of_a_file_is_read_from_where_it_is_led(hub: Hub, tmp_path: Path) -> None:
    with HubClient(access(hub, tmp_path)) as client:
        commit = hub.repos["acme/tiny"].commit
        body = FILES["model.safetensors"]
        assert client.read("acme/tiny", commit, "model.safetensors", 1000, 500) == body[1000:1500]
        assert client.read("acme/tiny", commit, "a/b c#1.json", 0, 100) == b"{}"
        assert client.read("acme/tiny", commit, "model.safetensors", 10**9, 10) == b""
        hub.ignore_ranges = True
        assert client.read("acme/tiny", commit, "model.safetensors", 1000, 500) == body[1000:1500]
    assert hub.bytes_sent() < 2 * len(body)


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub: Hub, tmp_path: Path) -> None:
    hub.tokens.add("hf_secret")
    hub.repos["acme/tiny"].gated = "auto"
    hub.repos["acme/tiny"].granted.add("hf_secret")
    with HubClient(access(hub, tmp_path, HF_TOKEN="hf_secret")) as client:
        assert client.repository("acme/tiny").gated
        client.check_access("acme/tiny")
        assert client.read("acme/tiny", hub.repos["acme/tiny"].commit, "model.safetensors", 0, 10)
    assert all(one.authorization == "Bearer hf_secret" for one in hub.asked if one.host == "hub")
    storage = [one for one in hub.asked if one.host == "storage"]
    assert storage
    assert all(one.authorization is None for one in storage)


def test_gated_models_say_what_is_missing_without_with_a_wrong_and_with_a_new_token(hub: Hub, tmp_path: Path) -> None:
    hub.tokens.add("hf_new")
    hub.repos["acme/tiny"].gated = "manual"
    without = refusal(hub, tmp_path)
    assert (without.kind, "No token is set" in without.cause) == ("gated", True)
    assert f"{hub.endpoint}/acme/tiny" in without.advice
    assert "HF_TOKEN" in without.advice
    wrong = refusal(hub, tmp_path, HF_TOKEN="hf_wrong")
    assert wrong.kind == "token"
    assert "HF_TOKEN" in wrong.cause
    new = refusal(hub, tmp_path, HF_TOKEN="hf_new")
    assert new.kind == "gated"
    assert "no access yet" in new.cause
    assert "HF_TOKEN" in new.cause


def test_a_token_is_read_from_the_file_that_a_login_writes(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/token").write_text("hf_file\n")
    found = access(hub, tmp_path)
    assert found.token == "hf_file"
    assert found.token_from == str(tmp_path / "hf/token")
    assert access(hub, tmp_path, HF_HUB_DISABLE_IMPLICIT_TOKEN="1").token is None
    assert access(hub, tmp_path, HF_TOKEN="hf_\x1b[31m").token is None


def test_a_model_that_is_not_there_is_told_from_one_that_may_be_private(hub: Hub, tmp_path: Path) -> None:
    hub.tokens.add("hf_x")
    assert "no token is set" in refusal(hub, tmp_path, "acme/none").cause
    assert "has no access" in refusal(hub, tmp_path, "acme/none", HF_TOKEN="hf_x").cause
    assert refusal(hub, tmp_path, revision="v9").kind == "no_revision"


def test_offline_is_said_by_the_variable_that_says_so(hub: Hub, tmp_path: Path) -> None:
    told = refusal(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert told.kind == "offline"
    assert "HF_HUB_OFFLINE" in told.cause
    assert hub.asked == []


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [("http://no-such-host.invalid", "dns"), ("http://127.0.0.1:9", "connect"), ("ftp://x", "wrong"),
     ("nonsense", "wrong"), ("http://[", "wrong")],
)  # fmt: skip
def test_a_hub_that_cannot_be_reached_is_said_in_words(tmp_path: Path, endpoint: str, kind: str) -> None:
    found = HubAccess.of({"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)})
    with pytest.raises(HubError) as raised, HubClient(found) as client:
        client.repository("acme/tiny")
    assert raised.value.kind == kind
    assert raised.value.advice


def test_a_proxy_that_is_not_there_and_a_certificate_that_is_not_trusted_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(HubError) as raised, HubClient(access(hub, tmp_path)) as client:
        client.repository("acme/tiny")
    assert raised.value.kind == "proxy"
    assert "http://127.0.0.1:" in raised.value.title
    monkeypatch.setenv("HTTP_PROXY", "http://me:hush@127.0.0.1:9")
    with pytest.raises(HubError) as raised, HubClient(access(hub, tmp_path)) as client:
        client.repository("acme/tiny")
    assert "hush" not in str(raised.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HubClient(access(hub, tmp_path)) as client:
        assert client.repository("acme/tiny").files
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(HubError) as raised, HubClient(access(hub, tmp_path)) as client:
        client.repository("acme/tiny")
    assert raised.value.kind == "proxy"
    monkeypatch.delenv("HTTP_PROXY")
    # A server that speaks no TLS is one whose TLS cannot be trusted.
    with pytest.raises(HubError) as raised:
        make_plan(HubAccess.of({"HF_ENDPOINT": hub.endpoint.replace("http", "https"), "HF_HOME": str(tmp_path)}), "a/b")
    assert raised.value.kind == "tls"
    told = unreachable(ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED: self-signed"), "hub.example")
    assert told.kind == "tls"
    assert "SSL_CERT_FILE" in told.advice


@pytest.mark.parametrize(
    ("status", "headers", "kind", "passing", "after"),
    [
        (429, {"Retry-After": "17"}, "busy", True, 17.0),
        (429, {"RateLimit": '"api";r=0;t=55'}, "busy", True, 55.0),
        (503, {}, "server", True, None),
        (500, {"Retry-After": "nonsense"}, "server", True, None),
        (418, {"X-Error-Message": "\x1b[31mteapot"}, "wrong", False, None),
        (403, {"X-Error-Message": "no"}, "forbidden", False, None),
    ],
)
def test_trouble_of_the_hub_says_whether_it_passes(
    hub: Hub, tmp_path: Path, status: int, headers: dict[str, str], kind: str, passing: bool, after: float | None
) -> None:
    hub.troubles.append((status, {name.replace("-", "_"): value for name, value in headers.items()}))
    told = refusal(hub, tmp_path)
    assert (told.kind, told.passing, told.after) == (kind, passing, after)
    assert "\x1b" not in str(told)


def test_answers_that_are_none_of_a_hub_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.troubles.append((200, {"Content_Type": "text/html"}))  # the page of a hotel's network
    assert "does not answer as a hub" in refusal(hub, tmp_path).title
    hub.troubles.extend([(302, {"Location": "/acme"})] * 10)
    assert "circles" in refusal(hub, tmp_path).title
    hub.troubles.clear()
    hub.troubles.append((302, {"Location": "file:///etc/passwd"}))
    assert refusal(hub, tmp_path).kind == "wrong"


def test_names_that_would_leave_the_folder_are_left_and_told(hub: Hub, tmp_path: Path) -> None:
    hub.add("acme/evil", {"config.json": b"{}", "../../.bashrc": b"x", "a\nb.json": b"{}"})
    plan = make_plan(access(hub, tmp_path), "acme/evil")
    assert [one.name for one in plan.files] == ["config.json"]
    assert set(plan.skipped[-1].names) == {"../../.bashrc", "a\nb.json"}


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("file") | JSON, "path": st.text(max_size=30) | st.just("x.safetensors") | JSON,
            "size": st.integers() | JSON, "oid": st.just("a" * 40) | JSON,
            "lfs": JSON
            | st.fixed_dictionaries({}, optional={"oid": st.just("B" * 64) | JSON, "size": st.integers() | JSON}),
        },
    ),
    max_size=6,
)  # fmt: skip
ABOUT = st.fixed_dictionaries(
    {},
    optional={
        "sha": st.just("c" * 40) | JSON,
        "gated": JSON,
        "cardData": JSON | st.fixed_dictionaries({"license": JSON}),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(about=ABOUT | JSON, tree=ENTRIES | JSON, raw=st.none() | st.binary(max_size=60))
def test_whatever_a_hub_answers_a_plan_or_words_come_of_it(
    hub: Hub, tmp_path: Path, about: object, tree: object, raw: bytes | None
) -> None:
    hub.bodies.clear()
    hub.bodies.extend([json.dumps(about).encode(), json.dumps(tree).encode() if raw is None else raw, b"{}"])
    try:
        plan = make_plan(access(hub, tmp_path), "acme/tiny")
    except StudioError as error:
        assert error.title
        return
    assert all(0 <= one.size < 1 << 50 and ".." not in one.name.split("/") for one in plan.files)
    assert json.dumps(plan.to_json())


def test_an_answer_without_an_end_is_not_read_to_it(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_studio_tui.models.hub_client.PAGE", 100_000)
    hub.bodies.append(b"[" + b" " * 5_000_000 + b"]")
    assert "more than a hub sends" in refusal(hub, tmp_path).title
    hub.bodies.append(b"[" * 90_000)
    assert "does not answer as a hub" in refusal(hub, tmp_path).title
