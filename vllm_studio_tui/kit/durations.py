"""Durations in words."""

from __future__ import annotations

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def duration_words(seconds: float) -> str:
    """Return a duration in its two largest units: `10 minutes`, `1 minute 40 seconds`, `0.5 seconds`."""
    if seconds < 1:
        return f"{seconds:g} seconds"
    left, parts = round(seconds), []
    for name, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts[:2])
