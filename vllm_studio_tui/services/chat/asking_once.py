"""Asking an engine one question that belongs to no chat."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from vllm_studio_tui.domain.chat import ChatRequest, Ended, Stream, StreamEvent, Target
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.chat.answer import Answer
from vllm_studio_tui.services.requests import completed_request

#: Keeps a request that has ended: the engine counts its tokens too.
Record = Callable[[CompletedRequest], object]


def recorded(stream: Stream, source: str, record: Record) -> Stream:
    """Return a way to ask that keeps each request."""

    async def recording(target: Target, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        async for event in stream(target, request):
            if isinstance(event, Ended):
                record(completed_request(source, target, event))
            yield event

    return recording


async def ask_once(target: Target, stream: Stream, request: ChatRequest) -> tuple[str, str, Ended]:
    """Return content, thinking and end of an answer."""
    answer = Answer()
    async for event in stream(target, request):
        answer.add(event)
    return *answer.text(), answer.ended or Ended("failed", error="the stream ended without an end")
