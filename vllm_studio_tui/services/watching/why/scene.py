"""What was measured around a moment: values on one grid of time, and what is known besides of the engine.

A column is slow where something that people feel is worse than it usually was: tokens a second, time to the first
token, time between tokens, requests that wait. Slow columns that touch each other are an episode, and what was usual
before it is what it is compared with.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

#: Columns that may be quick in the midst of a slow time.
GAP = 4
#: Seconds of the time before that are compared, and that are left out next to the episode: percentiles reach over a
#: minute.
BASELINE, MARGIN = 600.0, 30.0
#: Columns that the time before must have.
LEAST_BASELINE = 5
#: How much worse is slow: shares of the usual, and seconds.
SPEED_LEFT, ITL_MORE, TTFT_MORE, TTFT_LEAST, MIDDLE_MORE, QUEUE_LEAST = 0.6, 1.3, 1.8, 0.3, 1.3, 1.0
#: Seconds around the moment whose values stand for `now`, and their least number.
NEAR, LEAST_NOW = 45.0, 30.0

#: What is measured is less than this.
MOST = 1e15

Line = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is known of an engine besides its values over time. None is unknown.

    Attributes:
        seats: Requests that it runs at once.
        batched: Tokens of one step.
        kv_tokens: Tokens that its cache holds.
        small_cache: The type of the cache that makes it about half; empty: there is none, or it has it already.
        gpus: How many GPUs it has.
        power_limit: Watts of its GPUs together.
        link: Bytes a second that its slowest PCIe link carries, one way.
        throttled: Why its GPUs are slowed at the moment, where the moment is now.
        sleep: It sleeps at the moment.
        imbalance: The busiest of its data-parallel ranks, as a multiple of their mean; at the moment.
        ranks: How many there are.
        silent: Why the engine tells nothing of itself at the moment; empty: it does, or that is not known.
        others: Who else works on its GPUs at the moment: (name, percent of the GPU).
    """

    seats: int | None = None
    batched: int | None = None
    kv_tokens: float | None = None
    small_cache: str = ""
    gpus: int = 0
    power_limit: float | None = None
    link: float | None = None
    throttled: tuple[str, ...] = ()
    sleep: str = ""
    imbalance: float | None = None
    ranks: int = 0
    others: tuple[tuple[str, float], ...] = ()
    silent: str = ""


@dataclass(frozen=True, slots=True)
class AskedFor:
    """Requests on record in a time. `longest` is in seconds; shares 0-1; `by_key`: the busiest is a key."""

    number: int = 0
    prompt: float | None = None
    longest: float | None = None
    busiest: str = ""
    busiest_share: float = 0.0
    by_key: bool = False


