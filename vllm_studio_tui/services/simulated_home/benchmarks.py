"""Two benchmarks that were made in the simulated home: the same plan on two revisions of one recipe."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vllm_studio_tui.domain.bench import BenchPlan, BenchRequest, BenchResult, BenchStep, percentiles
from vllm_studio_tui.services.bench.folder import result_document
from vllm_studio_tui.services.bench.keeping import columns, step_of_requests
from vllm_studio_tui.simulation.recipes import READY, simulated_recipes
from vllm_studio_tui.store.benchmarks import BenchmarkRows
from vllm_studio_tui.store.database import Database

PLAN = BenchPlan(
    prompt_tokens=1024,
    output_tokens=512,
    concurrency=(1, 4, 8, 16, 32, 64, 128),
    duration=60.0,
    warmup=10.0,
    ttft_limit=0.5,
    speed_limit=25.0,
    repeats=3,
)


@dataclass(frozen=True, slots=True)
class _Engine:
    """How one revision answered: seconds, each at no users and for each user more."""

    revision: int
    version: str
    ago: float
    tpot: tuple[float, float]
    ttft: tuple[float, float]
    kv: float


#: Oldest first. The later one lets more run at once, and its steps grow less with the users.
ENGINES = (
    _Engine(2, "0.31.1", 11 * 86_400.0, (0.01459, 0.000137), (0.132, 0.00208), 0.0046),
    _Engine(3, "0.32.0", 20 * 3600.0, (0.01459, 0.000093), (0.128, 0.00189), 0.0031),
)


def write_benchmarks(db: Database, now: float) -> None:
    """Write both in the place of earlier ones."""
    rows = BenchmarkRows(db)
    backend = next(str(one["backend"]) for one in simulated_recipes() if one["id"] == READY)
    for engine in ENGINES:
        bench_id = f"simulated-{engine.revision}"
        requests: dict[tuple[int, int], list[BenchRequest]] = {}
        steps: list[BenchStep] = []
        for place, users in enumerate(PLAN.concurrency):
            repeats = [_requests(engine, place, users, repeat) for repeat in range(PLAN.repeats)]
            requests |= {(place, repeat): them for repeat, them in enumerate(repeats)}
            steps.append(_step(engine, users, repeats))
        result = BenchResult(
            bench_id,
            now - engine.ago,
            recipe_id=READY,
            revision=engine.revision,
            model=READY,
            engine=backend,
            engine_version=engine.version,
            gpus=("0 Simulated H100 80GB", "1 Simulated H100 80GB"),
            plan=PLAN,
            steps=tuple(steps),
            ended_at=now - engine.ago + 1500.0,
            notes=("Simulated: nothing was measured.",),
        )
        rows.put(result_document(result), {key: columns(them) for key, them in requests.items()})


def _requests(engine: _Engine, place: int, users: int, repeat: int) -> list[BenchRequest]:
    drawn = random.Random(f"{engine.revision} {users} {repeat}")  # noqa: RUF100, S311
    drift = drawn.gauss(1.0, 0.006)  # runs differ more than requests
    tpot, ttft = (base + more * users for base, more in (engine.tpot, engine.ttft))
    whole = ttft + tpot * (PLAN.output_tokens - 1)
    found: list[BenchRequest] = []
    for number in range(max(3, round(users * (PLAN.duration or 0.0) / whole))):
        first = ttft * drawn.lognormvariate(0.0, 0.16)
        each = tpot * drift * drawn.lognormvariate(0.0, 0.012)
        sent = (number // users) * whole + drawn.uniform(0, 0.05)
        lasted = first + each * (PLAN.output_tokens - 1)
        made = BenchRequest(place, repeat, sent, first, first, lasted, PLAN.prompt_tokens, PLAN.output_tokens, 0)
        found.append(made)
    return found


def _step(engine: _Engine, users: int, repeats: Sequence[Sequence[BenchRequest]]) -> BenchStep:
    plan = replace(PLAN, repeats=1)
    each = [step for them in repeats if (step := _one(plan, users, them)) is not None]
    whole = _one(plan, users, [one for them in repeats for one in them], len(repeats))
    assert whole is not None and whole.output_tokens_per_second is not None and whole.tokens_out is not None
    power = 576.0 + 44.0 * users**0.5
    tpots = [value for them in repeats for one in them if (value := one.tpot) is not None]
    values = {
        "output_tokens_per_second": tuple(one.output_tokens_per_second or 0.0 for one in each),
        "user_speed": tuple(one.user_speed or 0.0 for one in each),
        "ttft_p95": tuple(one.ttft.p95 or 0.0 for one in each),
        "itl_p95": tuple(1.17 * (one.tpot.p95 or 0.0) for one in each),
        "e2e_p95": tuple(one.e2e.p95 or 0.0 for one in each),
        "joules_per_1k": tuple(power / (one.output_tokens_per_second or 1.0) * 1000 for one in each),
        "good": tuple(one.good or 0.0 for one in each),
    }
    return replace(
        whole,
        itl=replace(percentiles([1.06 * one for one in tpots]), count=whole.tokens_out - whole.requests),
        energy_j=power * whole.tokens_out / whole.output_tokens_per_second,
        power=power,
        kv=min(0.94, engine.kv * users),
        waiting=0,
        preemptions=0,
        cached=0.0,
        values=values,
    )


def _one(plan: BenchPlan, users: int, them: Sequence[BenchRequest], times: int = 1) -> BenchStep | None:
    """Return a step whose speed is what so many users get, all the time."""
    made = step_of_requests(plan, users, them, (plan.duration or 0.0) * times)
    if made is None or not made.e2e.mean or made.good is None:
        return None
    out = users * PLAN.output_tokens / made.e2e.mean
    per_second = users / made.e2e.mean
    return replace(
        made,
        output_tokens_per_second=out,
        input_tokens_per_second=per_second * PLAN.prompt_tokens,
        requests_per_second=per_second,
        goodput=per_second * made.good,
    )
