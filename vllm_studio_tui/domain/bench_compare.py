"""Two benchmarks side by side, and how many users an engine carries. None is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.bench import BenchStep

#: Figures that are compared: a greater one is better (1), or a smaller one (-1).
FIGURES: Mapping[str, int] = {
    "output_tokens_per_second": 1,
    "user_speed": 1,
    "ttft_p95": -1,
    "itl_p95": -1,
    "e2e_p95": -1,
    "joules_per_1k": -1,
    "good": 1,
}


@dataclass(frozen=True, slots=True)
class BenchChange:
    """How one figure of a step changed.

    Attributes:
        change: The share by which the second is greater than the first.
        spread: The 95 % interval of `change`; None where too little was measured to say.
        noise: It may as well be none.
        better: It is better beyond the noise; False: worse; None: neither.
    """

    before: float | None
    after: float | None
    change: float | None = None
    spread: tuple[float, float] | None = None
    noise: bool = True
    better: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `bench compare --json` prints of it."""
        return {
            "before": self.before,
            "after": self.after,
            "change": self.change,
            "spread": None if self.spread is None else list(self.spread),
            "noise": self.noise,
            "better": self.better,
        }


@dataclass(frozen=True, slots=True)
class BenchPair:
    """One load in both; a side that has not measured it is None. `changes` has a value for each of `FIGURES`."""

    load: float
    before: BenchStep | None
    after: BenchStep | None
    changes: Mapping[str, BenchChange] = field(default_factory=dict)

    @property
    def main(self) -> BenchChange:
        """Return the change of the tokens that all answers together get."""
        return self.changes.get("output_tokens_per_second", BenchChange(None, None))


@dataclass(frozen=True, slots=True)
class BenchComparison:
    """Two results, paired by their steps.

    Attributes:
        before, after: Their ids; `before_title` and `after_title` what people call them.
        by: What a step is: `users`, or `requests a second`.
        verdict: One or two sentences.
        differences: What else is not the same in both: plan, GPUs, engine; they may be the reason.
        regression: The same recipe and plan on another version of the engine, and worse beyond noise: in words.
    """

    before: str
    after: str
    before_title: str
    after_title: str
    rows: tuple[BenchPair, ...] = ()
    by: str = "users"
    verdict: str = ""
    differences: tuple[str, ...] = ()
    regression: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `bench compare --json` prints."""
        return {
            "before": self.before,
            "after": self.after,
            "before_title": self.before_title,
            "after_title": self.after_title,
            "by": self.by,
            "verdict": self.verdict,
            "differences": list(self.differences),
            "regression": self.regression,
            "rows": [
                {"load": one.load, **{name: change.to_json() for name, change in one.changes.items()}}
                for one in self.rows
            ],
        }


@dataclass(frozen=True, slots=True)
class BenchLimit:
    """How many users an engine carries within limits.

    Attributes:
        users: The most that met them; None: not even the fewest did, or nothing was measured. `rate` in a second.
        next_users: The fewest that did not; None: none was found, so it may be more than `users`.
        binds: What ends it first: `ttft`, `speed`, `errors`, `saturation`, or empty where nothing did.
        words: All of that in a sentence, with what of the engine binds.
        engine: What binds inside of the engine, by users: `(first, last, words)`.
    """

    users: int | None = None
    rate: float | None = None
    next_users: int | None = None
    binds: str = ""
    words: str = ""
    engine: tuple[tuple[int, int, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `bench limit --json` prints."""
        return {
            "users": self.users,
            "rate": self.rate,
            "next_users": self.next_users,
            "binds": self.binds,
            "words": self.words,
            "engine": [{"from": low, "to": high, "words": words} for low, high, words in self.engine],
        }
