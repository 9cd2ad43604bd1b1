"""What is kept of an answer that has ended, and of the answers of programs that are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.chat import Ended, Message, Timings, TokenUsage
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.chat.request import title_of
from vllm_studio_tui.services.chat.turn import Turn
from vllm_studio_tui.services.requests import completed_request, finish_of
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.finished_answers import Ending
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.recovery import PATIENCE, fold_recovered
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.tool_calls import ToolCallRows


def ending_of(turn: Turn, ended: Ended, *, count: bool) -> Ending:
    """Return what is kept of a turn that ends so.

    Args:
        count: It was sent, and is counted as a request.
    """
    request = request_of(turn, ended) if count else None
    if turn.message is None:
        return Ending(request=request)
    content, reasoning = turn.answer.text()
    message = replace(
        turn.message,
        content=content,
        reasoning=reasoning,
        model=turn.target.model or ended.model,
        tool_calls=ended.tool_calls,
        finish=finish_of(ended),
        error=ended.error,
        usage=_usage(turn.message, ended.usage),
        timings=_timings(turn, ended),
        details=_details(turn.message.details, ended.details),
    )
    questions = [one for one in turn.branch if one.role == "user"]
    title = title_of(questions[0].content) if questions else ""
    round_ = turn.round
    results, number = ((), 0) if round_ is None or not ended.tool_calls else (round_.results, round_.number)
    return Ending(message, questions[-1] if questions else None, title, request, results, number)


def _details(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of an answer: what was known beforehand, and what its end told."""
    # What was counted here was of the answer before it was written on.
    known = {**{name: value for name, value in before.items() if name != "counted"}, **after}
    not_sent = [one["not_sent"] for one in (before, after) if isinstance(one.get("not_sent"), Mapping)]
    return {**known, "not_sent": {name: why for one in not_sent for name, why in one.items()}} if not_sent else known


def request_of(turn: Turn, ended: Ended) -> CompletedRequest:
    """Return what is counted of a turn that ends so."""
    session_id, message_id = turn.ids
    return completed_request(
        "chat",
        turn.target,
        ended,
        request_id=turn.request_id,
        session_id=session_id,
        message_id=message_id,
        text=turn.answer.generated,
    )


def _timings(turn: Turn, ended: Ended) -> Timings:
    """Return the timings of an answer; of one without an end of the engine's, the speed that was measured here.

    It is kept with the message alone: what counts requests and peaks takes only what an engine reported.
    """
    timings = ended.timings
    cut = timings.tokens_per_second is None and ended.finish in ("stopped", "interrupted")
    if cut and timings.total is not None and timings.ttft is not None:
        # Up to its end, not up to now: it is written down later.
        timings = replace(timings, tokens_per_second=turn.answer.speed_over(timings.total - timings.ttft))
    before = turn.message
    continued = before is not None and bool(before.content or before.reasoning)
    return _both(before.timings, timings) if before is not None and continued else timings


def _both(first: Timings, second: Timings) -> Timings:
    """Return the timings of an answer that was continued, as its tokens are those of both parts.

    The wait before the second part is time of the whole, and so in its speed; that between them is not.
    """
    if first.total is None or second.total is None:
        return second
    total = first.total + second.total
    thinking = [one for one in (first.thinking, second.thinking) if one is not None]
    rate = None
    if first.tokens_per_second is not None and second.tokens_per_second is not None:
        generated = sum(
            one.tokens_per_second * max(0.0, one.total - (one.ttft or 0.0))
            for one in (first, second)
            if one.tokens_per_second is not None and one.total is not None
        )
        rate = generated / max(1e-9, total - (first.ttft or 0.0))
    return Timings(first.ttft, sum(thinking) if thinking else None, total, rate)


def _usage(before: Message, usage: TokenUsage) -> TokenUsage:
    """Return the tokens of an answer: of one that was continued, its last prompt and the sum of what was generated."""
    if not before.content and not before.reasoning:
        return usage

    def both(first: int | None, second: int | None) -> int | None:
        return None if first is None or second is None else first + second

    return replace(
        usage,
        completion_tokens=both(before.usage.completion_tokens, usage.completion_tokens),
        reasoning_tokens=both(before.usage.reasoning_tokens, usage.reasoning_tokens),
    )


def settle(db: Database, folders: Sequence[Path]) -> int:
    """Take in what programs that are gone could not save, and mark the rest of their answers as interrupted.

    Args:
        folders: Where recovery files lie.

    Returns:
        How many answers came from recovery files.

    Raises:
        StoreError: The database cannot be read or written now.
    """
    recovered = fold_recovered(db, folders)
    # Requests first: how much had come of them is known from messages that are not over.
    RequestRows(db).settle(patience=PATIENCE)
    ToolCallRows(db).settle(patience=PATIENCE)
    MessageRows(db).settle_interrupted(patience=PATIENCE)
    return recovered
