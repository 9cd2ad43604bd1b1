"""The commands of `mcp`, here and on a studio elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import tests.mcp_servers
from tests.elsewhere import where  # noqa: F401, RUF100
from vllm_studio_tui.cli import mcp as command
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError

WELL = str(Path(tests.mcp_servers.__file__).parent / "well.py")
pytestmark = pytest.mark.usefixtures("where")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*words: str, stdin: str | None = None) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(app, ["mcp", *words], input=stdin)


def document(*words: str) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_a_server_that_a_person_adds_is_agreed_to_and_used() -> None:
    added = run("add", "well", "--env", "GREETING=hi there", "--timeout", "30", "--", sys.executable, WELL)
    assert added.exit_code == 0, added.output
    (listed,) = document("list")["servers"]
    assert (listed["name"], listed["state"], listed["command"], listed["args"]) == (
        "well",
        "agreed",
        sys.executable,
        [WELL],
    )
    assert (listed["env"], listed["timeout"]) == ({"GREETING": "hi there"}, 30.0)
    report = document("test", "well")
    assert (report["title"], report["version"]) == ("well", "1.2")
    assert "well__add" in {one["name"] for one in report["tools"]}
    assert document("call", "well__variable", '{"name": "GREETING"}')["text"] == "hi there"
    failed = run("call", "well__fail", '{"why": "a reason"}')
    assert failed.exit_code == 1
    assert "a reason" in failed.stdout
    assert {one["server"] for one in document("tools", "well", "builtin")["tools"]} == {"well", "builtin"}
    assert run("enable", "well", "--off").exit_code == 0
    assert document("list")["servers"][0]["state"] == "off"
    assert run("remove", "well").exit_code == 0
    assert document("list") == {"servers": []}
    assert document("consents") == {"consents": []}


def test_servers_of_a_file_are_taken_over_and_wait_for_the_person(tmp_path: Path) -> None:
    entry = {"command": sys.executable, "args": [WELL], "env": {"A_TOKEN": "env:HOME"}}
    file = tmp_path / "claude.json"
    file.write_text(json.dumps({"mcpServers": {"my well": entry, "far": {"url": "https://a.invalid/mcp"}}}))
    dry = run("import", str(file), "--dry-run")
    assert "nothing was kept" in dry.stdout
    assert document("list")["servers"] == []
    found = document("import", str(file))
    assert found["kept"] == ["my-well", "far"]
    assert found["notes"] == ["my well: called my-well here"]
    assert {one["state"] for one in document("list")["servers"]} == {"waits for you"}
    refused = run("test", "my-well")
    assert isinstance(refused.exception, UsageError)
    assert "would run" in refused.stderr
    assert "it is given A_TOKEN from env:HOME" in refused.stderr
    told = document("tools", "my-well")
    assert (told["tools"], set(told["problems"])) == ([], {"far", "my-well"})
    assert "until you agree" in told["problems"]["far"]["title"]
    assert run("enable", "far", "--off").exit_code == 0
    assert "far is off" in str(run("test", "far", "--yes").exception)
    assert set(document("tools", "my-well")["problems"]) == {"my-well"}
    assert run("call", "my-well__add", "{}").exit_code == 1
    assert run("test", "my-well", "--yes").exit_code == 0
    assert document("call", "my-well__add", '{"a": 1, "b": 2}')["text"] == "3"
    (kept,) = document("consents")["consents"]
    assert (kept["server"], kept["tool"]) == ("my-well", None)
    assert document("consents", "--forget", str(kept["id"])) == {"consents": []}
    assert run("call", "my-well__add", '{"a": 1, "b": 2}').exit_code == 1


def test_why_a_server_has_no_tools_is_told() -> None:
    assert run("add", "gone", "--", "no-such-program-at-all").exit_code == 0
    done = run("tools")
    assert done.exit_code == 0
    assert "builtin__time" in done.stdout
    assert "gone cannot be started: There is no program no-such-program-at-all" in done.stderr


def test_a_file_is_read_from_standard_input() -> None:
    done = run("import", "-", stdin='{"mcpServers": {"a": {"command": "x"}}}')
    assert done.exit_code == 0
    assert "1 kept" in done.stdout


def test_a_server_elsewhere_is_kept_with_its_headers_apart(home: Path) -> None:
    words = ("add", "far", "--header", "Authorization: Bearer abc-1234567", "--sse", "https://a.invalid/x")
    assert run(*words).exit_code == 0
    (listed,) = document("list")["servers"]
    assert (listed["type"], listed["url"]) == ("sse", "https://a.invalid/x")
    assert listed["headers"]["Authorization"].startswith("file:")
    assert "abc-1234567" not in run("list", "--json").output


def test_the_built_in_tools_are_called_with_arguments_of_standard_input_too() -> None:
    assert (
        json.loads(document("call", "builtin__time", '{"timezone": "Asia/Tokyo"}')["text"])["timezone"] == "Asia/Tokyo"
    )
    done = run("call", "builtin__time", "-", stdin='{"timezone": "Asia/Tokyo"}')
    assert "+09:00" in done.stdout
    assert json.loads(run("call", "studio__status").stdout)["runs"] == []


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("add", "a b", "--", "x"), UsageError, "cannot be the name"),
        (("add", "a", "--env", "nothing", "--", "x"), UsageError, "--env is written NAME=VALUE"),
        (("add", "a", "--header", "A: b", "--", "x"), UsageError, "are for a URL"),
        (("add", "a", "--cwd", "/", "https://a.invalid"), UsageError, "a URL takes no arguments"),
        (("add", "a", "--timeout", "0", "--", "x"), UsageError, "0 to 3600"),
        (("remove", "none"), NotFound, "no MCP server none"),
        (("test", "none"), NotFound, "no MCP server none"),
        (("import", "/no/such/file"), StudioError, "cannot be read"),
        (("call", "builtin__time", "{"), UsageError, "no JSON"),
        (("call", "builtin__time", "[]"), UsageError, "no JSON object"),
        (("consents", "--forget", "77"), NotFound, "no consent 77"),
    ],
)
def test_what_cannot_be_done_is_told(words: tuple[str, ...], error: type[StudioError], says: str) -> None:
    done = run(*words)
    assert isinstance(done.exception, error)
    assert says in str(done.exception)


def test_a_mistyped_option_is_no_command() -> None:
    assert run("add", "a", "--evn", "A=1", "--", "x").exit_code == 2
    assert document("list") == {"servers": []}
