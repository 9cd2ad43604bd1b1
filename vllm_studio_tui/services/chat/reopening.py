"""Calls of a round that was cut off, made ready to be asked about again: those alone that were never made."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vllm_studio_tui.domain.chat import Message, ToolCall
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.tools import ToolBox, ToolChoice
from vllm_studio_tui.services.chat.going_on import cut_round
from vllm_studio_tui.services.chat.turn import new_call_id
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.tool_calls import ToolCallRows


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that was never made, and the message that will hold its result.

    Attributes:
        begun: It is on record; else nobody was to make it.
    """

    call: ToolCall
    result: Message
    begun: bool


@dataclass(frozen=True, slots=True)
class Reopening:
    """What is done to a round to go on in it.

    Attributes:
        answer: The answer with the calls, as it is kept then.
        last: The id of the message that the next answer goes below.
    """

    answer: Message
    calls: tuple[OpenCall, ...]
    number: int
    last: str


def plan(branch: Sequence[Message], tools: ToolBox | ToolChoice | None) -> Reopening:
    """Return what is done to go on in the round in which a branch ends; nothing is kept yet.

    A call that has no result yet gets an id of its own where another call of the branch has its id.

    Args:
        tools: What its calls are made with; None: nothing.

    Raises:
        UsageError: There are calls to be made, and nothing to make them with.
    """
    cut = cut_round(branch)
    if cut is None:
        raise UsageError("the chat does not end in calls of tools", advice="Ask what comes next.")
    if cut.open and (tools is None or (isinstance(tools, ToolChoice) and not tools.call)):
        names = ", ".join(dict.fromkeys(call.name for call in cut.open))[:200]
        raise UsageError(
            f"calls of the last answer wait to be made: {names}",
            advice="Offer the tools: f12 on the screen, --tools and --allow in the shell. Or ask something else.",
        )
    by_call = {one.tool_call_id: one for one in cut.results}
    others = {call.id for one in branch if one.id != cut.answer.id for call in one.tool_calls}
    calls: list[OpenCall] = []
    renamed: dict[int, ToolCall] = {}
    last = cut.last.id
    for at, call in enumerate(cut.answer.tool_calls):
        if call not in cut.open:
            others.add(call.id)
            continue
        result = by_call.get(call.id)
        if result is not None:
            calls.append(OpenCall(call, replace(result, finish="streaming", error=None), begun=True))
        else:
            if not call.id or call.id in others:
                call = renamed[at] = replace(call, id=new_call_id())
            result = Message(uuid.uuid4().hex, cut.answer.session_id, "tool", "", last, tool_call_id=call.id)
            details = {"call": {"name": call.name, "round": cut.number}}
            calls.append(OpenCall(call, replace(result, finish="streaming", details=details), begun=False))
            last = result.id
        others.add(call.id)
    all_calls = tuple(renamed.get(at, call) for at, call in enumerate(cut.answer.tool_calls))
    return Reopening(replace(cut.answer, tool_calls=all_calls), tuple(calls), cut.number, last)


def reopen(db: Database, what: Reopening) -> list[OpenCall]:
    """Put the calls on record as waiting, each at most once; return those that are. Blocking.

    Raises:
        UsageError: One without a result was made before: its result was taken away.
        StoreError: It could not be kept; nothing of it was.
    """
    rows, messages = ToolCallRows(db), MessageRows(db)
    with db.write():
        known = {row["call_id"] for row in rows.of_answer(what.answer.id)}
        if any(one.call.id in known for one in what.calls if not one.begun):
            advice = "Bring it back: u on the screen, or `vllm-studio chats bring-back`."
            raise UsageError("a result of these calls was taken away", advice=advice)
        again = [one for one in what.calls if one.begun and rows.reopen(what.answer.id, one.call.id, one.result.id)]
        new = [one for one in what.calls if not one.begun]
        if new:
            messages.finish(what.answer)
            called = replace(what.answer, tool_calls=tuple(one.call for one in new))
            rows.begin_round(called, [one.result for one in new], what.number)
    return [*again, *new]
