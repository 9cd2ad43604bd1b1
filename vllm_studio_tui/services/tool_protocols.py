"""What a face may ask of a studio's tools; see `services.protocols`."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.domain.tool_consent import Consent
    from vllm_studio_tui.domain.tools import Decision, Tool, ToolBox, ToolResult


class ToolsApi(Protocol):
    """Tools for models, and what a person allowed; see `services.tools.service.Tools`. Only `open` does not block."""

    def open(self, names: Sequence[str] | None = None) -> AbstractAsyncContextManager[ToolBox]: ...
    def tools(self, names: Sequence[str] | None = None) -> list[Tool]: ...
    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult: ...
    def allowed(self, tool: Tool, arguments: Mapping[str, Any], session_id: str | None = None) -> Decision | None: ...
    def allow(
        self,
        tool: Tool,
        decision: Decision,
        session_id: str | None = None,
        pattern: Mapping[str, str] | None = None,
    ) -> Consent | None: ...
    def consents(self) -> builtins.list[Consent]: ...
    def forget(self, consent_id: int) -> None: ...
