"""How far a long piece of work with files has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes done, bytes in all (None when nobody says), and what is being done."""

    done: int
    total: int | None
    what: str


#: Told every step; what it raises ends the work.
ProgressCallback = Callable[[Progress], None]
