"""Benchmarks of the stage: results that are written down here, one that stands still while it is made."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import replace

from tests.functional.stage import NOW
from vllm_studio_tui.domain.bench import BenchPlan, BenchProgress, BenchResult, BenchStep
from vllm_studio_tui.domain.bench_compare import FIGURES, BenchChange, BenchComparison, BenchLimit, BenchPair
from vllm_studio_tui.domain.engine_metrics import Percentiles
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.studio import Studio

PLAN = BenchPlan(1024, 512, concurrency=(1, 4, 8, 16, 32, 64, 128), duration=60.0, warmup=10.0, ttft_limit=0.5,
                 speed_limit=25.0, repeats=3)  # fmt: skip
#: Users, tokens a second of all and of one, TTFT p95, joules for a thousand tokens, good.
BEFORE = ((1, 66, 67.9, 0.173, 9394, 1), (4, 260, 66.0, 0.181, 2505, 1), (8, 502, 63.7, 0.191, 1356, 1),
          (16, 938, 59.6, 0.212, 782, 1), (32, 1660, 52.8, 0.254, 495, 1), (64, 2696, 42.9, 0.339, 352, 1),
          (128, 3920, 31.2, 0.507, 280, 0.94))  # fmt: skip
AFTER = ((1, 67, 68.1, 0.167, 9194, 1), (4, 263, 66.8, 0.174, 2416, 1), (8, 513, 65.1, 0.184, 1286, 1),
         (16, 977, 62.1, 0.203, 721, 1), (32, 1785, 56.8, 0.241, 439, 1), (64, 3043, 48.5, 0.318, 311, 1))  # fmt: skip


def step(users: int, out: float, user: float, ttft: float, joules: float, good: float) -> BenchStep:
    """Return a step with these figures, and others that agree with them."""
    values = {"output_tokens_per_second": (out * 0.99, out, out * 1.01)}
    return BenchStep(
        concurrency=users, requests=263, duration=60.0, input_tokens_per_second=out * 2, output_tokens_per_second=out,
        requests_per_second=out / 512, goodput=out / 512 * good, good=good, user_speed=user,
        ttft=Percentiles(ttft * 0.67, ttft, ttft * 1.1, 263, ttft * 0.7),
        first_answer=Percentiles(ttft * 0.67, ttft, ttft * 1.1, 263, ttft * 0.7),
        itl=Percentiles(1 / user, 1.17 / user, 1.3 / user, 1000, 1 / user),
        tpot=Percentiles(1 / user, 1.1 / user, 1.2 / user, 263, 1 / user),
        e2e=Percentiles(512 / user, 520 / user, 530 / user, 263, 512 / user),
        tokens_in=int(out * 120), tokens_out=int(out * 60), energy_j=joules * out * 0.06, power=948.0, kv=0.16,
        waiting=0, preemptions=0, values=values,
    )  # fmt: skip


OLD = BenchResult(
    "b12", NOW - 104_100, "qwen3-32b-1", "qwen3-32b", 12, "Qwen/Qwen3-32B", "vLLM", "0.32.0", ("2 x H100 80GB",),
    plan=PLAN, steps=tuple(step(*one) for one in BEFORE), ended_at=NOW - 103_548,
)  # fmt: skip
NEW = replace(OLD, id="b13", at=NOW - 400, revision=13, steps=tuple(step(*one) for one in AFTER), ended_at=NOW - 10)
MAKING = replace(NEW, steps=NEW.steps[:5], state="running", ended_at=None)
PROGRESS = BenchProgress("b13", 6, 7, 64.0, 0.72, 100.0, NEW.steps[5], running=12)


class StillBench:
    """Benchmarks that are made by nobody; see `services.bench_protocols.BenchApi`.

    Attributes:
        results: Those that are kept.
        progress: Of the one that is being made.
        asked: What was asked of it: the plans that were started, by the name that was measured.
    """

    def __init__(self, *results: BenchResult, progress: BenchProgress | None = None) -> None:
        self.results = {one.id: one for one in results}
        self.progress = progress
        self.asked: list[tuple[str, BenchPlan]] = []
        self.listed = 0

    def start(
        self, plan: BenchPlan, name: str | None = None, *, base_url: str | None = None, model: str | None = None
    ) -> BenchResult:
        plan = plan.checked()
        self.asked.append((name or base_url or "", plan))
        made = replace(MAKING, id="made", at=NOW, plan=plan, steps=())
        self.results[made.id] = made
        self.progress = BenchProgress("made", 1, len(plan.loads), plan.loads[0] if plan.loads else 1, 0.0, 60.0)
        return made

    def under_way(self) -> BenchProgress | None:
        return self.progress

    def follow(self, bench_id: str) -> Iterator[BenchProgress]:
        yield from [self.progress] if self.progress is not None else []

    def stop(self, bench_id: str) -> None:
        self.progress = None
        self.results[bench_id] = replace(self.get(bench_id), state="stopped", ended_at=NOW)

    def list(self, recipe: str | None = None, limit: int = 100) -> list[BenchResult]:
        self.listed += 1
        found = [one for one in self.results.values() if recipe in (None, one.recipe_id)]
        return sorted(found, key=lambda one: -one.at)[:limit]

    def get(self, bench_id: str) -> BenchResult:
        if bench_id not in self.results:
            raise NotFound(f"there is no benchmark {bench_id}")
        return self.results[bench_id]

    def delete(self, bench_id: str) -> None:
        del self.results[bench_id]

    def compare(self, before: str, after: str) -> BenchComparison:
        one, other = self.get(before), self.get(after)
        rows = []
        for was in one.steps:
            now = next((found for found in other.steps if found.load == was.load), None)
            changes = {}
            for name, sense in FIGURES.items():
                x, y = _figure(was, name), _figure(now, name) if now is not None else None
                if x and y is not None:
                    noise = abs(y / x - 1) < 0.015
                    better = None if noise else (y / x - 1) * sense > 0
                    changes[name] = BenchChange(x, y, y / x - 1, (y / x - 1.01, y / x - 0.99), noise, better)
            rows.append(BenchPair(was.load, was, now, changes))
        verdict = "Better from 8 users on: 13 gives more at every step, most where the cache is read most."
        return BenchComparison(before, after, one.title, other.title, tuple(rows), verdict=verdict)

    def limit(self, bench_id: str, ttft: float | None = None, speed: float | None = None) -> BenchLimit:
        well = [one for one in self.get(bench_id).steps
                if (one.ttft.p95 or 0) <= (ttft or 9) and (one.user_speed or 0) >= (speed or 0)]  # fmt: skip
        users = max((one.concurrency or 0 for one in well), default=None)
        over = len(well) < len(self.get(bench_id).steps)
        return BenchLimit(users, None, 128 if over else None, "ttft" if over else "", f"{users} users.",
                          ((1, 16, "memory bandwidth"), (32, 64, "KV reading: fp8 halves it")))  # fmt: skip

    def close(self) -> None:
        """Nothing is measured."""

    def import_(self, raw: bytes, source: str) -> builtins.list[BenchResult]:
        made = replace(OLD, id=f"from-{source}", recipe_id=None, revision=None, source="guidellm")
        self.results[made.id] = made
        return [made]


def _figure(one: BenchStep, name: str) -> float | None:
    parts = {"ttft_p95": one.ttft.p95, "itl_p95": one.itl.p95, "e2e_p95": one.e2e.p95}
    return parts[name] if name in parts else getattr(one, name)


def with_benchmarks(studio: Studio) -> None:
    """Two results of one recipe, the later one complete."""
    studio.__dict__["bench"] = StillBench(OLD, NEW)


def while_measuring(studio: Studio) -> None:
    """An earlier result, and one that is made now."""
    studio.__dict__["bench"] = StillBench(OLD, MAKING, progress=PROGRESS)
