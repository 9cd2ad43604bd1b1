"""MCP servers by the sheet of tools: what they have, found out one by one, and their adding, testing and removing."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tool_consent import Consent
from vllm_studio_tui.domain.tool_server import RESERVED, ServersImport, ToolServer
from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.daemon_threads import DaemonThreads
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.tool_protocols import ToolsApi
from vllm_studio_tui.tui.paint.dialog_rows import head_row
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap
from vllm_studio_tui.tui.sheets.chat_tools import ToolsFound
from vllm_studio_tui.tui.sheets.dialogs import Option, Pages, Prompt, Question
from vllm_studio_tui.tui.shell import Shell

#: Bytes of a file of servers.
MAX_FILE = 4 * 1024 * 1024
#: A variable that is given to a server, before its command.
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_ADDRESS = ("http://", "https://")


class ToolServers:
    """What the sheet of tools shows and does of servers.

    Args:
        tools: Returns the service; called in a thread.
        chat: Returns the id of the chat that is shown.
        agree: Asks the person whether a server may be started.
    """

    def __init__(
        self,
        shell: Shell,
        tools: Callable[[], ToolsApi],
        chat: Callable[[], str | None],
        agree: Callable[[ToolServer], Awaitable[bool]],
    ) -> None:
        self._shell = shell
        self._tools = tools
        self._chat = chat
        self._agree = agree
        self._own: Sequence[Tool] = ()
        self._had: dict[str, Sequence[Tool]] = {}
        self._wrong: dict[str, str] = {}
        self._testing: set[str] = set()
        self._servers: Sequence[ToolServer] = ()
        self._waiting: frozenset[str] = frozenset()
        self._consents: Sequence[Consent] = ()

    # --- finding out ------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Ask every server anew."""
        self._had.clear()
        self._wrong.clear()

    async def find(self) -> ToolsFound:
        """Return what there is at once; servers that are to be asked are named in it."""

        def look() -> tuple[Sequence[ToolServer], frozenset[str], Sequence[Consent], Sequence[Tool]]:
            tools = self._tools()
            waiting = frozenset(one.name for one in tools.untrusted())
            return tools.servers(), waiting, tools.consents(), tools.tools(sorted(RESERVED))

        self._servers, self._waiting, self._consents, self._own = await self._shell.in_thread(look)
        return self.found

    async def ask(self, name: str) -> ToolsFound:
        """Ask a server for its tools, by starting or reaching it; return what there is then."""
        tested = name in self._testing

        def work() -> tuple[Sequence[Tool], str]:
            tools = self._tools()
            told = ""
            if tested:
                report = tools.test_server(name)
                count = f"{len(report.tools)} tools" if len(report.tools) != 1 else "1 tool"
                more = f", and {report.dropped} that cannot be offered" if report.dropped else ""
                title = clean_line(f"{report.title} {report.version}".strip() or name, limit=80)
                told = f"{name} answers: {count}{more}, {numbers.latency(report.seconds)}, {title}"
            found = tools.tools([name])
            problem = tools.problems().get(name) if not found else None
            if problem is not None:
                raise problem
            return found, told

        # A thread of its own: one that hangs takes none of those that everything else is done in.
        try:
            found, told = await asyncio.get_running_loop().run_in_executor(DaemonThreads(), work)
        except StudioError as error:
            self._had[name], self._wrong[name] = (), f"{(error.cause or error.title).rstrip('.')}. {error.advice}"
        else:
            self._had[name] = found
            self._wrong.pop(name, None)
            if told:
                self._shell.tell(told)
        self._testing.discard(name)
        return self.found

    @property
    def found(self) -> ToolsFound:
        """What there is, as far as it was found out."""
        asked = [one.name for one in self._servers if one.enabled and one.name not in self._waiting]
        shown = [tool for name in asked for tool in self._had.get(name, ())]
        tools = [*self._own, *shown]
        pending = frozenset(name for name in asked if name not in self._had or name in self._testing)
        return ToolsFound(tools, self._servers, self._waiting, self._notes(tools), pending, dict(self._wrong))

    def _notes(self, tools: Sequence[Tool]) -> Mapping[str, str]:
        """Return whether each asks before a call, in words."""
        by_tool: dict[str, list[Consent]] = {}
        for one in self._consents:
            if one.session_id is None or one.session_id == self._chat():
                by_tool.setdefault(one.tool, []).append(one)
        notes = {}
        for tool in tools:
            here = by_tool.get(tool.name, [])
            if not tool.asks:
                notes[tool.name] = "never asks"
            elif any(one.session_id is None and one.pattern is None for one in here):
                notes[tool.name] = "allowed"
            elif any(one.pattern is None for one in here):
                notes[tool.name] = "allowed here"
            else:
                notes[tool.name] = "asks, but for some" if here else "asks"
        return notes

    # --- changing ---------------------------------------------------------------------------------------

    async def add(self) -> str | None:
        """Ask for a server by its name and command line, or address; return its name once it may be started."""
        text, wrong = "", ""
        while True:
            note = "fetch uvx mcp-server-fetch   or   docs https://host/mcp"
            prompt = Prompt(
                "A server: its name, then its command or address", text, note=note, check=_wrong, wrong=wrong
            )
            given = await self._shell.ask(prompt)
            if given is None:
                return None
            text = given
            name, entry = entry_of(text)
            try:
                server = await self._shell.in_thread(partial(self._kept, name, entry))
                break
            except StudioError as error:
                wrong = clean_line(". ".join(filter(None, (error.title, error.cause))), limit=200)
        return name if await self._agree(server) else None

    async def import_(self) -> None:
        """Ask for a file of another program, and take its servers over. None of them is started by that."""
        text, wrong = "", ""
        while True:
            note = "of Claude, VS Code, Cursor, Zed: JSON with mcpServers"
            given = await self._shell.ask(
                Prompt("A file with MCP servers", text, note=note, check=_no_path, wrong=wrong)
            )
            if given is None:
                return
            text = given
            try:
                found = await self._shell.in_thread(partial(self._read, text))
                break
            except StudioError as error:
                wrong = clean_line(". ".join(filter(None, (error.title, error.cause))), limit=200)
        await self._shell.ask(Pages(lambda ink, width: _report(found, ink, width)))

    def _kept(self, name: str, entry: Mapping[str, Any]) -> ToolServer:
        return self._tools().add_server(name, entry)

    def _read(self, text: str) -> ServersImport:
        path = Path(text.strip()).expanduser()
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE)
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or "it is no path"
            raise StudioError("this file cannot be read", cause=words) from None
        return self._tools().import_servers(raw, str(path))

    async def test(self, name: str) -> None:
        """Have a server asked anew when the sheet is there again; one that waits is agreed to first."""
        server = await self._server(name)
        waiting = await self._shell.in_thread(lambda: self._tools().untrusted())
        if any(one.name == name for one in waiting) and not await self._agree(server):
            return
        if not server.enabled:
            self._shell.tell(f"{name} is switched off: s switches it on.")
            return
        self._testing.add(name)

    async def agree(self, name: str) -> bool:
        return await self._agree(await self._server(name))

    async def switch(self, name: str) -> None:
        server = await self._server(name)
        self._had.pop(name, None)
        await self._shell.in_thread(lambda: self._tools().enable_server(name, not server.enabled))

    async def remove(self, name: str) -> bool:
        """Remove a server, if the person means it."""
        server = await self._server(name)
        chosen = await self._shell.ask(
            Question(
                f"Remove the MCP server {clean_line(name, limit=40)}?",
                f"{clean_line(server.target, limit=1000)}\nIts entry goes, and all that was allowed of it.",
                [Option("d", "remove it")],
                "keep it",
            )
        )
        if chosen is None:
            return False
        self._had.pop(name, None)
        await self._shell.in_thread(lambda: self._tools().remove_server(name))
        return True

    async def _server(self, name: str) -> ToolServer:
        return await self._shell.in_thread(lambda: self._tools().server(name))


