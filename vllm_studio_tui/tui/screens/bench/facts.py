"""What the bench screen shows: a result, an earlier one beside it, the step that goes on, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.bench import BenchStep
from vllm_studio_tui.domain.bench_compare import BenchChange

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchProgress, BenchResult
    from vllm_studio_tui.domain.bench_compare import BenchComparison, BenchLimit
    from vllm_studio_tui.domain.errors import StudioError
    from vllm_studio_tui.tui.look.sizes import Size
    from vllm_studio_tui.tui.paint.glyphs import Glyphs


@dataclass(frozen=True, slots=True)
class Known:
    """What was read of the results.

    Attributes:
        results: The latest first.
        shown, against: The one that is shown, and the earlier one beside it.
        limits: By result: how many users it carries.
        changed: What is another in the recipe than for the earlier one: `max_num_seqs 64 -> 128`.
    """

    results: tuple[BenchResult, ...] = ()
    shown: BenchResult | None = None
    against: BenchResult | None = None
    comparison: BenchComparison | None = None
    limits: Mapping[str, BenchLimit] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    error: StudioError | None = None


@dataclass(frozen=True, slots=True)
class StepLine:
    """A row of the steps: one load, as it is now and as it was.

    Attributes:
        live: It is being measured: what it shows is of the part that is over.
        waits: How many steps come before it; None: it is measured, or never will be.
    """

    key: str
    load: float
    after: BenchStep | None = None
    before: BenchStep | None = None
    changes: Mapping[str, BenchChange] = field(default_factory=dict)
    live: bool = False
    waits: int | None = None

    @property
    def known(self) -> BenchStep | None:
        return self.after or self.before


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a picture of the screen is made of.

    Attributes:
        progress: Of the benchmark that is shown, while it is made.
        others: Requests of others that its engine answers meanwhile; None: nobody knows.
        marks: The results that are marked.
        limits: The longest wait for a first token and the lowest speed that count as good; None: none was said.
        key: The key that the cursor is on.
    """

    known: Known
    glyphs: Glyphs
    size: Size
    width: int
    height: int
    now: float
    progress: BenchProgress | None = None
    others: int | None = None
    marks: frozenset[str] = frozenset()
    limits: tuple[float | None, float | None] = (None, None)
    key: str | None = None
    gpus: str = ""

    @property
    def live(self) -> bool:
        return self.progress is not None

    @property
    def steps(self) -> list[StepLine]:
        return step_lines(self.known, self.progress)

    @property
    def chosen(self) -> StepLine | None:
        """The step that the figures beside the plot are of: the one that goes on, else that under the cursor."""
        steps = self.steps
        found = next((one for one in steps if one.live), None)
        found = found or next((one for one in steps if one.key == self.key and one.after is not None), None)
        return found or next((one for one in reversed(steps) if one.after is not None), None)


def step_lines(known: Known, progress: BenchProgress | None) -> list[StepLine]:
    """Return the rows of the steps: those that were measured in either, the one that goes on, those to come."""
    shown = known.shown
    if shown is None:
        return []
    lines: list[StepLine] = []
    if known.comparison is not None and not shown.plan.power_caps:
        lines = [
            StepLine(f"step:{index}", one.load, one.after, one.before, one.changes)
            for index, one in enumerate(known.comparison.rows)
        ]
    else:
        lines = [StepLine(f"step:{index}", one.load, one) for index, one in enumerate(shown.steps)]
    if progress is None:
        return lines
    return _with_what_comes(lines, shown, progress)


def _with_what_comes(lines: Sequence[StepLine], shown: BenchResult, progress: BenchProgress) -> list[StepLine]:
    """Add the step that goes on, and those of the plan that nobody has measured yet."""
    by_load = {one.load: one for one in lines}
    measured = {one.load for one in shown.steps}
    begun = progress.step > 0 and progress.load not in measured
    if begun:
        was = by_load.get(progress.load)
        before = was.before if was is not None else None
        after = progress.so_far if progress.so_far.requests or progress.so_far.errors else None
        by_load[progress.load] = StepLine("step:live", progress.load, after, before, _rough(before, after), live=True)
    planned = shown.plan.loads if not shown.plan.search else ()
    coming = [load for load in planned if load not in measured and not (begun and load == progress.load)]
    for index, load in enumerate(coming):
        was = by_load.get(load)
        before = was.before if was is not None else None
        by_load[load] = StepLine(f"step:next:{load:g}", load, None, before, waits=index)
    return sorted(by_load.values(), key=lambda one: one.load)


def _rough(before: BenchStep | None, after: BenchStep | None) -> dict[str, BenchChange]:
    """Return how the step that goes on compares so far; nobody can say yet whether that is noise."""
    if before is None or after is None:
        return {}
    return {
        name: BenchChange(was, now, now / was - 1 if was else None)
        for name in FIGURES_OF
        if (was := figure(before, name)) is not None and (now := figure(after, name)) is not None
    }


def figure(step: BenchStep | None, name: str) -> float | None:
    """Return a figure of a step by its name in a comparison."""
    return FIGURES_OF[name](step) if step is not None else None


#: The figures of a comparison.
FIGURES_OF: dict[str, Callable[[BenchStep], float | None]] = {
    "output_tokens_per_second": lambda step: step.output_tokens_per_second,
    "user_speed": lambda step: step.user_speed,
    "ttft_p95": lambda step: step.ttft.p95,
    "itl_p95": lambda step: step.itl.p95,
    "e2e_p95": lambda step: step.e2e.p95,
    "joules_per_1k": lambda step: step.joules_per_1k,
    "good": lambda step: step.good,
}
