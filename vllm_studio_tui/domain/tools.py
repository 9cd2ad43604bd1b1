"""Tools that a model may call: what they are, what a person decides, what comes of a call, the events of a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from vllm_studio_tui.domain.chat import Ended, StreamEvent, ToolCall
from vllm_studio_tui.domain.errors import StudioError

#: Rounds of calls that one question may take.
MAX_ROUNDS = 10
#: Bytes of a result that the model is given; what is beyond is cut, and told.
MAX_RESULT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        name: What the model calls it by: `server__tool`, at most 64 of `A-Z a-z 0-9 _ -`.
        server: The name of its MCP server, or `builtin` or `studio`.
        title: What its server calls it.
        parameters: The JSON schema of its arguments.
        asks: Whether a person is asked before a call; not for what only reads the clock or the studio itself.
    """

    name: str
    server: str
    title: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    asks: bool = True

    def to_openai(self) -> dict[str, Any]:
        """Return the tool as requests offer it to a model."""
        schema = dict(self.parameters) or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": schema},
        }


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call.

    Attributes:
        text: What the model is given, at most `MAX_RESULT` bytes of it.
        seconds: How long the call took.
        size: Bytes of the whole result, before it was cut.
        images: Data URLs.
    """

    text: str
    is_error: bool = False
    seconds: float = 0.0
    size: int = 0
    images: Sequence[str] = ()


class Decision(StrEnum):
    """What a person says to a call that waits."""

    ONCE = "once"
    CHAT = "chat"
    ALWAYS = "always"
    DENY = "deny"


class ToolBox(Protocol):
    """Tools that are offered to a model. Neither method raises for what a server or a model does."""

    @property
    def awaited(self) -> Sequence[str]:
        """The names of the servers whose tools are waited for now."""

    @property
    def missing(self) -> Mapping[str, StudioError]:
        """Why a server has no tools here, by its name; known once they were asked for."""

    async def tools(self) -> Sequence[Tool]:
        """Return the tools; those of a server that does not answer are missing."""

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Make a call; cancelling it ends it."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools are offered, for a studio that opens them itself.

    Attributes:
        names: Names of servers, of tools, or patterns of these; None: all that are switched on.
        call: Calls are made; without, an answer that ends in calls is the last, and only says them.
    """

    names: tuple[str, ...] | None = None
    call: bool = True


def tools_of(settings: Mapping[str, Any]) -> ToolChoice | None:
    """Return the tools that were chosen for a chat, from its settings; None: none."""
    chosen = settings.get("tools")
    names = tuple(one for one in chosen if isinstance(one, str) and one) if isinstance(chosen, list | tuple) else ()
    return ToolChoice(names) if names else None


class Consents(Protocol):
    """What a person allowed for longer than one call. Both block, and may raise a `StudioError`."""

    def allowed(self, tool: Tool, arguments: Mapping[str, Any], session_id: str | None = None) -> Decision | None:
        """Return what lets a call be made without a question: `CHAT` or `ALWAYS`; None: a person is asked."""

    def allow(
        self,
        tool: Tool,
        decision: Decision,
        session_id: str | None = None,
        pattern: Mapping[str, str] | None = None,
    ) -> object:
        """Keep a decision that is for longer than one call; with a pattern, for calls with arguments like it."""


# --- what a stream yields between answers, besides `StreamEvent` ------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolsAwaited:
    """The tools of these servers are waited for, before the question is sent; none: that is over.

    Attributes:
        missing: Why servers have no tools for it, by their names, once it is over.
    """

    servers: tuple[str, ...] = ()
    missing: Mapping[str, StudioError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """An answer ended in calls of tools: they come next, and then a further answer.

    Attributes:
        message_id: The message that holds the answer; None where nothing is kept.
        recovered: The calls stood in the text, and the engine had parsed none; `ended.advice` says what to set.
    """

    number: int
    ended: Ended
    message_id: str | None = None
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class CallAsked:
    """A call waits until a person decides.

    Attributes:
        tool: What it would call.
        number: The round, from 1.
    """

    call: ToolCall
    tool: Tool
    number: int
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A call is being made; `tool` is None for a name that no tool has."""

    call: ToolCall
    tool: Tool | None
    number: int


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over, denied, or was answered from an identical one before.

    Attributes:
        how: `done`, `failed`, `denied` or `repeated`.
        message_id: The message that holds the result; None where nothing is kept.
    """

    call: ToolCall
    result: ToolResult
    how: str = "done"
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class RoundBegan:
    """A further answer begins, below the results.

    Attributes:
        message_id: The message that it is kept in; None where nothing is kept.
    """

    number: int
    message_id: str | None = None


ToolEvent = ToolsAwaited | RoundEnded | CallAsked | CallBegan | CallEnded | RoundBegan
#: All that asking in a chat yields.
ChatEvent = StreamEvent | ToolEvent
