"""The tools of a studio: what there is, what a person allowed, boxes of tools for chats."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.tool_consent import Consent
from vllm_studio_tui.domain.tool_server import RESERVED, ServerReport, ServersImport, ToolServer
from vllm_studio_tui.domain.tools import Decision, Tool, ToolResult
from vllm_studio_tui.services.tools.box import Box, Source
from vllm_studio_tui.services.tools.servers import Servers
from vllm_studio_tui.store.tool_consents import ConsentRows
from vllm_studio_tui.tools.names import apart, is_chosen, may_hold
from vllm_studio_tui.tools.results import result_of
from vllm_studio_tui.tools.tool_thread import CLOSING, ToolThread

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.store.database import Database
    from vllm_studio_tui.tools.mcp_connection import Connection


class Tools:
    """The tools of a studio. Every call is blocking but those of a box.

    Args:
        studio: What the tools of the studio itself look at.
        db: Returns the database; called when it is needed.
    """

    def __init__(self, studio: StudioApi, db: Callable[[], Database]) -> None:
        self._studio = studio
        self._db = db
        self._thread = ToolThread()
        self._servers = Servers(db, studio.places.data / "secrets")
        self._connections: dict[str, Connection] = {}
        self._lock = threading.Lock()

    # --- tools and calls --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open(self, names: Sequence[str] | None = None) -> AsyncIterator[Box]:
        """Open a box of tools.

        Args:
            names: Names of servers, of tools, or patterns of these; None: all that are on.
        """
        yield Box(self._thread, await asyncio.to_thread(self._sources, names), names)

    def tools(self, names: Sequence[str] | None = None) -> list[Tool]:
        """Return the tools that there are, of all servers or of those that are named."""
        return list(self._thread.wait(Box(self._thread, self._sources(names), names)._gather()))

    def known(self, names: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """Return tools as requests offer them, and the servers whose tools are not known: nothing is started for it."""
        from vllm_studio_tui.tools.mcp_connection import Connection

        sources = self._sources(names)
        asked = [one for one in sources if not isinstance(one, Connection)]
        found = list(self._thread.wait(Box(self._thread, asked, names)._gather()))
        unknown = []
        for server in (one for one in sources if isinstance(one, Connection)):
            if (tools := server.known) is None:
                unknown.append(server.name)
            else:
                found += [one for one in tools if is_chosen(one, names)]
        return [one.to_openai() for one in apart(found)], unknown

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Make a call. It asks nobody: whoever calls this has asked."""
        # Only its own server is started for it, unless nobody's name is in it.
        own = self._sources([name])
        box = Box(self._thread, own or self._sources(None), None)
        return self._thread.wait(box._make(name, arguments))

    def close(self) -> None:
        """End the servers that were started. Blocking, for a few seconds where one does not want to end."""
        with self._lock:
            left = list(self._connections.values())
            self._connections.clear()

        async def end() -> None:
            await asyncio.wait([asyncio.ensure_future(one.close()) for one in left], timeout=CLOSING)

        with contextlib.suppress(StudioError):  # it was closed before: what was asked for since was never started
            if left:
                self._thread.wait(end())
        self._thread.close()

    def _sources(self, names: Sequence[str] | None) -> list[Source]:
        """Return where the tools come from that are named; None: everywhere."""
        from vllm_studio_tui.services.tools.studio_tools import studio_tools
        from vllm_studio_tui.tools.clock import clock
        from vllm_studio_tui.tools.fetch import fetch
        from vllm_studio_tui.tools.folder import folder_tools
        from vllm_studio_tui.tools.functions import FunctionSource

        settings = self._studio.settings
        files = folder_tools(settings.tools_folder) if settings.tools_folder is not None else []
        own: list[Source] = [
            FunctionSource("builtin", [clock(), fetch(private=settings.tools_fetch_private), *files]),
            FunctionSource("studio", studio_tools(self._studio)),
        ]
        servers = [one for one in self._servers.list() if one.enabled and may_hold(one.name, names)]
        return [*(one for one in own if may_hold(one.name, names)), *(self._source(one) for one in servers)]

    def _source(self, server: ToolServer) -> Source:
        if not self._servers.trusted(server):
            return NotAgreed(server)
        return self._connection(server)

    def _connection(self, server: ToolServer) -> Connection:
        """Return what speaks to a server; one that was changed since is let go."""
        from vllm_studio_tui.tools.mcp_connection import Connection

        with self._lock:
            known = self._connections.get(server.name)
            if known is not None and known.server == server:
                return known
            log = self._studio.places.state / "mcp" / f"{server.name}.log"
            made = self._connections[server.name] = Connection(server, log, os.environ)
        if known is not None:
            self._thread.submit(known.close())
        return made

    # --- servers ----------------------------------------------------------------------------------------

    def servers(self) -> builtins.list[ToolServer]:
        """Return every MCP server by name."""
        return self._servers.list()

    def server(self, name: str) -> ToolServer:
        """Return the MCP server of this name.

        Raises:
            NotFound: There is none.
        """
        return self._servers.get(name)

    def add_server(
        self, name: str, entry: Mapping[str, Any], *, trust: bool = False, replace: bool = False
    ) -> ToolServer:
        """Keep a server, given as files of other programs write one; see `Servers.add`."""
        return self._servers.add(name, entry, trust=trust, replace=replace)

    def remove_server(self, name: str) -> ToolServer:
        """Delete a server, end it, and forget what was allowed of it.

        Raises:
            NotFound: There is none.
        """
        removed = self._servers.remove(name)
        self._let_go(name)
        return removed

    def enable_server(self, name: str, enabled: bool) -> ToolServer:
        """Turn a server on or off; one that is turned off is ended.

        Raises:
            NotFound: There is none.
        """
        changed = self._servers.enable(name, enabled)
        self._let_go(name)
        return changed

    def import_servers(self, raw: bytes, source: str, *, dry_run: bool = False, replace: bool = False) -> ServersImport:
        """Take servers over from a file of another program; see `Servers.import_`."""
        return self._servers.import_(raw, source, dry_run=dry_run, overwrite=replace)

    def untrusted(self) -> builtins.list[ToolServer]:
        """Return the servers that are on, and wait for a person to agree that they are started."""
        return [one for one in self._servers.list() if one.enabled and not self._servers.trusted(one)]

    def awaited(self) -> builtins.list[str]:
        """Return the names of the servers that are being started or reached now."""
        with self._lock:
            return [name for name, one in self._connections.items() if one.coming]

    def problems(self) -> dict[str, StudioError]:
        """Return why servers that are on have no tools, by their names: nobody agreed to them, or they failed last."""
        found: dict[str, StudioError] = {}
        for one in self._servers.list():
            connection = self._connections.get(one.name)
            if not one.enabled:
                continue
            if not self._servers.trusted(one):
                found[one.name] = not_agreed(one)
            elif connection is not None and connection.server == one and connection.error is not None:
                found[one.name] = connection.error
        return found

    def trust_server(self, name: str) -> ToolServer:
        """Keep that a person has agreed that a server, as it is now, is started or reached.

        Raises:
            NotFound: There is none.
        """
        return self._servers.trust(name)

    def test_server(self, name: str) -> ServerReport:
        """Start or reach a server anew and return what it says of itself.

        Raises:
            NotFound: There is none.
            StudioError: Nobody has agreed to it, it cannot be started, or it is no MCP server.
        """
        server = self._servers.get(name)
        if not self._servers.trusted(server):
            raise not_agreed(server)
        self._let_go(name)
        connection = self._connection(server)
        self._thread.wait(connection.tools())
        return connection.report

    def _let_go(self, name: str) -> None:
        with self._lock:
            known = self._connections.pop(name, None)
        if known is not None:
            self._thread.wait(known.close())

    # --- what a person allowed --------------------------------------------------------------------------

    def allowed(self, tool: Tool, arguments: Mapping[str, Any], session_id: str | None = None) -> Decision | None:
        """Return what lets a call be made without a question: `CHAT` or `ALWAYS`; None: a person is asked.

        A tool that never asks is `ALWAYS` allowed.
        """
        if not tool.asks:
            return Decision.ALWAYS
        fingerprint = self._fingerprint(tool)
        for one in reversed(ConsentRows(self._db()).list(tool.server)):
            if one.covers(tool, arguments, session_id, fingerprint):
                return Decision.ALWAYS if one.session_id is None else Decision.CHAT
        return None

    def allow(
        self,
        tool: Tool,
        decision: Decision,
        session_id: str | None = None,
        pattern: Mapping[str, str] | None = None,
    ) -> Consent | None:
        """Keep a decision that is for longer than one call: `CHAT` for this chat, `ALWAYS` for every one.

        Args:
            pattern: What the arguments must be like, `*` standing for anything harmless; None: any.

        Returns:
            What was kept; None for a decision about one call.
        """
        if decision not in (Decision.CHAT, Decision.ALWAYS) or (decision is Decision.CHAT and session_id is None):
            return None
        session = session_id if decision is Decision.CHAT else None
        consent = Consent(tool.name, tool.server, session, pattern, self._fingerprint(tool))
        return ConsentRows(self._db()).add(consent)

    def consents(self) -> builtins.list[Consent]:
        """Return everything that was allowed for longer than one call, the oldest first."""
        return ConsentRows(self._db()).list()

    def forget(self, consent_id: int) -> None:
        """Take a consent back.

        Raises:
            NotFound: There is none of this number.
        """
        if not ConsentRows(self._db()).delete(consent_id):
            raise NotFound(f"no consent {consent_id}", advice="See `vllm-studio mcp consents`.")

    def _fingerprint(self, tool: Tool) -> str | None:
        """Return what a consent is bound to: a server or a tool that was changed since is another one."""
        if tool.server in RESERVED:
            return None
        try:
            server = self._servers.get(tool.server).fingerprint
        except NotFound:
            server = ""
        whole = json.dumps([server, tool.title, tool.description, dict(tool.parameters)], sort_keys=True, default=str)
        return hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()


class NotAgreed:
    """In place of a server to which nobody has agreed yet: it has no tools, and says why."""

    def __init__(self, server: ToolServer) -> None:
        self.name = server.name
        self._server = server

    async def tools(self) -> Sequence[Tool]:
        raise not_agreed(self._server)

    async def call(self, title: str, arguments: Mapping[str, Any]) -> ToolResult:
        return result_of(str(not_agreed(self._server)), is_error=True)


def not_agreed(server: ToolServer) -> StudioError:
    """Return why a server is not started."""
    what = "It would run" if server.kind == "stdio" else "It would be reached at"
    return StudioError(
        f"{server.name} waits until you agree to it",
        cause=f"{what}: {server.target}",
        advice=f"Look at it, and agree: vllm-studio mcp test {server.name}",
    )
