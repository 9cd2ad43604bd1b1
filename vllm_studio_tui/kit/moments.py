"""Moments and ranges of time as people write them."""

from __future__ import annotations

import math
import re
import time

_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h|d|w)?\Z")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?\Z")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
#: How a moment may be written, for messages.
FORMS = (
    "Write `30m`, `2h` or `3d` for so long ago, `14:20` for the last time it was that, `2026-11-27T14:20`, or `now`."
)


def read_moment(text: str, now: float) -> float | None:
    """Return the moment that a text means, in seconds since the epoch; None for none.

    `30m` is so long ago, `14:20` the last time that the clock here showed it; else ISO 8601, or `now`.
    """
    text = text.strip()
    if text == "now":
        return now
    found = _AGO.match(text)
    if found is not None and found[2]:
        return now - float(found[1]) * _SECONDS[found[2]]
    found = _CLOCK.match(text)
    if found is not None:
        here = time.localtime(now)
        at = time.mktime((*here[:3], int(found[1]), int(found[2]), int(found[3] or 0), 0, 0, -1))
        if at > now:
            at = time.mktime((*here[:2], here[2] - 1, int(found[1]), int(found[2]), int(found[3] or 0), 0, 0, -1))
        return at
    from vllm_studio_tui.kit.numbers import when

    try:
        moment = when(text)
    except (OverflowError, OSError):
        return None
    return moment if moment is not None and 0 < moment < 1e11 else None


def write_range(since: float, until: float, now: float) -> str:
    """Return a range of whole seconds as `read_range` reads it, which has all of it: the clock alone where that is
    enough."""
    first, last = math.floor(since), math.ceil(until)
    near = now - 86_000 < first and last <= now
    form = "%H:%M:%S" if near else "%Y-%m-%dT%H:%M:%S"
    return "..".join(time.strftime(form, time.localtime(one)) for one in (first, last))


def read_after(text: str, since: float, until: float) -> float | None:
    """Return the moment of a range of time that a text means: `90s` after its begin, `14:20`, or ISO 8601."""
    found = _AGO.match(text.strip())
    at = since + float(found[1]) * _SECONDS[found[2] or "s"] if found is not None else read_moment(text, until)
    return at if at is not None and since <= at <= until else None


def read_range(text: str, now: float) -> tuple[float, float] | None:
    """Return the range of a text such as `14:00..14:10` or `2h..1h`; None for none, or one that does not go forward."""
    first, dots, last = text.partition("..")
    since, until = read_moment(first, now), read_moment(last or "now", now)
    return (since, until) if dots and since is not None and until is not None and since < until else None
