"""What carrying usage of another system over came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
