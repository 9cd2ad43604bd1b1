"""Moments for programs: ISO 8601 in UTC, as every JSON document has them. Without `datetime`, which takes 5 ms."""

from __future__ import annotations

import math
import time


def iso_time(at: float | None) -> str | None:
    """Return seconds since the epoch as `2026-11-24T09:30:05.123Z`; None for what no calendar holds."""
    if at is None or not -6e10 < at < 2e11:
        return None
    part, whole = math.modf(at)
    # To microseconds first, as datetime does it, then cut.
    seconds, micros = divmod(int(whole) * 1_000_000 + round(part * 1e6), 1_000_000)
    day = time.gmtime(seconds)
    return (
        f"{day.tm_year:04d}-{day.tm_mon:02d}-{day.tm_mday:02d}"
        f"T{day.tm_hour:02d}:{day.tm_min:02d}:{day.tm_sec:02d}.{micros // 1000:03d}Z"
    )
