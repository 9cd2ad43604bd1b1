"""What is kept of an answer that is over, and of those whose program is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vllm_studio_tui.domain.chat import Ended, Target
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.chat.request import title_of
from vllm_studio_tui.services.chat.turn import Turn, added_usage
from vllm_studio_tui.services.requests import completed_request, finish_of
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.endings import Ending
from vllm_studio_tui.store.messages import MessageRows
from vllm_studio_tui.store.recovery import PATIENCE, fold_recovered
from vllm_studio_tui.store.requests import RequestRows


def ending_of(turn: Turn, target: Target, ended: Ended, *, count: bool) -> Ending:
    """What is kept of an answer.

    Args:
        count: It was asked for, and is counted as a request.
    """
    kept = turn.kept
    request = request_of(turn, target, ended) if count else None
    if kept is None:
        return Ending(request=request)
    content, reasoning = turn.text()
    message = replace(
        kept,
        content=content,
        reasoning=reasoning,
        model=target.model or ended.model,
        tool_calls=ended.tool_calls,
        finish=finish_of(ended),
        error=ended.error,
        usage=added_usage(kept, ended.usage),
        timings=ended.timings,
    )
    questions = [one for one in turn.branch if one.role == "user"]
    title = title_of(questions[0].content) if questions else ""
    return Ending(message, questions[-1] if questions else None, title, request)


def request_of(turn: Turn, target: Target, ended: Ended) -> CompletedRequest:
    """Return what is counted of an answer."""
    kept = turn.kept
    return completed_request(
        "chat",
        target,
        ended,
        request_id=turn.request_id,
        session_id=kept.session_id if kept is not None else None,
        message_id=kept.id if kept is not None else None,
        text="".join(turn.content) + "".join(turn.reasoning),
    )


def settle(db: Database, folders: Sequence[Path]) -> int:
    """Bring in the answers of programs that are gone: what they could not save, and the rest as interrupted.

    Returns:
        How many of them could not be saved then.

    Raises:
        StoreError: The database cannot be read or written now.
    """
    recovered = fold_recovered(db, folders)
    # Requests first: what had come of them is told by messages that are not over.
    RequestRows(db).settle(patience=PATIENCE)
    MessageRows(db).settle_interrupted(patience=PATIENCE)
    return recovered
