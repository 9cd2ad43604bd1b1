"""Speeds of an engine over windows: totals are marked at each scrape, and compared with those of a while ago."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from vllm_studio_tui.domain.engine_metrics import WINDOWS, WindowSpeeds
from vllm_studio_tui.domain.metric_spec import MetricSpec
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.probes.engine.values import Scrape, ratio_parts, sum_of

#: Seconds of the window that peaks are taken of.
PEAK_WINDOW = 10.0
#: Marks that are kept, however often an engine is scraped.
_MARKS = 400
#: The fields of a window, and whose rows tell them; of several rows the first that counts.
_COUNTED = {
    "prompt_tokens_per_second": ("prompt_tokens_per_second",),
    "generation_tokens_per_second": ("generation_tokens_per_second",),
    "requests_per_second": ("requests_per_second", "requests_total"),
    "preemptions": ("preemptions", "preemptions_total"),
    "prompt_computed_per_second": ("prompt_computed_per_second",),
}
_COUNTING = frozenset({"rate", "total", "delta"})
_HITS = "prefix_cache_hit_rate"


@dataclass(frozen=True, slots=True)
class Total:
    """What was counted up to a moment.

    Attributes:
        at_end: It moves when a request ends.
        spent: The seconds that it took, of one that moves at the end.
    """

    value: float
    at_end: bool = False
    spent: float | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The totals of an engine at one moment."""

    at: float
    running: float
    totals: Mapping[str, Total]
    hits: tuple[float, float] | None = None


@dataclass(slots=True)
class Windows:
    """Keeps the totals of a bit more than the longest window."""

    _marks: deque[Mark] = field(default_factory=lambda: deque(maxlen=_MARKS))

    def clear(self) -> None:
        """Begin anew: the engine did."""
        self._marks.clear()

    def add(self, mark: Mark) -> None:
        """Take the totals of now."""
        marks = self._marks
        while len(marks) > 1 and marks[1].at <= mark.at - WINDOWS[-1]:
            marks.popleft()
        marks.append(mark)

    def speed(self, name: str) -> float | None:
        """Return how fast a total grew since the scrape before; None where that is unknown."""
        return _speed(self._marks[-2], self._marks[-1], name) if len(self._marks) > 1 else None

    def speeds(self) -> dict[int, WindowSpeeds]:
        """Return the speeds over each window, or over what of it there is."""
        found = {}
        for seconds in WINDOWS:
            base = self._before(seconds) or (self._marks[0] if self._marks else None)
            if base is not None and base is not self._marks[-1]:
                found[seconds] = _between(base, self._marks[-1])
        return found

    def reached(self) -> WindowSpeeds | None:
        """Return the speeds over the last whole ten seconds."""
        base = self._before(PEAK_WINDOW)
        return None if base is None else _between(base, self._marks[-1])

    def _before(self, seconds: float) -> Mark | None:
        """Return the last mark that is so many seconds old."""
        until = self._marks[-1].at - seconds if self._marks else 0.0
        return next((one for one in reversed(self._marks) if one.at <= until), None)


def mark_of(specs: Collection[MetricSpec], scrape: Scrape, live: Mapping[str, float]) -> Mark:
    """Return the totals of one scrape.

    Args:
        live: Totals that count what is still being made too, by field of the window.
    """
    totals = {name: Total(value) for name, value in live.items()}
    hits, running = None, 0.0
    for name, fields in _COUNTED.items():
        if name in totals:
            continue
        rows = (spec for one in fields for spec in specs if spec.field == one and spec.kind in _COUNTING)
        for spec in rows:
            value = sum_of(spec, scrape)
            if value is not None:
                spent = prometheus.total(scrape.samples, spec.seconds) if spec.seconds else None
                totals[name] = Total(value, spec.at_end, spent)
                break
    for spec in specs:
        if spec.field == _HITS and spec.kind == "ratio" and hits is None:
            above, below = ratio_parts(spec, scrape, None)
            hits = (above, below) if above is not None and below is not None else None
        elif spec.field == "running":
            running = running or sum_of(spec, scrape) or 0.0
    return Mark(scrape.at, running, totals, hits)


def _speed(before: Mark, now: Mark, name: str) -> float | None:
    one, other, took = before.totals.get(name), now.totals.get(name), now.at - before.at
    if other is None or took <= 0:
        return None
    gain = other.value - (one.value if one is not None else 0.0)
    if gain < 0 or (other.at_end and gain == 0 and now.running > 0):
        return None
    if other.spent is not None and gain > 0:
        # What was made before the window is counted in it: it took longer than the window has.
        spent = other.spent - ((one.spent if one is not None else None) or 0.0)
        took = max(took, spent / max(1.0, before.running))
    return gain / took


def _between(before: Mark, now: Mark) -> WindowSpeeds:
    was, is_now = before.totals.get("preemptions"), now.totals.get("preemptions")
    hits = None
    if before.hits is not None and now.hits is not None:
        above, below = now.hits[0] - before.hits[0], now.hits[1] - before.hits[1]
        hits = min(1.0, above / below) if below > 0 and above >= 0 else None
    return WindowSpeeds(
        now.at - before.at,
        _speed(before, now, "prompt_tokens_per_second"),
        _speed(before, now, "generation_tokens_per_second"),
        _speed(before, now, "requests_per_second"),
        None if is_now is None else max(0, round(is_now.value - (was.value if was is not None else 0.0))),
        hits,
        _speed(before, now, "prompt_computed_per_second"),
    )
