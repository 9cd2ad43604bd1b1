"""What the scheduler is told, and what it decides. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.services.serving.eviction import Need, Room


class RunPhase(StrEnum):
    """A run as requests see it."""

    LOADING = "loading"  # also while its keeper starts it again
    READY = "ready"
    BLOCKED = "blocked"  # somebody else's server has its port
    STOPPING = "stopping"
    FAILED = "failed"
    ENDED = "ended"


#: Phases in which a run holds what it needs.
LIVE = frozenset({RunPhase.LOADING, RunPhase.READY, RunPhase.BLOCKED, RunPhase.STOPPING})


@dataclass(frozen=True, slots=True)
class Run:
    """A run now.

    Attributes:
        key: The id of its recipe, which may be deleted by now.
        started_by: See `domain.spec.RunSpec`; empty: a person.
        ready_for: Seconds since it became ready; None: it did not.
        busy: Requests that its engine works on, whoever asked; None: it does not say.
        activity: What has changed when it was used.
        eta: Seconds until it is ready; None: not known.
        why: Why it failed, or cannot be asked.
    """

    id: str
    key: str
    phase: RunPhase
    started_by: str = ""
    ready_for: float | None = None
    busy: int | None = None
    activity: tuple[int | None, ...] = ()
    port: int | None = None
    gpus: frozenset[str] = frozenset()
    memory: int | None = None
    eta: float | None = None
    stage: str | None = None
    progress: float | None = None
    why: Refusal | None = None

    @property
    def loads(self) -> bool:
        """Return whether it has not been ready yet. One that was has lost its engine, and there will be another."""
        return self.phase is RunPhase.LOADING and self.ready_for is None


@dataclass(frozen=True, slots=True)
class Model:
    """Who can be asked.

    Attributes:
        elsewhere: No run of ours: an external server, or one on another host. It always counts as ready.
        launchable: It is a recipe that can be started.
        load_seconds: What loading it took lately; None: it was never loaded.
        revision: Changes with the recipe.
    """

    key: str
    elsewhere: bool = False
    launchable: bool = False
    on_demand: bool | None = None
    ttl: float | None = None
    persistent: bool = False
    preload: bool = False
    priority: int = 0
    max_concurrent: int | None = None
    need: Need = field(default_factory=lambda: Need(""))
    load_seconds: float | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """Everything that was seen at one moment."""

    models: Mapping[str, Model] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    room: Room = field(default_factory=Room)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say; see `config.settings.Settings`.

    Attributes:
        primary: It may launch and stop; else another server of this home does.
    """

    primary: bool = True
    on_demand: str = "known"
    max_queue: int = 100
    max_wait: float = 600.0
    max_consecutive: float = 120.0
    min_warm: float = 30.0
    abandon_after: float = 10.0
    idle_ttl: float | None = None

    def why_not(self, model: Model) -> str:
        """Return why no request may start the model, in words; empty: it may."""
        if not model.launchable:
            return "It has no recipe."
        if not self.primary:
            return "Another server of this home starts models."
        if self.on_demand == "off":
            return "The setting on_demand is off."
        if self.on_demand == "known" and not model.on_demand:
            return "Its recipe does not say on_demand: true."
        if self.on_demand == "all" and model.on_demand is False:
            return "Its recipe says on_demand: false."
        return ""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request to a run; None: to the model itself, which is elsewhere."""

    job: str
    key: str
    run: str | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """End a request that waits."""

    job: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Launch:
    """Stop these runs, then start the model. One of `launched` and `not_launched` follows, whatever happens."""

    key: str
    evict: tuple[str, ...] = ()
    started_by: str = "request"


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a run that nobody uses. `stopped` follows, whatever happens."""

    run: str
    why: str = "idle"


Decision = Send | Refuse | Launch | Stop
