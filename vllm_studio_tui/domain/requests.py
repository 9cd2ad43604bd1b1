"""Requests for those who look: under way, as whoever serves them tells it, and ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.serving import Phase
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.outside_values import as_count, as_number

#: Before an engine has a request.
WAITING = frozenset({Phase.QUEUED, Phase.LOADING})
_TEXTS = ("key", "model", "recipe", "run_id", "endpoint", "stage", "client")
_FIGURES = ("progress", "eta", "queued", "load", "ttft", "tokens_per_second")
_COUNTS = ("position", "prompt_tokens", "completion_tokens")


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A request that is under way. Seconds, and None for what is not known.

    Attributes:
        at: When it came, in seconds since the epoch.
        key: The name of its key; None where it came without one.
        source: Who asked: proxy, chat, bench, probe.
        phase: One of `Phase`.
        stage, progress: Of its model's start; 0 to 1.
        position: How many requests of other models are before it.
        completion_tokens: Those that have come so far, about.
        served: Whoever serves it can be told to end it.
    """

    id: str
    at: float
    phase: str
    source: str = "proxy"
    key: str | None = None
    model: str | None = None
    recipe: str | None = None
    run_id: str | None = None
    endpoint: str | None = None
    stage: str | None = None
    progress: float | None = None
    position: int | None = None
    eta: float | None = None
    age: float | None = None
    queued: float | None = None
    load: float | None = None
    ttft: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_per_second: float | None = None
    client: str | None = None
    streamed: bool | None = None
    served: bool = True

    @property
    def waits(self) -> bool:
        """Return whether no engine has it yet."""
        return self.phase in WAITING

    @property
    def asked_for(self) -> str | None:
        """Return how people know what was asked: its recipe, since several may have one name; else what was asked."""
        return self.recipe or self.model

    def to_json(self) -> dict[str, Any]:
        """Return what `requests --live --json` prints of it."""
        return {
            "id": self.id,
            "at": iso_time(self.at),
            "source": self.source,
            "key": self.key,
            "model": self.model,
            "recipe": self.recipe,
            "run_id": self.run_id,
            "endpoint": self.endpoint,
            "phase": self.phase,
            "stage": self.stage,
            "progress": self.progress,
            "position": self.position,
            "eta": self.eta,
            "age": self.age,
            "queued": self.queued,
            "load": self.load,
            "ttft": self.ttft,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "tokens_per_second": self.tokens_per_second,
            "client": self.client,
            "streamed": self.streamed,
        }

    @classmethod
    def of_json(cls, data: object, *, now: float) -> LiveRequest | None:
        """Return the request that a server tells of; None for what is none. Any value is taken."""
        if not isinstance(data, Mapping):
            return None
        name = _text(data.get("id"))
        if not name:
            return None
        age = as_number(data.get("age"), below=1e12)
        texts: dict[str, Any] = {one: _text(data.get(one)) for one in _TEXTS}
        figures: dict[str, Any] = {one: as_number(data.get(one), below=1e12) for one in _FIGURES}
        counts: dict[str, Any] = {one: as_count(data.get(one), below=1e12) for one in _COUNTS}
        return cls(
            name,
            now - age if age is not None else now,
            _text(data.get("phase")) or Phase.SENT,
            _text(data.get("source")) or "proxy",
            **texts,
            **figures,
            **counts,
            age=age,
            streamed=value if isinstance(value := data.get("streamed"), bool) else None,
        )


@dataclass(frozen=True, slots=True)
class LiveRequests:
    """What is under way now, the oldest first.

    Attributes:
        url: Where `serve` listens; None: nothing serves from this home.
        error: Why what `serve` does is not known, although it runs.
        queue: What `serve` tells of models that are waited for.
    """

    requests: tuple[LiveRequest, ...] = ()
    url: str | None = None
    serving: bool = False
    error: StudioError | None = None
    queue: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `requests --live --json` prints."""
        return {
            "requests": [one.to_json() for one in self.requests],
            "queue": list(self.queue),
            "serving": {"url": self.url} if self.serving else None,
            "error": None if self.error is None else self.error.to_json(),
        }


def find_live(now: LiveRequests, name: str) -> LiveRequest:
    """Return the request under way of an id, or the only one whose id begins so.

    Raises:
        UsageError: Several begin so, or it is a chat, which nobody but its face ends.
        NotFound: None does.
    """
    found = [one for one in now.requests if one.id == name] or [
        one for one in now.requests if name and one.id.startswith(name)
    ]
    if len(found) > 1:
        raise UsageError(f"several requests begin with {name}", cause=", ".join(one.id for one in found[:10]))
    if not found and now.error is not None:
        raise now.error
    if not found:
        cause = "It has ended, or never was." if now.serving else "Nothing serves from this home."
        raise NotFound(f"no request {name} is under way", cause=cause, advice="See: vllm-studio requests --live")
    if not found[0].served:
        asks = found[0].source
        raise UsageError(
            f"{found[0].id} is not a request of serve", cause=f"A {asks} asks it.", advice="Stop it there."
        )
    return found[0]


@dataclass(frozen=True, slots=True)
class RequestQuery:
    """Which requests to return.

    Attributes:
        key: A pattern of names of keys; of requests without one, of who asked (chat, bench, probe).
        model: A pattern of models as they were asked for, as they are called by engines, or of recipes.
        before: Only those that ended before this moment and id, to go on from where a page ended.
        run_id: Only those that this run answered.
        since, until: Only those that were under way at a moment between these two: they ended after the first, and
            came before the second.
    """

    limit: int = 100
    key: str | None = None
    model: str | None = None
    before: tuple[float, str] | None = None
    run_id: str | None = None
    since: float | None = None
    until: float | None = None


def came(request: CompletedRequest) -> float:
    """Return when a request that has ended came, in seconds since the epoch; its end where it is not known how long
    it took."""
    return request.at - (request.total_seconds or 0.0)


def request_document(request: CompletedRequest) -> dict[str, Any]:
    """Return what `requests --json` prints of a request that has ended."""
    return {
        "id": request.id,
        "at": iso_time(request.at),
        "source": request.source,
        "key": request.key_name,
        "model": request.model,
        "requested_model": request.requested_model,
        "recipe": request.recipe_id,
        "run_id": request.run_id,
        "session": request.session_id,
        "endpoint": request.endpoint,
        "status": request.status,
        "finish": request.finish,
        "error": request.error,
        "prompt_tokens": request.prompt_tokens,
        "cached_tokens": request.cached_tokens,
        "completion_tokens": request.completion_tokens,
        "reasoning_tokens": request.reasoning_tokens,
        "estimated": request.estimated,
        "queued": request.queued_seconds,
        "load": request.load_seconds,
        "overhead": request.overhead_seconds,
        "ttft": request.ttft,
        "total": request.total_seconds,
        "tokens_per_second": request.tokens_per_second,
        "client": request.client,
        "streamed": request.streamed,
        "upstream_id": request.upstream_id,
        "bytes_in": request.bytes_in,
        "bytes_out": request.bytes_out,
    }


def _text(value: object) -> str | None:
    return value[:1000] if isinstance(value, str) and value else None
