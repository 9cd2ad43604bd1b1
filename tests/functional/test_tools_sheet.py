"""The sheet of tools against real MCP servers, also hostile ones: added, tested, removed and so on, by keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

import tests.mcp_servers
from tests.functional.acting import shows, told
from tests.functional.stage import Staged
from tests.functional.test_tool_cards import DONE, ask, chatting, over, place
from tests.mcp_servers.hostile_http import hostile_site
from tests.process.test_mcp_client import WELL, well_over
from tests.unit.tool_box import Rounds
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.tools import mcp_connection
from vllm_studio_tui.tui.screens.chat.tool_flows import ToolFlows
from vllm_studio_tui.tui.screens.chat.tool_servers import entry_of
from vllm_studio_tui.tui.sheets.chat_tools import ToolsFound

HOSTILE = str(Path(tests.mcp_servers.__file__).parent / "hostile.py")
TITLE = "Tools of this chat"


@contextlib.asynccontextmanager
async def sheet(
    home: Path, *servers: tuple[str, str], size: tuple[int, int] = (100, 40), trust: bool = True
) -> AsyncIterator[tuple[Staged, Rounds]]:
    """A chat with its sheet of tools open, and these servers: each a name, and its command line or address."""
    async with chatting(home, [Delta(content="x"), DONE], tools=(), real=True, size=size) as (stage, _, engine):
        for name, line in servers:
            _, entry = entry_of(f"{name} {line}")
            stage.studio.tools.add_server(name, entry, trust=trust)
        await stage.press("f12")
        await shows(stage, TITLE)
        await shows(stage, "builtin")  # its title is there before the tools are found, and so before its keys do much
        yield stage, engine


def line(*words: str) -> str:
    return shlex.join([sys.executable, *words])


def running(words: str) -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if words in " ".join(one.cmdline()):
                found.append(one)
    return found


async def at(stage: Staged, key: str) -> None:
    """The cursor is on a row."""
    canvas = stage.app.screen.query_one("#pages")
    canvas.choose(key)  # type: ignore[attr-defined]
    await stage.until(lambda: canvas.key == key, f"the cursor is on {key}")  # type: ignore[attr-defined]


async def add(stage: Staged, words: str) -> None:
    await stage.press("n")
    await shows(stage, "A server: its name")
    await stage.type(words)
    await stage.press("enter")


async def closed(stage: Staged) -> None:
    await stage.until(lambda: len(stage.app.screen_stack) == 1, "it is closed")


async def test_no_key_is_swallowed_while_tools_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, find = asyncio.Event(), ToolFlows._find

    async def late(self: ToolFlows) -> ToolsFound:
        await go.wait()
        return await find(self)

    monkeypatch.setattr(ToolFlows, "_find", late)
    async with chatting(tmp_path, [Delta(content="x"), DONE], tools=(), real=True) as (stage, _, _engine):
        await stage.press("f12")
        await shows(stage, "looking")
        await stage.press("t")
        await told(stage, "still looked for")
        await stage.press("n")
        await shows(stage, "A server: its name")
        go.set()


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_a_server_is_added_agreed_to_and_its_tools_offered(tmp_path: Path, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        target = line(WELL) if kind == "stdio" else stack.enter_context(well_over("http"))
        async with sheet(tmp_path) as (stage, engine):
            await add(stage, f"well {target}")
            await shows(stage, f"{'Start' if kind == 'stdio' else 'Connect to'} the MCP server well?")
            assert not running(WELL) or kind == "http"
            await stage.press("a")
            await shows(stage, "Add two numbers.")
            assert "8 of" in stage.text()  # who adds one for a chat wants its tools in it
            await stage.press("enter")
            await closed(stage)
            await stage.until(lambda: place(stage).chat.settings.get("tools") == ["well"], "it is chosen")
            await ask(stage)
            await over(stage)
            assert "well__add" in {one["function"]["name"] for one in engine.asked[0].tools}


async def test_a_server_that_is_not_agreed_to_waits_on_its_row_and_is_not_started(tmp_path: Path) -> None:
    async with sheet(tmp_path) as (stage, _):
        await add(stage, f"well {line(WELL)}")
        await shows(stage, "Start the MCP server well?")
        await stage.press("escape")
        await shows(stage, "waits until you agree to start it")
        assert not running(WELL)
        await at(stage, "server:well")
        await stage.press("space")
        await shows(stage, "Start the MCP server well?")
        await stage.press("a")
        await shows(stage, "Add two numbers.")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "a name, a blank, and its command or address"),
        ("alone", "a name, a blank, and its command or address"),
        ("x A=1", "a name, a blank, and its command or address"),
        ("x 'open", "a quote is not closed"),
        ("https://host/mcp", "first a name for it"),
        ("x https://host/mcp key", "behind an address stand headers"),
        ("builtin echo", "cannot be the name of a server"),
        ("a!b echo", "cannot be the name of a server"),
        ("there echo", "there is an MCP server there already"),
    ],
)
async def test_what_is_no_server_is_said_and_can_be_mended(tmp_path: Path, words: str, says: str) -> None:
    async with sheet(tmp_path, ("there", "echo"), trust=False) as (stage, _):
        await add(stage, words)
        await shows(stage, says)
        if words:
            assert words.split()[-1][-12:] in stage.text()  # what was typed is still there
        assert [one.name for one in stage.studio.tools.servers()] == ["there"]


@pytest.mark.parametrize(
    ("words", "entry"),
    [
        ("a prog -x 'b c'", {"command": "prog", "args": ["-x", "b c"], "env": {}}),
        ("a K=env:KEY L= prog M=1", {"command": "prog", "args": ["M=1"], "env": {"K": "env:KEY", "L": ""}}),
        ("a ~/bin/s ~/docs ~ x~", {"command": "HOME/bin/s", "args": ["HOME/docs", "HOME", "x~"], "env": {}}),
        ("a https://h/mcp", {"url": "https://h/mcp", "headers": {}}),
        ("a http://h 'X-Key: env:K'", {"url": "http://h", "headers": {"X-Key": "env:K"}}),
    ],
)
def test_a_line_is_read_as_a_shell_reads_it(words: str, entry: object) -> None:
    assert entry_of(words) == ("a", json.loads(json.dumps(entry).replace("HOME", str(Path.home()))))


async def test_servers_are_imported_and_none_is_started(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    file = tmp_path / "claude.json"
    server = {"command": "touch", "args": [str(mark)], "autoApprove": ["x"]}
    file.write_text(json.dumps({"mcpServers": {"theirs": server, "\x1b[2Jodd": {"command": "true"}}}))
    async with sheet(tmp_path) as (stage, _):
        await stage.press("I")
        await shows(stage, "A file with MCP servers")
        await stage.type(str(tmp_path / "nothing"))
        await stage.press("enter")
        await shows(stage, "this file cannot be read. No such file")
        await stage.press("ctrl+u")
        await stage.type(str(file))
        await stage.press("enter")
        await shows(stage, "MCP servers taken over")
        assert "`autoApprove` is not taken over" in stage.text()
        assert "\x1b" not in stage.text()
        await stage.press("escape")
        waits = "waits until you agree to start it"
        await stage.until(lambda: stage.text().count(waits) == 2, f"two of them: {waits}")
        assert not mark.exists()


async def test_a_test_says_what_a_server_is(tmp_path: Path) -> None:
    async with sheet(tmp_path, ("well", line(WELL))) as (stage, _):
        await shows(stage, "Add two numbers.")
        (before,) = running(WELL)
        await at(stage, "tool:well__add")
        await stage.press("t")
        await shows(stage, "well answers: 8 tools, ")
        assert "well 1.2" in stage.text()
        assert [one.pid for one in running(WELL)] != [before.pid]  # it was started anew


async def test_a_server_is_switched_off_and_on(tmp_path: Path) -> None:
    async with sheet(tmp_path, ("well", line(WELL))) as (stage, _):
        await shows(stage, "Add two numbers.")
        await at(stage, "server:well")
        await shows(stage, "s switch off")
        await stage.press("s")
        await shows(stage, "switched off")
        assert not running(WELL)
        await shows(stage, "s switch on")
        await stage.press("s")
        await shows(stage, "Add two numbers.")


async def test_a_removed_server_is_gone_with_its_marks(tmp_path: Path) -> None:
    async with sheet(tmp_path, ("well", line(WELL))) as (stage, _):
        await shows(stage, "Add two numbers.")
        await at(stage, "tool:well__add")
        await stage.press("space", "d")
        await shows(stage, "Remove the MCP server well?")
        await stage.press("escape")
        await shows(stage, "Add two numbers.")
        await at(stage, "server:well")
        await stage.press("d")
        await shows(stage, "Remove the MCP server well?")
        await stage.press("d")
        await shows(stage, TITLE)
        assert "Add two numbers." not in stage.text()
        assert stage.studio.tools.servers() == []
        assert not running(WELL)
        await stage.press("enter")
        await closed(stage)
        assert not place(stage).chat.settings.get("tools")


async def test_tools_of_this_program_are_neither_tested_nor_removed(tmp_path: Path) -> None:
    async with sheet(tmp_path) as (stage, _):
        await at(stage, "server:builtin")
        for key in ("t", "s", "d"):
            await stage.press(key)
            assert TITLE in stage.text()
        await shows(stage, "This is of this program")


# --- hostile ones ---------------------------------------------------------------------------------------------


async def test_one_that_hangs_keeps_nobody_and_can_be_removed_meanwhile(tmp_path: Path) -> None:
    async with sheet(tmp_path, ("bad", line(HOSTILE, "hangs")), ("well", line(WELL))) as (stage, _):
        await shows(stage, "Add two numbers.")  # those of others are there
        await shows(stage, "starting, ")
        await at(stage, "server:bad")
        began = time.monotonic()
        await stage.press("d")
        await shows(stage, "Remove the MCP server bad?")
        await stage.press("d")
        await shows(stage, "Add two numbers.")
        assert time.monotonic() - began < mcp_connection.ANSWER / 2
        assert not running("hostile.py")
        assert "starting, " not in stage.text()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("exits", "It ended with 3. Its last words: no licence"),
        ("prints", "it is no MCP server"),
        ("endless-line", "a message of more than 8"),
        ("wrong-tools", "not what the protocol says"),
    ],
)
async def test_why_one_does_not_answer_stands_below_it(tmp_path: Path, what: str, says: str) -> None:
    async with sheet(tmp_path, ("bad", line(HOSTILE, what))) as (stage, _):
        await shows(stage, "does not answer")
        await shows(stage, says)
        assert not any(one in stage.text() for one in ("\x1b", "\x9b", "\u202e", "\x07"))
        assert "builtin" in stage.text()


@pytest.mark.parametrize(("what", "says"), [("html", "does not answer"), ("refuses", "it wants another key")])
async def test_why_one_elsewhere_does_not_answer_stands_below_it(tmp_path: Path, what: str, says: str) -> None:
    with hostile_site() as url:
        async with sheet(tmp_path, ("bad", f"{url}/{what}")) as (stage, _):
            await shows(stage, says)


async def test_names_with_escapes_are_shown_without_and_can_be_chosen(tmp_path: Path) -> None:
    async with sheet(tmp_path, ("bad", line(HOSTILE, "odd-tools"))) as (stage, _):
        await shows(stage, "]0;owned")
        assert not any(one in stage.text() for one in ("\x1b", "\x9b", "\u202e", "\x07"))
        await at(stage, "tool:bad__go")
        await stage.press("t")
        await shows(stage, "and 2 that cannot be offered")
        await at(stage, "tool:bad__go")
        await stage.press("space", "enter")
        await closed(stage)
        assert place(stage).chat.settings["tools"] == ["bad__go"]


async def test_a_huge_list_of_tools_is_bounded_and_moved_through(tmp_path: Path) -> None:
    async with sheet(tmp_path, ("bad", line(HOSTILE, "many-tools"))) as (stage, _):
        await shows(stage, "of 263 on")
        await at(stage, "server:bad")
        await stage.press("space")
        await shows(stage, "256 of 263 on")
        await stage.press("space")
        await shows(stage, "  0 of 263 on")
        await stage.press("down", "space", "end")
        await shows(stage, "tool-255")
        await shows(stage, "1 of 263 on")
        await stage.press("space", "enter")
        await closed(stage)
        assert place(stage).chat.settings["tools"] == ["bad__tool-0", "bad__tool-255"]
