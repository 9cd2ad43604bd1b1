"""What all drawings of a run share: its data, and the columns of its mark, name and state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.estimate import Start, time_left
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run with its measurements.

    Attributes:
        speeds: Generated tokens per second over the last minutes, oldest first; None where there is no sample.
        age: Seconds since its metrics were read; None where they are up to date.
        earlier: Earlier successful starts of the recipe, the newest last.
        fix: The change that the key for the fix makes; empty for none.
        since: What changed since the recipe last worked, in words.
        names: The width of the longest name of those that are shown below each other.
    """

    run: RunView
    metrics: EngineMetrics | None = None
    speeds: Sequence[float | None] = field(default_factory=tuple)
    peak: float | None = None
    age: float | None = None
    earlier: Sequence[Start] = ()
    fix: str = ""
    since: str = ""
    key: str = ""
    names: int = 0


#: Seconds without an answer from which an engine that its keeper still calls ready is shown as one that stalls.
STALLS = 6.0


def stalls(facts: RunFacts) -> bool:
    """Return whether a run is called ready and has not answered for a while: its keeper asks less often than we do."""
    return facts.run.state is State.READY and facts.age is not None and facts.age >= STALLS


def left(facts: RunFacts, now: float) -> float | None:
    """Return the seconds of loading left, estimated from earlier runs; None where there are none."""
    rest = time_left(facts.run.status, list(facts.earlier), now)
    return rest if rest else None


def starts(size: Size, names: int = 0) -> tuple[int, int, int, int]:
    """Return the first columns of mark, name, state and body. Names get room first, so that they are whole.

    Args:
        names: The width of the longest name.
    """
    if size >= Size.WIDE:
        longer = min(24, max(0, names - 18))
        return 3, 5, 24 + longer, 36 + longer
    if size == Size.BASE:
        longer = min(10, max(0, names - 16))
        return 2, 4, 21 + longer, 31 + longer
    longer = min(10, max(0, names - 15))
    return 1, 3, 19 + longer, 19 + longer


def with_names(facts: Sequence[RunFacts]) -> list[RunFacts]:
    """Return runs that are shown below each other, their names in a column that is wide enough for all."""
    names = max((cell_len(one.run.name) for one in facts), default=0)
    return [replace(one, names=names) for one in facts]


def head(facts: RunFacts, glyphs: Glyphs, size: Size) -> Row:
    """Draw mark, name and state of a run."""
    mark_x, name_x, state_x, body = starts(size, facts.names)
    run = facts.run
    mark, colour = glyphs.state(run.state)
    row = Row(key=facts.key or run.run_id)
    row.put(mark_x, mark, colour)
    row.put(name_x, run.name, "fg bold", state_x - name_x - 1)
    row.put(state_x, str(run.state), colour if run.state is not State.EXITED else "dim", max(0, body - state_x - 1))
    return row
