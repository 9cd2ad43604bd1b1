"""What is due when, in monotonic seconds."""

from __future__ import annotations

import time


class Timetable:
    """Named deadlines; a name that is not on it is never due."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def begin(self, now: float, **after: float) -> None:
        """Forget everything and plan these, so many seconds from now."""
        self._at = {name: now + seconds for name, seconds in after.items()}

    def plan(self, name: str, at: float) -> None:
        self._at[name] = at

    def drop(self, name: str) -> None:
        self._at.pop(name, None)

    def once(self, name: str, now: float) -> bool:
        """Return whether it is due; it will not be again."""
        if now < self._at.get(name, now + 1):
            return False
        self.drop(name)
        return True

    def each(self, name: str, now: float, every: float) -> bool:
        """Return whether it is due; it will be again after `every` seconds."""
        if now < self._at.get(name, now + 1):
            return False
        self._at[name] = now + every
        return True

    def wait(self, most: float) -> float:
        """Return seconds until something is due, at most `most`."""
        now = time.monotonic()
        return min(most, max(0.0, min(self._at.values(), default=now + most) - now))
