"""Records of completions: whoever asks an engine (chat, parser probe, proxy) makes and keeps them here."""

from __future__ import annotations

import contextlib
import time

from vllm_studio_tui.domain.chat import FINISHES, Ended, Target
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.usage import CompletedRequest, about_tokens
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows


def finish_of(ended: Ended) -> str:
    """Return how an answer ended, as one of `FINISHES`; a reason that only one engine knows counts as `stop`."""
    return ended.finish if ended.finish in FINISHES and ended.finish != "streaming" else "stop"


def completed_request(
    source: str,
    target: Target,
    ended: Ended,
    *,
    request_id: str = "",
    session_id: str | None = None,
    message_id: str | None = None,
    text: str = "",
) -> CompletedRequest:
    """Make the record of a completion that ends now, or that has just begun (`ended.finish` is `streaming`).

    Args:
        source: Who asked: chat, bench, probe, proxy.
        request_id: Empty: the store makes one.
        text: Everything that was generated. Tokens are estimated from it where the engine reported none.
    """
    usage, timings = ended.usage, ended.timings
    estimated = usage.completion_tokens is None and bool(text)
    return CompletedRequest(
        time.time(),
        source,
        "streaming" if ended.finish == "streaming" else finish_of(ended),
        id=request_id,
        run_id=target.run_id,
        attempt=target.attempt if target.run_id is not None else None,
        recipe_id=target.recipe_id,
        model=target.model or ended.model,
        session_id=session_id,
        message_id=message_id,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=about_tokens(text) if estimated else usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cached_tokens=usage.cached_tokens,
        ttft=timings.ttft,
        total_seconds=timings.total,
        tokens_per_second=timings.tokens_per_second,
        error=ended.error,
        estimated=estimated,
    )


def begin_request(db: Database, request: CompletedRequest) -> None:
    """Keep that something is being asked, so that it is counted however this process ends. Blocking.

    Raises:
        StoreError: It could not be kept.
    """
    RequestRows(db).begin(request)


def cancel_request(db: Database, request_id: str) -> None:
    """Remove a request that was begun and then never sent. Blocking; does not raise where that fails."""
    with contextlib.suppress(StoreError):
        RequestRows(db).forget(request_id)


def record_request(db: Database, request: CompletedRequest) -> None:
    """Keep a completion that belongs to no chat. Blocking; does not raise where that fails."""
    with contextlib.suppress(StoreError):
        RequestRows(db).record(request)