@dataclass(frozen=True)
class Scene:
    """Values around a moment.

    Attributes:
        lines: By name, one value a column; all have the same number.
        begin: The left edge of the first column, seconds since the epoch.
        at: The column that is asked about.
    """

    lines: Mapping[str, Line]
    begin: float
    step: float
    at: int
    facts: EngineFacts = field(default_factory=EngineFacts)

    @cached_property
    def columns(self) -> int:
        return max((len(line) for line in self.lines.values()), default=0)

    def value(self, name: str, column: int) -> float | None:
        """Return a value; None for one that is not known, or that nothing measured can be."""
        line = self.lines.get(name, ())
        value = line[column] if 0 <= column < len(line) else None
        return value if value is not None and 0 <= value < MOST else None

    def known(self, name: str, columns: Iterable[int]) -> list[float]:
        return [value for column in columns if (value := self.value(name, column)) is not None]

    def mean(self, name: str, columns: Iterable[int]) -> float | None:
        known = self.known(name, columns)
        return sum(known) / len(known) if known else None

    def most(self, name: str, columns: Iterable[int]) -> float | None:
        return max(self.known(name, columns), default=None)

    def usual(self, name: str, columns: Iterable[int]) -> float | None:
        known = self.known(name, columns)
        return statistics.median(known) if known else None

    def at_last_known(self, reach: float) -> Scene:
        """Return the scene at the last column of which something is known, no more than so many seconds before."""
        first = max(0, self.at - round(reach / self.step))
        known = (one for one in range(self.at, first - 1, -1) if self.known_of_engine(one))
        return replace(self, at=next(known, self.at))

    def known_of_engine(self, column: int) -> bool:
        return any(self.value(name, column) is not None for name in ("running", "waiting", "out"))

    # --- the slow time ----------------------------------------------------------------------------------

    def busy(self, column: int) -> bool:
        """Return whether something was asked: tokens came, or requests ran or waited."""
        return any((self.value(name, column) or 0.0) > 0.01 for name in ("running", "waiting", "out"))

    @cached_property
    def _slow(self) -> list[bool]:
        usual = self._usual_of_all
        return [self._is_slow(column, usual) for column in range(self.columns)]

    @cached_property
    def _usual_of_all(self) -> Mapping[str, float | None]:
        busy = [column for column in range(self.columns) if self.busy(column)]
        speeds = [speed for column in busy if (speed := self._speed(column)) is not None]
        return {
            "speed": statistics.median(speeds) if speeds else None,
            "itl": self.usual("itl", busy),
            "ttft": self.usual("ttft", busy),
            "ttft50": self.usual("ttft50", busy),
        }

    def _is_slow(self, column: int, usual: Mapping[str, float | None]) -> bool:
        if not self.busy(column):
            return False
        speed, itl, ttft = self._speed(column), self.value("itl", column), self.value("ttft", column)
        if speed is not None and usual["speed"] and speed < SPEED_LEFT * usual["speed"]:
            return True
        if itl is not None and usual["itl"] and itl > ITL_MORE * usual["itl"]:
            return True
        if ttft is not None and usual["ttft"] and ttft > max(TTFT_LEAST, TTFT_MORE * usual["ttft"]):
            # The 95th percentile of a few requests is the worst of them: of many more than one is late.
            middle = self.value("ttft50", column)
            if middle is None or not usual["ttft50"] or middle > MIDDLE_MORE * usual["ttft50"]:
                return True
        if (self.value("waiting", column) or 0.0) >= 0.9 or (self.value("preempt", column) or 0.0) > 0:
            return True
        return (self.value("queue", column) or 0.0) > QUEUE_LEAST

    def _speed(self, column: int) -> float | None:
        """Return tokens a second of one request; None where hardly one runs."""
        out, running = self.value("out", column), self.value("running", column)
        return None if out is None or running is None or running < 0.9 else out / running

    @cached_property
    def episode(self) -> range:
        """Return the columns of the slow time around the moment; an empty range where it is not slow."""
        near = [column for column in range(self.at - GAP, self.at + GAP + 1) if self._slow_at(column)]
        if not near:
            return range(0)
        first = last = min(near, key=lambda column: abs(column - self.at))
        while any(self._slow_at(first - step) for step in range(1, GAP + 1)):
            first -= next(step for step in range(1, GAP + 1) if self._slow_at(first - step))
        while any(self._slow_at(last + step) for step in range(1, GAP + 1)):
            last += next(step for step in range(1, GAP + 1) if self._slow_at(last + step))
        return range(first, last + 1)

    def _slow_at(self, column: int) -> bool:
        return 0 <= column < self.columns and self._slow[column]

    @cached_property
    def now(self) -> range:
        """Return the columns whose values stand for the moment: those of the episode that are near to it."""
        reach, least = max(1, round(NEAR / self.step)), max(1, round(LEAST_NOW / self.step))
        around = range(max(0, self.at - reach), min(self.columns, self.at + reach + 1))
        if not self.episode:
            return around
        first, last = max(around.start, self.episode.start), min(around.stop, self.episode.stop)
        if last - first < least:  # a second alone says little
            first, last = max(0, min(first, self.at - least // 2)), min(self.columns, max(last, self.at + least // 2))
        return range(first, max(last, first + 1))

    @cached_property
    def before(self) -> tuple[int, ...]:
        """Return the columns of the time before that were busy and not slow; empty where there are too few."""
        start = self.episode.start if self.episode else self.now.start
        first = start - round((BASELINE + MARGIN) / self.step)
        last = start - max(1, round(MARGIN / self.step))
        found = tuple(
            column for column in range(max(0, first), max(0, last)) if self.busy(column) and not self._slow_at(column)
        )
        return found if len(found) >= LEAST_BASELINE else ()

    def time(self, column: int) -> float:
        """Return when a column begins, in seconds since the epoch."""
        return self.begin + column * self.step
