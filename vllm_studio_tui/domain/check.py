"""What a look at one thing of this machine found: a row of `vllm-studio doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        state: `fail` stands in the way, `warn` will hurt some day.
        found: What is there, one line.
        fix: What would mend it; empty when nothing needs mending.
    """

    state: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""

    def to_json(self) -> dict[str, str | None]:
        """Return `state`, `found` and `fix`; null where nothing needs mending."""
        return {"state": self.state, "found": self.found, "fix": self.fix or None}


def ok(found: str) -> Check:
    """Nothing to do."""
    return Check("ok", found)


def warn(found: str, fix: str) -> Check:
    """It works, but not always or not well."""
    return Check("warn", found, fix)


def fail(found: str, fix: str) -> Check:
    """It does not work."""
    return Check("fail", found, fix)
