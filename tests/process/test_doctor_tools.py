"""The doctor on MCP servers: real ones, hostile ones, and those that it must not start."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from tests.mcp_servers.hostile_http import hostile_site
from tests.process.test_mcp_client import FOLDER, WELL
from vllm_studio_tui.cli import doctor as cli
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.doctor import doctor, tool_servers
from vllm_studio_tui.services.doctor.context import Ground
from vllm_studio_tui.studio import Studio

HOSTILE = str(FOLDER / "hostile.py")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with Studio.open_sync(Places.under(tmp_path)) as one:
        yield one
    assert not [one for one in psutil.Process().children(recursive=True) if "mcp_servers" in " ".join(one.cmdline())]


@pytest.fixture
def ground(studio: Studio) -> Ground:
    return Ground(studio.places, {"PATH": os.environ["PATH"]})


def add(studio: Studio, name: str, *args: str, trust: bool = True) -> None:
    studio.tools.add_server(name, {"command": sys.executable, "args": list(args)}, trust=trust)


def test_servers_are_looked_at_and_none_is_started(studio: Studio, ground: Ground, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    touch = ("-c", f"open({str(mark)!r}, 'w')")
    assert tool_servers.tool_servers(ground)["servers"].state == "ok"
    add(studio, "agreed", *touch)
    add(studio, "new", *touch, trust=False)
    add(studio, "off", *touch)
    studio.tools.enable_server("off", False)
    studio.tools.add_server("gone", {"command": "no-such-program\x1b[2J"}, trust=True)
    studio.tools.add_server("needs", {"command": "true", "env": {"KEY": "${NOT_SET_HERE}"}}, trust=True)
    studio.tools.add_server("far", {"url": "http://127.0.0.1:9/mcp"}, trust=True)
    before = sorted(str(one) for one in tmp_path.rglob("*"))
    found = tool_servers.tool_servers(ground)
    assert {name: one.state for name, one in found.items()} == {
        "agreed": "ok", "far": "ok", "gone": "warn", "needs": "warn", "new": "warn", "off": "ok",
    }  # fmt: skip
    assert "doctor --tools" in found["agreed"].found
    assert "no program no-such-program" in found["gone"].found
    assert "NOT_SET_HERE" in found["needs"].found
    assert "until you agree" in found["new"].found
    assert "mcp test new" in found["new"].fix
    assert all(one.fix for one in found.values() if one.state != "ok")
    assert not any("\x1b" in one.found or "\n" in one.found for one in found.values())
    assert not mark.exists()
    assert sorted(str(one) for one in tmp_path.rglob("*")) == before
    tool_servers.started_servers(ground)  # those that are agreed to
    assert mark.exists()


def test_the_agreed_are_started_and_what_they_have_is_told(studio: Studio, ground: Ground, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    add(studio, "well", WELL)
    add(studio, "bad", HOSTILE, "exits")
    add(studio, "odd", HOSTILE, "odd-tools")
    add(studio, "new", "-c", f"open({str(mark)!r}, 'w')", trust=False)
    with hostile_site() as url:
        studio.tools.add_server("far", {"url": f"{url}/refuses"}, trust=True)
        found = tool_servers.started_servers(ground)
    assert found["well"].found.startswith("8 tools in ")
    assert "well 1.2" in found["well"].found
    assert "It ended with 3" in found["bad"].found
    assert "2 more cannot be offered" in found["odd"].found
    assert "it wants another key" in found["far"].found
    assert "until you agree" in found["new"].found
    assert not mark.exists()
    assert not any("\x1b" in one.found + one.fix for one in found.values())
    assert all(one.fix for one in found.values() if one.state != "ok")


def test_one_that_hangs_takes_no_longer_than_the_bound(
    studio: Studio, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_servers, "SECONDS", 3.0)
    for number in range(3):
        add(studio, f"bad{number}", HOSTILE, "hangs")
    began = time.monotonic()
    found = tool_servers.started_servers(ground)
    assert time.monotonic() - began < 20  # all at once, and none waits for the end of its own start
    assert len(found) == 3
    assert all("did not tell its tools within" in one.found for one in found.values())


@pytest.mark.parametrize("words", [(), ("--tools",)])
def test_the_command_has_a_row_for_each(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    add(studio, "well", WELL)
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(studio.places.data.parent))
    app = typer.Typer()
    app.callback()(lambda: None)
    cli.register(app)
    document = json.loads(CliRunner().invoke(app, ["doctor", "--json", *words]).stdout)
    rows = {one["name"]: one for one in document["checks"]}
    assert rows["mcp well"]["state"] == "ok"
    assert ("8 tools" in rows["mcp well"]["found"]) is bool(words)
    assert [name for name, _ in doctor.WITH_TOOLS] == [name for name, _ in doctor.CHECKS]
