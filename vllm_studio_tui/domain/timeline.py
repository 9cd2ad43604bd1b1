"""What stands on the time axis: events, moments that were pinned, and two ranges compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.ring import average

#: Which of the samples that fall into one column, or that were put together, is asked for.
Take = Literal["mean", "min", "max"]
#: Seconds that samples are kept.
REACH = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that happened.

    Attributes:
        kind: started, ready, failed, stopped, restarted, stalled, chat, alert, pin.
        title: What happened, in words.
        subject: Whom it is about: a run or a chat, by its id; empty: nobody in particular.
        state: The state of a run that its mark is drawn with, as in `domain.run.State`; empty: none.
    """

    at: float
    kind: str
    title: str
    subject: str = ""
    state: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return all of it; its moment as text."""
        return {**asdict(self), "at": iso_time(self.at)}


@dataclass(frozen=True, slots=True)
class Pin:
    """A moment that somebody wants to find again."""

    id: int
    at: float
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return all of it; its moment as text."""
        return {"id": self.id, "at": iso_time(self.at), "note": self.note}


@dataclass(frozen=True, slots=True)
class RangeFigures:
    """A series over a range of time; None: nothing of it is known.

    Attributes:
        p95: Of the steps that are kept, which are 10 s of the last day and longer before.
        max: Of all samples there were.
        known: Share of the range of which there are samples.
    """

    mean: float | None = None
    p95: float | None = None
    max: float | None = None
    known: float = 0.0


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """A series over two ranges, and how much it changed: the share of the first, None where that is not known."""

    name: str
    before: RangeFigures
    after: RangeFigures

    @property
    def change(self) -> float | None:
        """Return the change of the mean as a share of the first one."""
        before, after = self.before.mean, self.after.mean
        return None if before is None or after is None or not before else (after - before) / abs(before)

    def to_json(self) -> dict[str, Any]:
        """Return both ranges and the change."""
        return {
            "name": self.name,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "change": self.change,
        }


NO_FIGURES = RangeFigures()


def of_samples(values: Sequence[float], seconds: float, span: float) -> RangeFigures:
    """Return the figures of samples that are so many seconds apart, of a range of so many."""
    if not values:
        return NO_FIGURES
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]
    return RangeFigures(average(values), p95, ordered[-1], min(1.0, len(values) * seconds / span))
