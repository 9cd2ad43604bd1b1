"""What a person chooses about the tools of a chat: which it has, and which servers may be started for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tool_server import ToolServer
from vllm_studio_tui.domain.tools import Tool, ToolChoice, tools_of
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.tool_protocols import ToolsApi
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import Chat
from vllm_studio_tui.tui.screens.chat.tool_servers import ToolServers
from vllm_studio_tui.tui.sheets.chat_tools import ChatToolsSheet, ToolChoices, ToolsFound
from vllm_studio_tui.tui.sheets.dialogs import Option, Question


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
        self._servers = ToolServers(self._shell, lambda: self._tools, lambda: self._state.shown.id, self._agree)
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
        servers = self._servers
        servers.forget()
        while True:
            chosen = await self._shell.ask(ChatToolsSheet(choices, self._find, self._ask, at, writes=writes))
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
                    if not await servers.agree(name):
                        choices.toggle_server((), name)
                elif what == "add":
                    if (added := await servers.add()) is not None:
                        at = f"server:{added}"
                        if not choices.has_server(added):
                            choices.toggle_server((), added)  # who adds one for a chat wants it in it
                elif what == "remove":
                    if await servers.remove(name):
                        choices.drop_server(name)
                elif what == "import":
                    await servers.import_()
                elif what == "test":
                    await servers.test(name)
                else:
                    await servers.switch(name)
            except StudioError as error:
                self._shell.tell_error(error)

    async def _find(self) -> ToolsFound:
        return self._keep(await self._servers.find())

    async def _ask(self, name: str) -> ToolsFound:
        return self._keep(await self._servers.ask(name))

    def _keep(self, found: ToolsFound) -> ToolsFound:
        if not found.asked:  # while some are asked, what was known before is more
            self.known, self.notes = found.tools, found.notes
        return found
