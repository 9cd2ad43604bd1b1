"""What a keeper needs to know of its run, resolved before it starts: the content of `spec.json`.

Standard library only. Backends build the parts; the keeper reads them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.field_checks import valid_fields
from vllm_studio_tui.kit.plain_data import plain


@dataclass(frozen=True, slots=True)
class Stage:
    """A pattern of a log line that tells which stage of loading has begun.

    Attributes:
        pattern: A regular expression, searched in one line without colours. Groups `n` and `m`, where it has
            them, are a count (weights 13 of 30); a group `percent` is 0-100.
        name: The stage: config, downloading, weights, compiling, kv_cache, graphs, warmup, serving.
    """

    pattern: str
    name: str


#: What answers a cause: changes of the recipe as data, or the name of a rule that computes them
#: (`services/launching/fixes.py`). In data `{1}` is a group of the match, `{1|16}` that rounded down to a multiple of
#: 16; `extra_args.name` and `env_vars.NAME` are single entries of those fields.
Fix = Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class Failure:
    """A cause: a pattern of a log line that tells why an engine failed, and what to do about it.

    Attributes:
        pattern: A regular expression, searched without regard to case in one line without colours.
        reason: A slug, for programs.
        title: The cause in words; `{1}`.. are the groups of the match.
        advice: What to do.
        restart: Whether another try could help. A deterministic cause is never retried.
        weak: A line of a general kind: it counts when no particular row matched.
        pointer: The line only points at an earlier one: it counts when nothing else matched.
        start_only: It can keep an engine from starting and cannot end one that serves; there it is a request's trouble.
        fatal: A start that prints it is ended at once: the engine would go on, but not as it was asked to.
        fixes: What answers it, the best first.
    """

    pattern: str
    reason: str
    title: str
    advice: str = ""
    restart: bool = True
    weak: bool = False
    pointer: bool = False
    start_only: bool = False
    fatal: bool = False
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadyProbe:
    """How to ask an engine whether it serves.

    Attributes:
        path: A path that answers 200 when the engine is up.
        models_path: A path whose OpenAI model list must hold `model`, None where that list lies.
        model: The name to look for; None: any.
        guarded: A path that is refused without the run's key; None where there is no key, or no such path.
        timeout: Seconds one answer may take.
        deadline: Seconds a start may take before it counts as failed; None: as long as it lives.
        failures: Unanswered probes in a row that make a ready run unhealthy.
    """

    path: str = "/health"
    models_path: str | None = None
    model: str | None = None
    guarded: str | None = None
    timeout: float = 5.0
    deadline: float | None = None
    failures: int = 3


@dataclass(frozen=True, slots=True)
class CounterNames:
    """Names of an engine's cumulative counters; of each tuple the first that is present counts.

    Values are summed over labels. Tokens are tokens, requests are finished requests.

    Attributes:
        running: A gauge: requests that are worked on now.
        progress: What moves with each step of the engine, where token counters wait for the end of a request.
        token_gaps, token_seconds: How often a token followed another one of its answer, and the seconds in between.
        cached_apart: The engine does not count cached tokens among the prompt's (llama.cpp); they are added.
    """

    path: str = "/metrics"
    cached_apart: bool = False
    prompt_tokens: tuple[str, ...] = ()
    generation_tokens: tuple[str, ...] = ()
    cached_tokens: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    progress: tuple[str, ...] = ()
    token_gaps: tuple[str, ...] = ()
    token_seconds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restart:
    """When an engine that ended is started again.

    Attributes:
        policy: never, on-failure or always (an engine that was told to stop is never restarted).
        delay: Seconds before the first restart; doubled for each further one, up to `max_delay`, with jitter.
        budget: Failures within `window` seconds after which the run has failed.
        stall_after: Seconds with running requests and no token after which it counts as failed; 0: never.
        hang_after: Seconds without an answer, although its process lives, after which it counts as failed; 0: never.
    """

    policy: str = "never"
    delay: float = 2.0
    max_delay: float = 60.0
    budget: int = 3
    window: float = 600.0
    stall_after: float = 300.0
    hang_after: float = 120.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Seconds of grace: for SIGTERM on the leader, then on the whole tree, then SIGKILL."""

    leader_grace: float = 15.0
    tree_grace: float = 5.0
    first_signal: int = 15


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One launch of a recipe, complete.

    Attributes:
        recipe_revision: Tells whether two runs had the same recipe: a digest of its fields.
        revision_number: Which form of the recipe this is, as the recipe's history counts them; None: not told, or not
            one that is kept.
        engine: The engine's title in tables; empty in specs of earlier versions.
        engine_version: Of the installed engine, as far as it could be told without running it.
        run_id: Also the value of `VLLM_STUDIO_RUN` in the engine's environment, by which strays are found.
        env: Added to the environment of the face that launched, plain values only.
        env_refs: Names of environment variables to references (`env:NAME`, `file:PATH`) read at each start.
        api_key_ref: A reference to the key that probes must send, or None.
        gpus: Indices or UUIDs that this run claims.
        started_by: `request`: a request to `serve` had it started; `preload`: `serve` did when it began; empty: a
            person did.
        stop_argv: A program that ends the engine where a signal to its leader cannot, as for a container.
        lease: Seconds after which a rank ends that its unit did not renew (`keeper/lease.py`); None: it needs none.
        energy_argv: A program that prints `{"gpus": {uuid: millijoules}}` on one line, or empty.
        follow: What runs it elsewhere, for the follower that stands in for the engine (`followers/system.py`): `kind`
            and what that needs. Empty: the engine runs here.
        holders_argv: A program that prints in words who holds the GPUs' memory, asked when it is too little; or empty.
    """

    run_id: str
    recipe_id: str
    name: str
    backend: str
    model: str
    argv: tuple[str, ...]
    host: str
    port: int
    base_url: str
    created_at: float
    recipe: Mapping[str, Any] = field(default_factory=dict)
    recipe_revision: str | None = None
    revision_number: int | None = None
    engine: str = ""
    engine_version: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_refs: Mapping[str, str] = field(default_factory=dict)
    env_unset: tuple[str, ...] = ()
    api_key_ref: str | None = None
    cwd: str | None = None
    gpus: tuple[str, ...] = ()
    ready: ReadyProbe = field(default_factory=ReadyProbe)
    stages: tuple[Stage, ...] = ()
    failures: tuple[Failure, ...] = ()
    counters: CounterNames | None = None
    restart: Restart = field(default_factory=Restart)
    stop: Stop = field(default_factory=Stop)
    stop_argv: tuple[str, ...] = ()
    energy_argv: tuple[str, ...] = ()
    holders_argv: tuple[str, ...] = ()
    count_every: float = 12.0
    energy_every: float = 60.0
    probe_every: float = 5.0
    log_limit: int = 256 * 1024 * 1024
    simulated: bool = False
    started_by: str = ""
    lease: float | None = None
    follow: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = plain(self)
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """Read what this or another version wrote; unknown keys are ignored.

        Raises:
            ValueError, TypeError, KeyError: Something that must be there is not.
        """
        values = _known(cls, data)
        values["argv"] = tuple(str(a) for a in values["argv"])
        if not 0 <= values["port"] <= 65535:
            raise ValueError(f"there is no port {values['port']}")
        for name in ("gpus", "env_unset", "energy_argv", "holders_argv", "stop_argv"):
            values[name] = tuple(str(a) for a in values.get(name) or ())
        values["ready"] = ReadyProbe(**_known(ReadyProbe, values.get("ready") or {}))
        values["stages"] = tuple(Stage(**_known(Stage, s)) for s in _rows(values.get("stages") or ()))
        values["failures"] = tuple(_failure(f) for f in _rows(values.get("failures") or ()))
        counters = values.get("counters")
        if counters:
            names: dict[str, Any] = _known(CounterNames, counters)
            plain = ("path", "cached_apart")
            counted: dict[str, Any] = {key: one if key in plain else tuple(one) for key, one in names.items()}
            values["counters"] = CounterNames(**counted)
        values["restart"] = Restart(**_known(Restart, values.get("restart") or {}))
        values["stop"] = Stop(**_known(Stop, values.get("stop") or {}))
        return cls(**values)


def _failure(data: Any) -> Failure:
    values = _known(Failure, data)
    # Earlier versions had one change for each row, `fix`.
    before = [fix] if isinstance(fix := data.get("fix"), Mapping) and fix else []
    return Failure(**{**values, "fixes": tuple(values.get("fixes", before))})


def _known(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{cls.__name__}: not an object")
    return valid_fields(cls, data)


def _rows(data: Any) -> list[Any]:
    if not isinstance(data, list | tuple):
        raise ValueError("not a list")
    return list(data)