def entry_of(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a server, and its entry as files of other programs have it.

    Variables stand before a command as in a shell, headers behind an address; `~` is the home, as a shell has it.
    """
    name, *rest = shlex.split(text)
    if rest[0].startswith(_ADDRESS):
        headers = dict(one.split(":", 1) for one in rest[1:])
        return name, {"url": rest[0], "headers": {key.strip(): value.strip() for key, value in headers.items()}}
    env = {}
    while (found := _VARIABLE.fullmatch(rest[0])) is not None:
        env[found[1]] = found[2]
        rest = rest[1:]
    words = [str(Path(one).expanduser()) if one == "~" or one.startswith("~/") else one for one in rest]
    return name, {"command": words[0], "args": words[1:], "env": env}


def _wrong(text: str) -> str | None:
    try:
        name, *rest = shlex.split(text)
    except ValueError:
        return "a quote is not closed" if text.strip() else "a name, a blank, and its command or address"
    if name.startswith(_ADDRESS) or "/" in name:
        return "first a name for it, such as: docs, then the rest"
    if rest and rest[0].startswith(_ADDRESS):
        return None if all(":" in one for one in rest[1:]) else "behind an address stand headers: 'NAME: VALUE'"
    if all(_VARIABLE.fullmatch(one) for one in rest):
        return "a name, a blank, and its command or address"
    return None


def _no_path(text: str) -> str | None:
    return None if text.strip() else "the path of a file, such as ~/.claude.json"


def _report(found: ServersImport, ink: Ink, width: int) -> list[Row]:
    """Return what came of an import: every note of it, to read."""
    rows = [head_row("MCP servers taken over", width), Row()]

    def put(words: str, style: str) -> None:
        for line in wrap(clean_line(words, limit=600), max(1, width - 4)):
            rows.append(Row())
            rows[-1].put(2, line, style, max(1, width - 4))

    kept = set(found.kept)
    for one in found.servers:
        if one.name in kept:
            put(f"{one.name}  {one.kind}  {one.target}", "fg")
    if not kept:
        put("nothing new", "fg")
    else:
        put("None of them is started before you agree: space on its row, or t.", "dim")
    if found.present:
        put(f"there already, left as they are: {', '.join(found.present)}", "warn")
    for note in found.notes:
        put(note, "dim")
    return rows
