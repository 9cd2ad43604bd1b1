"""One turn of a chat: what an engine is asked, and its answer."""

from __future__ import annotations

import asyncio
import secrets
import string
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vllm_studio_tui.domain.chat import Ended, Message, Target, ToolCall
from vllm_studio_tui.services.chat.answer import Answer


@dataclass(slots=True)
class ToolRound:
    """The round of calls in which an answer may end.

    Attributes:
        number: From 1.
        taken: Ids of calls that are there already.
        results: The messages that will hold the results, once it ended in calls.
    """

    number: int
    taken: frozenset[str] = frozenset()
    results: tuple[Message, ...] = ()


@dataclass(slots=True)
class Turn:
    """A question on its way to an engine, and its answer.

    Attributes:
        temporary: Nothing of it shall be kept in the chats.
        branch: The messages that are sent, the question last.
        message: The message that the answer is kept in, as it was before; None where nothing is kept.
        answer_id: What the message of the answer will be called; empty: the store names it.
        round: Its calls are made; None: nobody makes them.
        details: What is known of the answer beforehand, for `Message.details`.
        fields: What its own request has besides what shapes it, as an engine calls it.
        check: Raises where it cannot be asked so; called in a thread before anything is kept, and may take its time.
        tools: The tools that are offered, as requests have them.
        blind: Pictures of the branch are not sent.
        counted: Its request is on record.
        changed: Set while something has come that is not kept yet.
    """

    target: Target
    temporary: bool = False
    branch: Sequence[Message] = ()
    system: str | None = None
    message: Message | None = None
    answer: Answer = field(default_factory=Answer)
    answer_id: str = ""
    round: ToolRound | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[], None] | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    blind: bool = False
    counted: bool = False
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def prepare(self, branch: Sequence[Message], system: str | None, message: Message | None = None) -> None:
        """Set what is sent, and the message that the answer is kept in."""
        self.branch, self.system, self.message = branch, system, message
        self.answer.before = message

    def take_calls(self, ended: Ended) -> Ended:
        """Return an end whose calls have ids that no other has; where they are made, make room for the results."""
        if self.round is None or ended.finish != "tool_calls" or not ended.tool_calls:
            return ended
        calls: list[ToolCall] = []
        seen = set(self.round.taken)
        for call in ended.tool_calls:
            # Our own reader numbers calls that came without an id, anew in each answer.
            ours = not call.id or (call.id.startswith("call_") and len(call.id) < 10)
            new = call if not ours and call.id not in seen else replace(call, id=new_call_id())
            seen.add(new.id)
            calls.append(new)
        session_id, parent = self.ids
        results = []
        for call in calls:
            details = {"call": {"name": call.name, "round": self.round.number}}
            result = Message(uuid.uuid4().hex, session_id or "", "tool", "", parent, tool_call_id=call.id)
            results.append(replace(result, finish="streaming", details=details))
            parent = result.id
        self.round.results = tuple(results)
        return replace(ended, tool_calls=tuple(calls))

    def leave_out_pictures(self, why: str) -> None:
        """Send none of the pictures that were asked about before, and have the answer tell so."""
        self.blind = True
        if self.message is not None:
            self.message = replace(self.message, details={**self.message.details, "not_sent": {"pictures": why}})

    @property
    def sent(self) -> Sequence[Message]:
        """The messages that are sent, without what is left out."""
        if not self.blind:
            return self.branch
        return [replace(one, images=()) if one.role == "user" else one for one in self.branch]

    @property
    def below_result(self) -> bool:
        """Whether it goes on below the result of a tool, rather than below a question."""
        return bool(self.branch) and self.branch[-1].role == "tool"

    @property
    def ids(self) -> tuple[str | None, str | None]:
        """The ids of the chat and of the answer's message; None where nothing is kept."""
        return (None, None) if self.message is None else (self.message.session_id, self.message.id)


def new_call_id() -> str:
    """Return a new id of a call: nine letters and digits, which is what Mistral's templates insist on."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))
