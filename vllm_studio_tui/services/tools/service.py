"""The tools of a studio: what there is, what a person allowed, boxes of tools for chats."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.tool_consent import Consent
from vllm_studio_tui.domain.tools import Decision, Tool, ToolResult
from vllm_studio_tui.services.tools.box import Box, Source
from vllm_studio_tui.store.tool_consents import ConsentRows
from vllm_studio_tui.tools.tool_thread import ToolThread

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.store.database import Database


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

    # --- tools and calls --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open(self, names: Sequence[str] | None = None) -> AsyncIterator[Box]:
        """Open a box of tools.

        Args:
            names: Names of servers, of tools, or patterns of these; None: all that are on.
        """
        import asyncio

        yield Box(self._thread, await asyncio.to_thread(self._sources), names)

    def tools(self, names: Sequence[str] | None = None) -> list[Tool]:
        """Return the tools that there are, of all servers or of those that are named."""
        return list(self._thread.wait(Box(self._thread, self._sources(), names)._gather()))

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Make a call. It asks nobody: whoever calls this has asked."""
        return self._thread.wait(Box(self._thread, self._sources(), None)._make(name, arguments))

    def close(self) -> None:
        """End the servers that were started."""
        self._thread.close()

    def _sources(self) -> list[Source]:
        from vllm_studio_tui.services.tools.studio_tools import studio_tools
        from vllm_studio_tui.tools.clock import clock
        from vllm_studio_tui.tools.functions import FunctionSource

        return [FunctionSource("builtin", [clock()]), FunctionSource("studio", studio_tools(self._studio))]

    # --- what a person allowed --------------------------------------------------------------------------

    def allowed(self, tool: Tool, arguments: Mapping[str, Any], session_id: str | None = None) -> Decision | None:
        """Return what lets a call be made without a question: `CHAT` or `ALWAYS`; None: a person is asked.

        A tool that never asks is `ALWAYS` allowed.
        """
        if not tool.asks:
            return Decision.ALWAYS
        fingerprint = self._fingerprint(tool.server)
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
        consent = Consent(tool.name, tool.server, session, pattern, self._fingerprint(tool.server))
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

    def _fingerprint(self, server: str) -> str | None:
        return None
