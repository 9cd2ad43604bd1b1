"""Benchmarks: what is asked of an engine (plan), what each step of it showed, the result. Seconds, tokens, joules.

None is unknown, which is not zero. What the figures mean is defined in docs/reference/benchmark.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from vllm_studio_tui.domain.bench_plan import BenchPlan as BenchPlan
from vllm_studio_tui.domain.bench_plan import as_list
from vllm_studio_tui.domain.engine_metrics import Percentiles
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.outside_values import as_number

#: How a benchmark ended; `running` until it has.
STATES = ("running", "done", "stopped", "failed", "interrupted")


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """One request of a benchmark, as its client saw it.

    Attributes:
        step, repeat: Which of the plan's.
        sent: Seconds since the benchmark began.
        ttft, first_answer: Seconds until the first token of any kind, and until the first that was not thought.
        counted: It was not of the warm-up.
        prompt_tokens, output_tokens, cached_tokens: As the engine counted them.
        error: Why it has no answer.
    """

    step: int
    repeat: int
    sent: float
    ttft: float | None = None
    first_answer: float | None = None
    e2e: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    counted: bool = True
    error: str | None = None

    @property
    def tpot(self) -> float | None:
        """Return the seconds for each token after the first, as vLLM defines them."""
        if self.e2e is None or self.ttft is None or not self.output_tokens or self.output_tokens < 2:
            return None
        return (self.e2e - self.ttft) / (self.output_tokens - 1)

    def good(self, limits: tuple[float | None, float | None]) -> bool:
        """Return whether it meets all limits: one that has no answer meets none."""
        ttft, tpot = limits
        if self.error is not None or self.ttft is None:
            return False
        own = self.tpot
        return (ttft is None or self.ttft <= ttft) and (tpot is None or own is None or own <= tpot)


@dataclass(frozen=True, slots=True)
class BenchStep:
    """What one step showed, over all of its repeats. Warm-up is in none of it, requests with errors in `errors` alone.

    Attributes:
        concurrency: Users of a closed loop; else the most requests that were under way at once.
        rate: Requests a second that were sent; None for a closed loop.
        requests: That ended well and were counted.
        duration: Seconds that were measured.
        goodput: Requests a second that met all limits; all that ended well where the plan has no limits.
        good: The share of the requests that did.
        user_speed: Tokens a second that a user sees: 1 / mean TPOT.
        tokens_in, tokens_out: Of the counted requests.
        cached: The share of the prompts that the engine had in its cache.
        energy_j, power: Of the run's GPUs: joules over the step, mean watts.
        kv: The most of the KV cache that was in use, 0-1; `waiting` the most requests that the engine had wait.
        preemptions: How often the engine set a request back.
        power_cap: Watts that each GPU was allowed.
        values: Figures of each repeat, or of equal parts of the time where there was one: what the spread is from.
        saturated: The engine fell behind: what was asked waited for ever longer.
        problems: How often each error came.
    """

    concurrency: int | None = None
    rate: float | None = None
    requests: int = 0
    errors: int = 0
    duration: float = 0.0
    input_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None
    requests_per_second: float | None = None
    goodput: float | None = None
    good: float | None = None
    user_speed: float | None = None
    ttft: Percentiles = field(default_factory=Percentiles)
    first_answer: Percentiles = field(default_factory=Percentiles)
    itl: Percentiles = field(default_factory=Percentiles)
    tpot: Percentiles = field(default_factory=Percentiles)
    e2e: Percentiles = field(default_factory=Percentiles)
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: float | None = None
    energy_j: float | None = None
    power: float | None = None
    kv: float | None = None
    waiting: int | None = None
    preemptions: int | None = None
    power_cap: int | None = None
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    saturated: bool = False
    problems: Mapping[str, int] = field(default_factory=dict)

    @property
    def load(self) -> float:
        """Return what makes it this step: requests a second, else users."""
        return self.rate if self.rate is not None else float(self.concurrency or 0)

    @property
    def joules_per_1k(self) -> float | None:
        """Return the energy for a thousand tokens of answers."""
        return self.energy_j / self.tokens_out * 1000 if self.energy_j is not None and self.tokens_out else None

    def to_json(self) -> dict[str, Any]:
        """Return what `bench --json` prints of a step; unknown is null."""
        document = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in LATENCIES:
            document[name] = latency_json(document[name])
        document["values"] = {name: list(values) for name, values in self.values.items()}
        document["problems"] = dict(self.problems)
        return {**document, "joules_per_1k": self.joules_per_1k}

    @classmethod
    def of_json(cls, data: object) -> BenchStep:
        """Return the step that `to_json` wrote; what does not fit is unknown. Any value is taken."""
        given = data if isinstance(data, Mapping) else {}
        found: dict[str, Any] = {}
        for one in fields(cls):
            value = given.get(one.name)
            if one.name in LATENCIES:
                found[one.name] = latency_of(value)
            elif one.name == "values":
                shown = value if isinstance(value, Mapping) else {}
                found[one.name] = {
                    str(name)[:100]: tuple(n for each in as_list(them) if (n := as_number(each)) is not None)
                    for name, them in shown.items()
                }
            elif one.name == "problems":
                shown = value if isinstance(value, Mapping) else {}
                found[one.name] = {str(name)[:500]: int(as_number(count) or 0) for name, count in shown.items()}
            elif one.name == "saturated":
                found[one.name] = value is True
            else:
                found[one.name] = as_number(value)
        for name in ("concurrency", "tokens_in", "tokens_out", "waiting", "preemptions", "power_cap"):
            found[name] = None if found[name] is None else int(found[name])
        found |= {name: int(found[name] or 0) for name in ("requests", "errors")}
        return cls(**found | {"duration": found["duration"] or 0.0})


#: The latencies of a step.
LATENCIES = ("ttft", "first_answer", "itl", "tpot", "e2e")


@dataclass(frozen=True, slots=True)
class BenchProgress:
    """Where a benchmark is.

    Attributes:
        id: Of the result.
        step, of: Which step it is at, from 1, and how many there are; `of` is 0 while that is not known (a search).
        load: Users, or requests a second, of this step.
        share: How much of this step is done, 0-1; `seconds_left`: of the whole benchmark, where that can be said.
        so_far: What this step showed so far.
        words: What it does where it does not measure: prompts are made, it warms up, it is over.
        running: Requests that are under way.
    """

    id: str
    step: int = 0
    of: int = 0
    load: float = 0.0
    share: float = 0.0
    seconds_left: float | None = None
    so_far: BenchStep = field(default_factory=BenchStep)
    words: str = ""
    running: int = 0
    state: str = "running"


@dataclass(frozen=True, slots=True)
class BenchResult:
    """A benchmark that was made, or is being made.

    Attributes:
        at: When it began, seconds since the epoch.
        run_id, recipe_id, revision: Whose engine it was; None: an engine that is not ours.
        model: As it was asked for.
        gpus: Names of them, in words: `2 x H100`; the UUIDs are in `gpu_uuids`.
        state: One of `STATES`.
        source: Who measured: `studio`, or the program whose file was read: `vllm bench serve`, `guidellm`.
        notes: What a person should know of it: prompts were shorter than asked for, others used the engine.
    """

    id: str
    at: float
    run_id: str | None = None
    recipe_id: str | None = None
    revision: int | None = None
    model: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    gpus: tuple[str, ...] = ()
    gpu_uuids: tuple[str, ...] = ()
    plan: BenchPlan = field(default_factory=BenchPlan)
    steps: tuple[BenchStep, ...] = ()
    state: str = "done"
    error: str | None = None
    ended_at: float | None = None
    source: str = "studio"
    name: str = ""
    notes: tuple[str, ...] = ()
    base_url: str | None = None

    @property
    def title(self) -> str:
        """Return what people call it: its recipe and revision, else its model."""
        what = self.recipe_id or self.model or "unknown"
        return f"{what}, revision {self.revision}" if self.revision is not None else what

    def to_json(self) -> dict[str, Any]:
        """Return what `bench show --json` prints: the keys of the only step, or of the best one, are above."""
        document = {one.name: getattr(self, one.name) for one in fields(self)}
        document |= {"at": iso_time(self.at), "ended_at": iso_time(self.ended_at), "plan": self.plan.to_json()}
        document["steps"] = [one.to_json() for one in self.steps]
        for name in ("gpus", "gpu_uuids", "notes"):
            document[name] = list(document[name])
        return {**summary(self.steps), **document}


#: What `bench --json` has above all else.
SUMMARY = (
    "requests", "errors", "duration", "concurrency", "input_tokens_per_second", "output_tokens_per_second",
    "requests_per_second", "goodput", "ttft", "itl", "tpot", "e2e",
)  # fmt: skip


def summary(steps: Sequence[BenchStep]) -> dict[str, Any]:
    """Return the figures of the step that wrote most tokens a second, by the names that are a contract."""
    best = max(steps, key=lambda one: one.output_tokens_per_second or 0.0, default=BenchStep())
    shown = best.to_json()
    return {name: shown[name] for name in SUMMARY}


def latency_json(one: Percentiles) -> dict[str, Any]:
    """Return a latency as `bench --json` has it: seconds."""
    return {"mean": one.mean, "p50": one.p50, "p95": one.p95, "p99": one.p99, "count": one.count or 0}


def latency_of(data: object) -> Percentiles:
    """Return the latency that `latency_json` wrote. Any value is taken."""
    given = data if isinstance(data, Mapping) else {}
    mean, p50, p95, p99, count = (as_number(given.get(name)) for name in ("mean", "p50", "p95", "p99", "count"))
    return Percentiles(p50, p95, p99, None if count is None else int(count), mean)


def percentiles(values: Iterable[float]) -> Percentiles:
    """Return the percentiles of values, interpolated between the two nearest, as numpy does it by default."""
    found = sorted(values)
    if not found:
        return Percentiles(count=0)
    p50, p95, p99 = (quantile(found, share) for share in (0.5, 0.95, 0.99))
    return Percentiles(p50, p95, p99, len(found), math.fsum(found) / len(found))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of these ordered ones lies, interpolated."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
