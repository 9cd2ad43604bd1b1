"""Calls of tools as they are shown: what a model wants, what a person said to it, what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.chat import Message, ToolCall
from vllm_studio_tui.domain.tools import CallAsked, CallBegan, CallEnded, ChatEvent, Decision, RoundEnded, Tool
from vllm_studio_tui.kit.outside_values import as_count, as_number
from vllm_studio_tui.services.chat.going_on import never_made

#: What a call can be. `pending` is one whose turn has not come, or that nobody made; `unknown` one whose program ended
#: while it was made.
STATES = ("pending", "waiting", "running", "done", "failed", "denied", "repeated", "unknown")


@dataclass(slots=True, eq=False)
class CallState:
    """One call, and what became of it so far.

    Attributes:
        call: As the model asked for it.
        tool: What it calls; None where that is not known.
        number: The round that it belongs to; 0 where it is not known.
        since: When it began to wait or to be made, by the monotonic clock.
        result: What the model was given; None before.
        size: Bytes of the whole result, before it was cut.
        decided: What a person said to it: one of `Decision`.
        changed: The arguments that a person put in place of the model's, as JSON.
        recovered: It stood in the text of the answer, and the engine had parsed none.
    """

    call: ToolCall
    state: str = "pending"
    tool: Tool | None = None
    number: int = 0
    since: float = field(default_factory=time.monotonic)
    result: str | None = None
    seconds: float | None = None
    size: int = 0
    decided: str | None = None
    changed: str | None = None
    recovered: bool = False

    @property
    def over(self) -> bool:
        return self.state not in ("pending", "waiting", "running")

    @property
    def arguments(self) -> str:
        """The arguments that it is made with."""
        return self.call.arguments if self.changed is None else self.changed

    @property
    def server_and_title(self) -> tuple[str, str]:
        """The name of its server, empty where there is none, and what the server calls it."""
        if self.tool is not None:
            return self.tool.server, self.tool.title
        server, parted, title = self.call.name.partition("__")
        return (server, title) if parted and server and title else ("", self.call.name)

    def take(self, event: CallAsked | CallBegan | CallEnded) -> None:
        """Take what is told of it."""
        if isinstance(event, CallEnded):
            result = event.result
            self.state, self.result = event.how, result.text
            self.seconds, self.size = result.seconds, result.size
            return
        self.tool, self.number, self.since = event.tool, event.number, time.monotonic()
        if isinstance(event, CallAsked):
            self.state = "waiting"
            return
        self.state = "running"
        if event.call.arguments != self.call.arguments:
            self.changed = event.call.arguments

    def decide(self, decision: Decision) -> None:
        """Note what a person said, before the loop has heard of it."""
        self.decided, self.since = decision.value, time.monotonic()
        self.state = "denied" if decision is Decision.DENY else "running"


class Calls:
    """The calls of one question, while it is answered."""

    def __init__(self) -> None:
        self._states: dict[str, CallState] = {}

    def take(self, event: ChatEvent) -> CallState | None:
        """Take an event of the stream; return the call that it concerns."""
        if isinstance(event, RoundEnded):
            for call in event.ended.tool_calls:
                known = self._states.get(call.id)
                if known is not None and known.state == "pending":
                    continue  # it was told of before
                self._states[call.id] = CallState(call, number=event.number, recovered=event.recovered)
            return None
        if not isinstance(event, CallAsked | CallBegan | CallEnded):
            return None
        state = self._states.setdefault(event.call.id, CallState(event.call))
        state.take(event)
        return state

    def get(self, call_id: str) -> CallState | None:
        return self._states.get(call_id)

    @property
    def all(self) -> Sequence[CallState]:
        return tuple(self._states.values())

    @property
    def waiting(self) -> Sequence[CallState]:
        """Those that wait for a person, in the order of the answer."""
        return tuple(one for one in self._states.values() if one.state == "waiting")

    @property
    def running(self) -> Sequence[CallState]:
        return tuple(one for one in self._states.values() if one.state == "running")

    @property
    def number(self) -> int:
        """The last round in which there were calls; 0 before the first."""
        return max((one.number for one in self._states.values()), default=0)


def kept(call: ToolCall, result: Message | None, *, recovered: bool = False) -> CallState:
    """Return a call as it was kept, with the message of its result; None where it has none."""
    state = CallState(call, recovered=recovered)
    if result is None or result.finish == "streaming":
        return state
    told = result.details.get("call")
    facts: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    state.result = result.content
    how = "pending" if never_made(result) else facts.get("how")
    state.state = how if how in ("pending", *STATES[3:]) else "unknown" if result.finish == "interrupted" else "done"
    state.seconds, state.size = as_number(facts.get("seconds")), as_count(facts.get("size")) or 0
    state.number = as_count(facts.get("round")) or 0
    state.decided = facts["decided"] if facts.get("decided") in tuple(Decision) else None
    changed = facts.get("arguments")
    state.changed = changed if isinstance(changed, str) else None
    return state


def states_of(messages: Iterable[Message], calls: Calls | None = None) -> dict[str, CallState]:
    """Return what became of the calls of some messages, by their ids: as it is known, else as it was kept."""
    messages = list(messages)
    results = {one.tool_call_id: one for one in messages if one.tool_call_id is not None}
    found: dict[str, CallState] = {}
    for message in messages:
        for call in message.tool_calls:
            known = calls.get(call.id) if calls is not None else None
            if known is not None:
                found[call.id] = known
            elif call.id in results:
                found[call.id] = kept(call, results[call.id], recovered="recovered" in message.details)
    return found
