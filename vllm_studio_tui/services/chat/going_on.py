"""Going on where a chat was cut off: what that is, by the messages of its branch.

An answer is written on in the same message where its engine can do that; else it is asked to go on below. Of a round of
calls those that were never made are asked about again; one that was made, or may have been, is not made a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import Message, Target, ToolCall
from vllm_studio_tui.domain.errors import UsageError

#: What an engine is asked that cannot write on in its answer; it stands in the chat as a question.
GO_ON = "Go on exactly where you stopped."
_CUT = ("stopped", "interrupted", "length")


class WayOn(StrEnum):
    """How a chat goes on.

    `TEXT`: its last answer is written on. `CALLS`: calls that wait are made, and answered below. `QUESTION`: the engine
    is asked to go on, below. `AGAIN`: nothing was said yet, so that another answer is written beside. `ANSWER`: a
    question has no answer yet.
    """

    TEXT = "text"
    CALLS = "calls"
    QUESTION = "question"
    AGAIN = "again"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class CutRound:
    """A round of calls at the end of a branch, below which no answer stands.

    Attributes:
        answer: The answer that ended in the calls.
        open: Those that were never made.
        results: What there is of results, in the order of the branch.
        number: The round, from 1.
    """

    answer: Message
    open: tuple[ToolCall, ...]
    results: tuple[Message, ...]
    number: int

    @property
    def last(self) -> Message:
        """The message that an answer goes below."""
        return self.results[-1] if self.results else self.answer


def writes_on(backend: str) -> bool:
    """Return whether an engine of this kind can write on in an answer."""
    found = registry.find(backend)
    return found is not None and found.continue_options is not None


def is_cut(message: Message) -> bool:
    """Return whether an answer ended before it was done."""
    return message.role == "assistant" and message.finish in _CUT


def cut_round(branch: Sequence[Message]) -> CutRound | None:
    """Return the round of calls in which a branch ends; None where it ends otherwise."""
    at = len(branch) - 1
    while at >= 0 and branch[at].role == "tool":
        at -= 1
    if at < 0 or branch[at].role != "assistant" or not branch[at].tool_calls or branch[at].finish != "tool_calls":
        return None
    answer, results = branch[at], tuple(branch[at + 1 :])
    if any(one.finish == "streaming" for one in results):
        return None  # they are being made
    by_call = {one.tool_call_id: one for one in results}
    numbers = [_round_of(one) for one in results]
    waits = tuple(call for call in answer.tool_calls if never_made(by_call.get(call.id)))
    return CutRound(answer, waits, results, max(numbers, default=1))


def never_made(result: Message | None) -> bool:
    """Return whether the call of a result was not even begun: nobody decided on it before its round was cut off."""
    if result is None:
        return True
    told = result.details.get("call")
    if result.finish not in ("stopped", "interrupted") or not isinstance(told, Mapping):
        return False
    return told.get("how") == "denied" and not told.get("decided")


def way_on(branch: Sequence[Message], *, writes_on: bool) -> WayOn | None:
    """Return how a branch goes on; None where its last answer is whole, or is being written.

    Args:
        writes_on: The engine can write on in an answer.
    """
    if not branch:
        return None
    last = branch[-1]
    if cut_round(branch) is not None:
        return WayOn.CALLS
    if last.role == "user":
        return WayOn.ANSWER
    if last.role != "assistant" or last.finish not in (*_CUT, "failed"):
        return None
    if not last.content.strip():
        return WayOn.AGAIN
    return WayOn.TEXT if writes_on else WayOn.QUESTION


def sure_way_on(branch: Sequence[Message], target: Target) -> WayOn:
    """Return how a branch goes on with this engine.

    Raises:
        UsageError: There is nothing to go on with.
    """
    way = way_on(branch, writes_on=writes_on(target.backend))
    if way is not None:
        return way
    if any(one.finish == "streaming" for one in branch[-1:]):
        raise UsageError("an answer is being written in this chat", advice="Wait for its end, or stop it.")
    raise UsageError("the last answer of this chat is whole: nothing was cut off", advice="Ask what comes next.")


def _round_of(result: Message) -> int:
    told = result.details.get("call")
    number = told.get("round") if isinstance(told, Mapping) else None
    return number if isinstance(number, int) and 0 < number < 1000 else 1
