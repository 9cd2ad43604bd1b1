"""What carrying usage of another system over came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time


@dataclass(frozen=True, slots=True)
class UsageImport:
    """Best speeds and totals of a database.

    Attributes:
        peaks: Models of which a speed is better than what was known.
        models: How many models it has speeds of.
        added: By name, what the totals over all time grew by; of `first_started_at` the new moment.
        has_totals: It has totals; without `added` they were carried over before.
        notes: What could not be read, in words.
    """

    peaks: tuple[str, ...] = ()
    models: int = 0
    added: Mapping[str, float] = field(default_factory=dict)
    has_totals: bool = False
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what `import --json` prints of it."""
        return {
            "peaks": list(self.peaks),
            "models": self.models,
            "added": dict(self.added),
            "has_totals": self.has_totals,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class LogImport:
    """What taking in logs of requests came to.

    Attributes:
        requests, tokens: What came in, or would.
        known: Requests that came in before.
        ours: Requests that were recorded here when they were made.
        from_cache: Answers of its own cache, which no engine computed.
        unreadable: Rows without a time or an id.
        of_runs: Of those that came in, the ones that runs here answered: there the engine's counters count.
        since, until: The first and the last moment of what came in.
        fields: What became of each column.
    """

    requests: int = 0
    tokens: int = 0
    known: int = 0
    ours: int = 0
    from_cache: int = 0
    unreadable: int = 0
    of_runs: int = 0
    since: float | None = None
    until: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `import --json` prints of it."""
        return {
            "requests": self.requests,
            "tokens": self.tokens,
            "known": self.known,
            "ours": self.ours,
            "from_cache": self.from_cache,
            "unreadable": self.unreadable,
            "of_runs": self.of_runs,
            "since": iso_time(self.since),
            "until": iso_time(self.until),
            "fields": dict(self.fields),
        }
