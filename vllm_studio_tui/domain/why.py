"""Why an engine is slow at a moment: the rule that explains it, in sentences with their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time


@dataclass(frozen=True, slots=True)
class Figure:
    """A value in the time that is explained and in the time before; None is unknown.

    Attributes:
        unit: `tok/s`, `s`, `share`, `requests`, `tokens`, `W`, `C`, `percent`, `MHz`, `B/s`; empty: a plain number.
    """

    now: float | None
    before: float | None = None
    unit: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"now": self.now, "before": self.before, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Why:
    """Why a run is slow at a moment, or that it is not.

    Attributes:
        rule: A slug: `kv-preempt`, `queue`, ..; `not-slow` and `idle` where there is nothing to explain.
        title: The answer in one sentence.
        slow: Whether something is slower than it was, or than it should be.
        at: The moment that was asked about. All times are in seconds since the epoch.
        since, until: The time around it for which the rule holds.
        against: What it was compared with, from and to; None where there was nothing before.
        sentences: What shows it, the strongest first, each with its numbers.
        not_it: What was looked at and is fine.
        also: The titles of other rules that hold at the same time, the strongest first.
        advice: What a person can do.
        changes: Fields of the recipe that would help, with their new values; empty: none is known.
        change_words: What those would do.
        asked: Who asked most in that time, as the name of a key, of requests that are on record; empty: not known.
        requests: How many requests of that time are on record.
        figures: All that was compared, by name.
        key: The name of the key whose requests are the cause; empty: none is.
        key_limit: How many of its requests at once would leave room for others.
    """

    rule: str
    title: str
    slow: bool
    run_id: str
    name: str
    at: float
    since: float
    until: float
    against: tuple[float, float] | None = None
    sentences: tuple[str, ...] = ()
    not_it: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    advice: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    change_words: str = ""
    asked: str = ""
    requests: int = 0
    figures: Mapping[str, Figure] = field(default_factory=dict)
    key: str = ""
    key_limit: int | None = None

    @property
    def lasted(self) -> float:
        """Return for how many seconds it holds."""
        return max(0.0, self.until - self.since)

    def to_json(self) -> dict[str, Any]:
        """Return what `metrics --why --json` prints; times are ISO 8601."""
        return {
            "rule": self.rule,
            "title": self.title,
            "slow": self.slow,
            "run_id": self.run_id,
            "at": iso_time(self.at),
            "since": iso_time(self.since),
            "until": iso_time(self.until),
            "lasted": self.lasted,
            "against": [iso_time(one) for one in self.against] if self.against else None,
            "sentences": list(self.sentences),
            "not_it": list(self.not_it),
            "also": list(self.also),
            "advice": self.advice,
            "changes": dict(self.changes),
            "change_words": self.change_words,
            "asked": self.asked,
            "requests": self.requests,
            "limit": {"key": self.key, "max_concurrent": self.key_limit} if self.key else None,
            "figures": {name: one.to_json() for name, one in self.figures.items()},
        }
