"""The requests that are being answered now, for screens and the command line."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.serving import Endpoint, Phase
from vllm_studio_tui.kit.iso_time import iso_time

if TYPE_CHECKING:
    from aiohttp import web

    from vllm_studio_tui.http.form_body import Form
    from vllm_studio_tui.services.serving.answer_reading import AnswerReader
    from vllm_studio_tui.services.serving.dispatcher import Admission

_CLIENT = re.compile(r"[^A-Za-z0-9._/ ()+:;-]+")


def client_of(request: web.Request) -> str:
    """Return what a client calls itself, else its address."""
    return _agent(request.headers.get("User-Agent", "")) or request.remote or "unix socket"


@lru_cache(maxsize=256)
def _agent(header: str) -> str:
    return _CLIENT.sub("", header)[:80].strip()


@dataclass(slots=True)
class LiveRequest:
    """A request from its arrival to its end. Moments are of the clock of the event loop.

    Attributes:
        at: When it came, in seconds since the epoch.
        cancelled: Why it was cancelled by somebody else than its client; None: it was not.
        queued_before, load_before: Seconds that it waited for an engine to which there was no connection then.
        form: What is sent to the engine, where it is a form: see whether it broke off on its way.
        response: What the client gets, once its head has been sent.
    """

    id: str
    endpoint: str
    key_id: str
    key_name: str
    client: str
    started: float
    at: float = field(default_factory=time.time)
    model: str | None = None
    streamed: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    phase: Phase = Phase.QUEUED
    admission: Admission | None = None
    target: Endpoint | None = None
    reader: AnswerReader | None = None
    form: Form | None = None
    status: int | None = None
    sent_at: float | None = None
    first_at: float | None = None
    last_at: float | None = None
    task: asyncio.Task[Any] | None = None
    cancelled: str | None = None
    noted_at: float = 0.0
    queued_before: float = 0.0
    load_before: float = 0.0
    response: web.StreamResponse | None = None
    error: str | None = None

    @property
    def waited_seconds(self) -> float:
        now = self.admission.waited_seconds if self.admission is not None else 0.0
        return self.queued_before + self.load_before + now

    @property
    def queued_seconds(self) -> float:
        return self.queued_before + (self.admission.queued_seconds if self.admission is not None else 0.0)

    @property
    def load_seconds(self) -> float:
        return self.load_before + (self.admission.load_seconds if self.admission is not None else 0.0)

    def leave_for_another(self) -> None:
        """Leave an engine to which there is no connection: what was waited for it stays waited."""
        if self.admission is not None:
            self.admission.leave()
            self.queued_before, self.load_before = self.queued_seconds, self.load_seconds
            self.admission = None
        self.sent_at = None

    @property
    def overhead_seconds(self) -> float | None:
        """Return what the server itself took before the request was sent on; None while it was not."""
        if self.sent_at is None:
            return None
        return max(0.0, self.sent_at - self.started - self.waited_seconds)

    @property
    def tokens_per_second(self) -> float | None:
        """Return the speed of generation; None where too little came to tell."""
        reader = self.reader
        if reader is None:
            return None
        if reader.tokens_per_second is not None:
            return reader.tokens_per_second
        tokens = reader.tokens or 0
        if self.first_at is None or self.last_at is None or tokens < 2 or self.last_at <= self.first_at:
            return None
        return (tokens - 1) / (self.last_at - self.first_at)

    @property
    def tokens(self) -> int:
        """Return the tokens of prompt and answer so far."""
        reader = self.reader
        return 0 if reader is None else (reader.usage.prompt_tokens or 0) + (reader.tokens or 0)

    def known(self, finish: str, now: float) -> dict[str, Any]:
        """Return what is known of the row of the request log, by the names of `CompletedRequest`."""
        reader, target, first = self.reader, self.target, self.first_at
        found: dict[str, Any] = {
            "at": time.time(),
            "source": "proxy",
            "finish": finish,
            "id": self.id,
            "model": self.model,
            "total_seconds": now - self.started,
            "error": self.error,
            "key_id": self.key_id,
            "key_name": self.key_name,
            "endpoint": self.endpoint,
            "requested_model": self.model,
            "status": self.status,
            "streamed": self.streamed,
            "queued_seconds": self.queued_seconds,
            "load_seconds": self.load_seconds,
            "overhead_seconds": self.overhead_seconds,
            "client": self.client,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }
        if target is not None:
            found["run_id"], found["attempt"], found["recipe_id"] = target.run_id, target.attempt, target.recipe_id
        if first is not None:
            found["ttft"] = first - self.started
        if reader is not None:
            usage = reader.usage
            found["prompt_tokens"], found["completion_tokens"] = usage.prompt_tokens, reader.tokens
            found["reasoning_tokens"], found["cached_tokens"] = usage.reasoning_tokens, usage.cached_tokens
            found["tokens_per_second"], found["estimated"] = self.tokens_per_second, reader.estimated
            found["upstream_id"] = reader.id
        name = (target.model if target is not None else None) or (reader.model if reader is not None else None)
        if name:
            found["model"] = name
        return found

    def document(self, now: float) -> dict[str, Any]:
        """Return what `requests --live` shows."""
        waiting = self.admission.status() if self.admission is not None and self.sent_at is None else None
        reader, target = self.reader, self.target
        return {
            "id": self.id,
            "at": iso_time(self.at),
            "key": self.key_name,
            "source": "proxy",
            "model": self.model,
            "recipe": target.recipe_id if target else (waiting.recipe_id if waiting else None),
            "run_id": target.run_id if target else None,
            "endpoint": self.endpoint,
            "phase": str(waiting.phase if waiting else self.phase),
            "stage": waiting.stage if waiting else None,
            "progress": waiting.progress if waiting else None,
            "eta": waiting.eta if waiting else None,
            "position": waiting.position if waiting else None,
            "age": now - self.started,
            "queued": self.queued_seconds,
            "load": self.load_seconds,
            "ttft": None if self.first_at is None else self.first_at - self.started,
            "prompt_tokens": reader.usage.prompt_tokens if reader else None,
            "completion_tokens": reader.tokens if reader else None,
            "tokens_per_second": self.tokens_per_second,
            "client": self.client,
            "streamed": self.streamed,
        }


class LiveRequests:
    """All of them, by id."""

    def __init__(self) -> None:
        self._all: dict[str, LiveRequest] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[LiveRequest]:
        return iter(list(self._all.values()))

    def add(self, one: LiveRequest) -> None:
        self._all[one.id] = one

    def remove(self, one: LiveRequest) -> None:
        self._all.pop(one.id, None)

    def cancel(self, request_id: str, why: str) -> bool:
        """End a request for somebody else than its client, and return whether there is such a request."""
        one = self._all.get(request_id)
        if one is None or one.task is None:
            return False
        one.cancelled = why
        one.task.cancel()
        return True
