"""Files of MCP servers that other programs keep: every shape of them is read, and nothing makes the reader raise."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.tool_server import ToolServer
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tools.config_files import read_servers, without_comments
from vllm_studio_tui.tools.variables import filled

GIT = {"command": "uvx", "args": ["mcp-server-git", "--repository", "/srv/repo"], "env": {"LEVEL": "info"}}
EXPECTED = ToolServer("git", command="uvx", args=("mcp-server-git", "--repository", "/srv/repo"), env={"LEVEL": "info"})


def read(document: Any) -> list[ToolServer]:
    return read_servers(json.dumps(document).encode(), "a file")[0]


@pytest.mark.parametrize(
    "document",
    [
        {"mcpServers": {"git": GIT}},
        {"servers": {"git": {"type": "stdio", **GIT}}, "inputs": []},
        {"mcp": {"servers": {"git": GIT}}},
        {"mcp.servers": {"git": GIT}},
        {"editor.fontSize": 12, "mcp.servers": {"git": GIT}},
        {"context_servers": {"git": {"command": {"path": "uvx", "args": GIT["args"]}, "env": GIT["env"]}}},
        {"projects": {"/srv/repo": {"mcpServers": {"git": GIT}}}, "numStartups": 3},
        {"git": GIT},
        [{"name": "git", "enabled": True, **GIT}],
        {"name": "git", **GIT},
        {"mcpServers": {"git": {"command": ["uvx", *GIT["args"]], "env": ["LEVEL=info"]}}},
    ],
)
def test_every_shape_gives_the_same_server(document: Any) -> None:
    assert read(document) == [EXPECTED]


def test_toml_of_codex_is_read() -> None:
    toml = b'model = "o"\n[mcp_servers.git]\ncommand = "uvx"\nargs = ["mcp-server-git", "--repository", "/srv/repo"]\n'
    toml += b'env = { LEVEL = "info" }\n'
    assert read_servers(toml, "config.toml")[0] == [EXPECTED]


def test_comments_and_trailing_commas_are_borne() -> None:
    text = b"""\xef\xbb\xbf{
      // of VS Code
      "servers": {
        "web": {"url": "https://example.org/mcp?a=1//2", /* not a comment: */ "headers": {"X": "a, ]// b"},},
      },
    }"""
    (found,), _ = read_servers(text, "mcp.json")
    assert (found.kind, found.url, found.headers) == ("http", "https://example.org/mcp?a=1//2", {"X": "a, ]// b"})


@pytest.mark.parametrize(
    ("entry", "kind", "url"),
    [
        ({"url": "https://a.b/mcp"}, "http", "https://a.b/mcp"),
        ({"type": "http", "url": "https://a.b/mcp"}, "http", "https://a.b/mcp"),
        ({"transport": "streamable-http", "serverUrl": "https://a.b/x"}, "http", "https://a.b/x"),
        ({"httpUrl": "https://a.b/sse"}, "http", "https://a.b/sse"),
        ({"url": "https://a.b/sse"}, "sse", "https://a.b/sse"),
        ({"type": "sse", "url": "https://a.b/events"}, "sse", "https://a.b/events"),
    ],
)
def test_servers_elsewhere(entry: dict[str, Any], kind: str, url: str) -> None:
    (found,) = read({"mcpServers": {"a": entry}})
    assert (found.kind, found.url, found.command) == (kind, url, "")


def test_what_is_changed_is_said() -> None:
    document = {
        "servers": {
            "My Files!": {
                "command": "npx",
                "args": ["-y", "files", 8080, "${input:root-folder}"],
                "env": {"KEY": "${input:api_key}", "EMPTY": None, "NUMBER": 5, "FLAG": True},
                "disabled": True,
                "autoApprove": ["read"],
                "timeout": 90_000,
                "icon": "files.svg",
            },
            "studio": {"command": "x"},
            "half": {"args": []},
            "wrong": {"command": "x", "args": "not a list"},
            "ftp": {"url": "ftp://a.b/c"},
            "bad": 7,
        }
    }
    servers, notes = read_servers(json.dumps(document).encode(), "a file")
    files = servers[0]
    assert files.name == "My-Files"
    assert files.args == ("-y", "files", "8080", "${ROOT_FOLDER}")
    assert files.env == {"KEY": "${API_KEY}", "NUMBER": "5", "FLAG": "true"}
    assert (files.enabled, files.timeout, files.extra) == (False, 90.0, {"autoApprove": ["read"], "icon": "files.svg"})
    assert [one.name for one in servers] == ["My-Files", "studio-mcp"]
    told = "\n".join(notes)
    for words in (
        "called My-Files here",
        "asks for api_key: set the variable API_KEY",
        "`autoApprove` is not taken over",
        "half: left out: it has neither",
        "wrong: left out: `args` is no list",
        "ftp: left out",
        "bad: left out: its entry is no table",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "neither JSON nor TOML"),
        (b"{", "neither JSON nor TOML"),
        (b"[" * 100_000, "neither JSON nor TOML"),
        (b"{}", "holds no MCP server"),
        (b"7", "holds no MCP server"),
        (b'{"mcpServers": {}}', "holds no MCP server"),
        (b'{"mcpServers": {"a": {"command": ""}}}', "holds no MCP server"),
        (b" " * 5_000_000, "too large"),
    ],
)
def test_a_file_without_servers_is_told(raw: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        read_servers(raw, "a file")
    assert raised.value.advice or says == "too large"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_ENTRY = st.dictionaries(
    st.sampled_from(["command", "args", "env", "url", "headers", "type", "cwd", "timeout", "timeout_ms", "disabled",
                     "enabled", "tools", "description", "envFile", "autoApprove", "serverUrl", "legacy", "x"]),
    _VALUES | st.sampled_from(["uvx", "https://a.b/mcp", "stdio", "http", "sse", "${input:k}", "http://[::1"]),
    max_size=8,
)  # fmt: skip


@given(st.sampled_from(["mcpServers", "servers", "mcp.servers", "mcp"]), st.dictionaries(st.text(max_size=50), _ENTRY))
def test_no_entry_whatsoever_makes_the_reader_raise(key: str, entries: dict[str, Any]) -> None:
    with contextlib.suppress(UsageError):
        servers, _ = read_servers(json.dumps({key: entries}).encode(), "a file")
        for one in servers:
            assert one.fingerprint
            assert one.target is not None
            json.dumps(one.to_json())
            assert math.isfinite(one.timeout)
            assert 1 <= len(one.name) <= 40


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(str.encode) | _VALUES.map(lambda one: json.dumps(one).encode())
)
def test_no_bytes_whatsoever_make_the_reader_raise(raw: bytes) -> None:
    with contextlib.suppress(UsageError):
        read_servers(raw, "a file")


@given(_VALUES.filter(lambda one: "NaN" not in json.dumps(one)), st.sampled_from([None, 2]))
def test_json_without_comments_stays_as_it_is(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert json.loads(without_comments(text)) == json.loads(text)


@given(st.text(max_size=200))
def test_variables_are_filled_once_and_nothing_else_raises(text: str) -> None:
    with contextlib.suppress(StudioError):
        filled(text, {"A": "${B}", "B": "no"}, "x")
    assert filled("<${A}>", {"A": "${B}", "B": "no"}, "x") == "<${B}>"


# --- kept -------------------------------------------------------------------------------------------------


@pytest.fixture
def studio(tmp_path: Path) -> Any:
    with Studio.open_sync(Places.under(tmp_path)) as one:
        yield one


def test_servers_are_kept_as_they_were_read_and_none_is_agreed_to(studio: Studio) -> None:
    git = {**GIT, "cwd": "/srv", "icon": "x", "timeout": 5, "tools": ["log"]}
    web = {"url": "https://a.b/mcp", "headers": {"X-Team": "a"}}
    raw = json.dumps({"mcpServers": {"git": git, "web": web}}).encode()
    report = studio.tools.import_servers(raw, "a file")
    assert report.kept == ("git", "web")
    assert studio.tools.servers() == list(report.servers)
    assert [one.name for one in studio.tools.untrusted()] == ["git", "web"]
    again = studio.tools.import_servers(raw, "a file")
    assert (again.kept, again.present) == ((), ())
    other = json.dumps({"mcpServers": {"git": {"command": "evil"}}}).encode()
    assert studio.tools.import_servers(other, "a file").present == ("git",)
    assert studio.tools.server("git").command == "uvx"
    assert studio.tools.import_servers(other, "a file", replace=True).kept == ("git",)
    assert studio.tools.server("git").command == "evil"


def test_a_look_at_a_file_keeps_nothing(studio: Studio) -> None:
    raw = json.dumps({"mcpServers": {"web": {"url": "https://a.b", "headers": {"Authorization": "Bearer abc123456"}}}})
    report = studio.tools.import_servers(raw.encode(), "a file", dry_run=True)
    assert [one.name for one in report.servers] == ["web"]
    assert report.kept == ()
    assert studio.tools.servers() == []
    assert not (studio.places.data / "secrets").exists()


def test_secrets_of_a_file_are_kept_apart_and_shown_nowhere(studio: Studio) -> None:
    env = {"GITHUB_TOKEN": "ghp_abcdefghijkl", "LEVEL": "info", "OTHER_KEY": "${MY_KEY}"}
    headers = {"Authorization": "Bearer abc.def-123", "X-Team": "a"}
    raw = json.dumps({"mcpServers": {"git": {**GIT, "env": env}, "web": {"url": "https://a.b", "headers": headers}}})
    report = studio.tools.import_servers(raw.encode(), "a file")
    git, web = studio.tools.server("git"), studio.tools.server("web")
    assert git.env["GITHUB_TOKEN"].startswith("file:")
    assert (git.env["LEVEL"], git.env["OTHER_KEY"]) == ("info", "${MY_KEY}")
    assert web.headers["Authorization"].startswith("file:")
    assert filled(web.headers["Authorization"], {}, "web") == "Bearer abc.def-123"
    assert any("git: its secrets" in one for one in report.notes)
    kept = Path(git.env["GITHUB_TOKEN"].removeprefix("file:"))
    assert kept.stat().st_mode & 0o777 == 0o600
    told = json.dumps([one.to_json() for one in studio.tools.servers()]) + repr(studio.tools.servers())
    assert "ghp_" not in told
    assert "abc.def" not in told
    assert "ghp_" not in studio.places.database.read_bytes().decode("latin-1")
    assert git.reads == (f"GITHUB_TOKEN from file:{kept}", "OTHER_KEY from ${MY_KEY}")


def test_what_a_person_agrees_to_changes_with_command_arguments_names_and_references() -> None:
    base = EXPECTED
    prints = {
        base.fingerprint,
        ToolServer("git", command="uvx", args=base.args).fingerprint,
        ToolServer("git", command="uvx", args=(*base.args, "-x"), env=base.env).fingerprint,
        ToolServer("git", command="uv", args=base.args, env=base.env).fingerprint,
        ToolServer("git", command="uvx", args=base.args, env={"LEVEL": "file:~/.ssh/id"}).fingerprint,
    }
    assert len(prints) == 5
    assert ToolServer("other", command="uvx", args=base.args, env={"LEVEL": "debug"}).fingerprint == base.fingerprint


@pytest.mark.parametrize("name", ["", "studio", "builtin", "two words", "a" * 41, "x/y", "\x1b[2J"])
def test_a_name_that_cannot_be_one_is_refused(studio: Studio, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        studio.tools.add_server(name, GIT)


def test_two_of_a_name_are_refused_and_one_that_is_not_there_is_told(studio: Studio) -> None:
    studio.tools.add_server("git", GIT)
    with pytest.raises(UsageError, match="already"):
        studio.tools.add_server("git", GIT)
    with pytest.raises(NotFound, match="no MCP server hub") as raised:
        studio.tools.remove_server("hub")
    assert "git" in raised.value.advice
