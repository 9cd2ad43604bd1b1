"""The progress of downloading or unpacking a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes done, bytes in all (None if unknown), and what is being done."""

    done: int
    total: int | None
    what: str


#: Told every step; what it raises ends the work.
ProgressCallback = Callable[[Progress], None]
