"""Requests that are served for others: who asks, what is refused and with which status, and who answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vllm_studio_tui.domain.errors import StudioError


class Refusal(StudioError):
    """A request that is not served, in the words of HTTP.

    Attributes:
        status: The HTTP status.
        code: A slug for programs, such as `model_not_found`.
        retry_after: Seconds after which to try again; None: trying again changes nothing.
        param: The field of the request that is wrong.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        *,
        cause: str = "",
        advice: str = "",
        retry_after: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(title, cause=cause, advice=advice)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.param = param


class Phase(StrEnum):
    """Where a request is. A request ends exactly once, in one of the last four."""

    QUEUED = "queued"
    LOADING = "loading"
    SENT = "sent"
    STREAMING = "streaming"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that wants a model.

    Attributes:
        id: Of the request; unique.
        model: As the client wrote it; None: it named none.
        may_launch: Its key may have a model loaded, and another one stopped for it.
        patterns: Names of models that its key may use, as of `fnmatch`; empty: all.
        priority: Higher ones go first among those that wait for the same.
    """

    id: str
    model: str | None
    may_launch: bool = False
    patterns: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who answers a request.

    Attributes:
        base_url: Ends in `/v1`.
        model: What the server is to read in `model`; None: what the client wrote is understood there.
        api_key: What the server asks for, never what the client sent.
        backend: Kind of engine; None for a studio on another host.
        user: Of basic authentication, with `api_key` as the password.
        set_params: Fields that are put into the request's body.
        default_params: Fields that are put in where the request has none of them.
        strip_params: Fields that are taken out.
        stall_timeout: Seconds without a byte after which the answer counts as failed; None: any time is given.
        keeps_connections: A connection may be used for a further request after a stream.
    """

    base_url: str
    model: str | None = None
    api_key: str | None = None
    backend: str | None = None
    run_id: str | None = None
    attempt: int | None = None
    recipe_id: str | None = None
    peer: str | None = None
    user: str | None = None
    set_params: tuple[tuple[str, object], ...] = ()
    default_params: tuple[tuple[str, object], ...] = ()
    strip_params: tuple[str, ...] = ()
    stall_timeout: float | None = None
    keeps_connections: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a request waits for now.

    Attributes:
        position: How many requests of other models are before it; 0 while its model loads.
        stage: Of its model's start, as its log says.
        progress: 0 to 1, where known.
        eta: Seconds until the model is ready, from earlier launches; None where there were none.
    """

    phase: Phase
    recipe_id: str | None = None
    position: int = 0
    stage: str | None = None
    progress: float | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that can be asked for.

    Attributes:
        id: The name to write in `model`.
        aliases: Further names.
        state: Of its run; `stopped` without one, `ready` for an external server that is not looked at.
        on_demand: A request may have it loaded.
        max_model_len: Its recipe's context in tokens; None where the recipe leaves that to the model.
    """

    id: str
    aliases: tuple[str, ...] = ()
    state: str = "stopped"
    recipe_id: str | None = None
    run_id: str | None = None
    peer: str | None = None
    backend: str | None = None
    on_demand: bool = False
    max_model_len: int | None = None
    created: float | None = None

    @property
    def active(self) -> bool:
        """Return whether it answers now."""
        return self.state in ("ready", "unhealthy")
