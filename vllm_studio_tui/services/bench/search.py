"""Which loads are measured: those of the plan, or those by which the most users within limits are found."""

from __future__ import annotations

from collections.abc import Callable

from vllm_studio_tui.domain.bench import BenchPlan, BenchStep
from vllm_studio_tui.domain.bench_plan import MAX_USERS

#: The search ends where the fewest that fail are by no more than this share above the most that do not.
CLOSE = 0.06


def broken(step: BenchStep, ttft: float | None, tpot: float | None) -> str:
    """Return which limit a step breaks: `errors`, `saturation`, `ttft` or `speed`; empty where it keeps all."""
    if step.errors:
        return "errors"
    if step.saturated:
        return "saturation"
    if not step.requests:
        return "saturation"
    if ttft is not None and (step.ttft.p95 is None or step.ttft.p95 > ttft):
        return "ttft"
    if tpot is not None and step.tpot.mean is not None and step.tpot.mean > tpot:
        return "speed"
    return ""


class Loads:
    """Says which load is measured next.

    Attributes:
        of: How many steps there are; 0 where that is not known before.
    """

    def __init__(self, plan: BenchPlan, most: int = MAX_USERS) -> None:
        self._plan, self._most = plan, most
        self._left = list(plan.loads)
        self.of = 0 if plan.search else len(self._left)
        self._good: int | None = None
        self._bad: int | None = None

    def next(self, last: BenchStep | None) -> float | None:
        """Return the next load, after what the last one showed; None where all is measured."""
        if not self._plan.search:
            return self._left.pop(0) if self._left else None
        if last is None:
            return min(self._plan.concurrency, default=1)
        users = last.concurrency or 1
        if broken(last, *self._plan.limits):
            self._bad = users if self._bad is None else min(self._bad, users)
        else:
            self._good = users if self._good is None else max(self._good, users)
        return self._choose()

    def _choose(self) -> float | None:
        if self._bad is None:
            doubled = 2 * (self._good or 1)
            return None if (self._good or 0) >= self._most else min(doubled, self._most)
        if self._good is None:
            return None if self._bad <= 1 else self._bad // 2
        if self._bad - self._good <= max(1, int(self._good * CLOSE)):
            return None
        return (self._good + self._bad) // 2


#: Told of each step; see `Loads.next`.
Next = Callable[[BenchStep | None], float | None]
