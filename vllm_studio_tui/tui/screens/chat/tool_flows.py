"""What a person chooses about the tools of a chat: which it has, and which servers may be started for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tool_consent import Consent
from vllm_studio_tui.domain.tool_server import ToolServer
from vllm_studio_tui.domain.tools import Tool, ToolChoice, tools_of
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.tool_protocols import ToolsApi
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import Chat
from vllm_studio_tui.tui.sheets.chat_tools import ChatToolsSheet, ToolChoices, ToolsFound
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question

#: Bytes of a file of servers.
MAX_FILE = 4 * 1024 * 1024


class ToolFlows:
    """Choices about tools, each with its questions on the way.

    Attributes:
        known: The tools that were found when somebody looked last.
        notes: Whether one asks before a call, by its name.
    """

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._state = screen.state
        self._shell = screen.shell
        self.known: Sequence[Tool] = ()
        self.notes: Mapping[str, str] = {}

    @property
    def _tools(self) -> ToolsApi:
        """The service; asked for in a thread, which makes it."""
        return self._screen.studio.tools

    # --- what a question is sent with -------------------------------------------------------------------

    async def tools_for(self, chat: Chat) -> ToolChoice | None:
        """Return the tools of a chat; a server of them that nobody has agreed to is asked about first."""
        choice = tools_of(chat.settings)
        if choice is None:
            return None
        for server in await self._shell.in_thread(lambda: self._tools.untrusted()):
            if any(one == server.name or one.startswith(f"{server.name}__") for one in choice.names or ()):
                await self._agree(server)
        return choice

    async def _agree(self, server: ToolServer) -> bool:
        """Ask whether a server may be started; what it would run, and what it is given, is said."""
        local = server.kind == "stdio"
        what = "Start" if local else "Connect to"
        lines = [f"It runs: {server.target}" if local else f"It is reached at: {server.target}"]
        if server.cwd:
            lines.append(f"in {server.cwd}")
        if server.reads:
            lines.append(f"It is given: {', '.join(server.reads)}")
        elif server.env:
            lines.append(f"with its own {', '.join(sorted(server.env))}")
        if local:
            lines.append("It runs as you, and may do what you may. It is asked about anew once this changes.")
        chosen = await self._shell.ask(
            Question(
                f"{what} the MCP server {clean_line(server.name, limit=40)}?",
                "\n".join(clean_line(line, limit=1000) for line in lines),
                [Option("a", "agree, from now on")],
                "do without it",
            )
        )
        if chosen is None:
            return False
        await self._shell.in_thread(lambda: self._tools.trust_server(server.name))
        return True

    def of(self, chat: Chat) -> list[tuple[str, bool, str]]:
        """Return the tools of a chat as they are shown: what each is called, whether it is on, whether it asks."""
        choice = tools_of(chat.settings)
        if choice is None:
            return []
        if not self.known:  # nobody has looked yet: as they were chosen
            return [(clean_line(name, limit=60), True, "") for name in choice.names or ()]
        choices = ToolChoices(choice.names or ())
        return [
            (clean_line(f"{one.server}.{one.title}", limit=60), choices.has(one), self.notes.get(one.name, ""))
            for one in self.known
        ]

    def offered(self, chat: Chat) -> list[Tool]:
        """Return the tools of a chat, as far as they were looked up."""
        choice = tools_of(chat.settings)
        choices = ToolChoices(choice.names or () if choice is not None else ())
        return [one for one in self.known if choices.has(one)]

    # --- choosing ---------------------------------------------------------------------------------------

    async def choose(self) -> None:
        """Choose the tools of the chat that is shown; servers are added, tested and removed on the way."""
        chat = self._state.shown
        choice = tools_of(chat.settings)
        choices = ToolChoices(choice.names or () if choice is not None else ())
        at: str | None = None
        writes = not self._shell.read_only
        while True:
            chosen = await self._shell.ask(ChatToolsSheet(choices, self._find, at, writes=writes))
            if chosen is None:
                return
            what, _, name = chosen.partition(":")
            at = f"server:{name}"
            if what == "take":
                chat.set("tools", choices.names or None)
                await self._screen.save_settings(chat)
                return
            try:
                if what == "agree":
                    if not await self._agree(await self._server(name)):
                        choices.toggle_server((), name)
                else:
                    done = {"add": self._add, "import": self._import, "test": self._test, "switch": self._switch}
                    await (self._remove(name) if what == "remove" else done[what](name))
            except StudioError as error:
                self._shell.tell_error(error)

    async def _find(self) -> ToolsFound:
        tools, servers, waiting, consents = await self._shell.in_thread(self._look)
        notes = {}
        for tool in tools:
            mine = [one for one in consents if one.tool == tool.name]
            here = [one for one in mine if one.session_id is None or one.session_id == self._state.shown.id]
            if not tool.asks:
                notes[tool.name] = "never asks"
            elif any(one.session_id is None and one.pattern is None for one in here):
                notes[tool.name] = "allowed"
            elif any(one.pattern is None for one in here):
                notes[tool.name] = "allowed here"
            else:
                notes[tool.name] = "asks, but for some" if here else "asks"
        self.known, self.notes = tools, notes
        return ToolsFound(tools, servers, waiting, notes)

    def _look(self) -> tuple[Sequence[Tool], Sequence[ToolServer], frozenset[str], Sequence[Consent]]:
        tools = self._tools
        waiting = frozenset(one.name for one in tools.untrusted())
        return tools.tools(), tools.servers(), waiting, tools.consents()

    async def _server(self, name: str) -> ToolServer:
        return await self._shell.in_thread(lambda: self._tools.server(name))

    # --- servers ----------------------------------------------------------------------------------------

    async def _add(self, _: str) -> None:
        """Ask for a server by its name and command line, or address. It is agreed to separately."""
        text = await self._shell.ask(
            Prompt("A server: its name, then its command or address", note="files uvx mcp-server-x ~/dir", check=_wrong)
        )
        if text is None:
            return
        name, entry = _entry(text)
        server = await self._shell.in_thread(lambda: self._tools.add_server(name, entry))
        await self._agree(server)

    async def _import(self, _: str) -> None:
        """Ask for a file of another program, and take its servers over. None of them is started by that."""
        text = await self._shell.ask(
            Prompt(
                "A file with MCP servers", note="of Claude, VS Code, Cursor, opencode: JSON with mcpServers or servers"
            )
        )
        if text is None or not text.strip():
            return

        def read() -> Any:
            path = Path(text.strip()).expanduser()
            try:
                with path.open("rb") as file:
                    raw = file.read(MAX_FILE)
            except (OSError, ValueError) as error:
                words = getattr(error, "strerror", None) or "it cannot be read"
                raise StudioError(f"{path} cannot be read", cause=words, advice="Give the path of a file.") from None
            return self._tools.import_servers(raw, str(path))

        found = await self._shell.in_thread(read)
        told = [f"taken over: {', '.join(found.kept)}" if found.kept else "nothing new"]
        if found.present:
            told.append(f"there already, left as they are: {', '.join(found.present)}")
        self._shell.tell(clean_line("; ".join([*told, *found.notes]), limit=600))

    async def _test(self, name: str) -> None:
        server = await self._server(name)
        waiting = await self._shell.in_thread(lambda: self._tools.untrusted())
        if any(one.name == name for one in waiting) and not await self._agree(server):
            return
        report = await self._shell.in_thread(lambda: self._tools.test_server(name))
        tools = f"{len(report.tools)} tools" if len(report.tools) != 1 else "1 tool"
        title = clean_line(f"{report.title} {report.version}".strip() or name, limit=80)
        self._shell.tell(f"{clean_line(name, limit=40)} answers: {title}, {tools}, {numbers.latency(report.seconds)}")

    async def _switch(self, name: str) -> None:
        server = await self._server(name)
        await self._shell.in_thread(lambda: self._tools.enable_server(name, not server.enabled))

    async def _remove(self, name: str) -> None:
        server = await self._server(name)
        chosen = await self._shell.ask(
            Question(
                f"Remove the MCP server {clean_line(name, limit=40)}?",
                f"{server.target}\nIts entry goes, and all that was allowed of it.",
                [Option("d", "remove it")],
                "keep it",
            )
        )
        if chosen is not None:
            await self._shell.in_thread(lambda: self._tools.remove_server(name))


def _entry(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a server, and its entry as files of other programs have it."""
    name, *rest = shlex.split(text)
    if len(rest) == 1 and rest[0].startswith(("http://", "https://")):
        return name, {"url": rest[0]}
    return name, {"command": str(Path(rest[0]).expanduser()) if rest[0].startswith("~") else rest[0], "args": rest[1:]}


def _wrong(text: str) -> str | None:
    try:
        found = shlex.split(text)
    except ValueError:
        return "a quote is not closed"
    return None if len(found) > 1 else "a name, a blank, and its command or address"
