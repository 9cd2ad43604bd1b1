"""Days, weeks and hours of this machine's time zone, also where its clock is put forward or back.

Days are counted from 1970-01-01, as a calendar counts them, whatever the length of each. Without `datetime`, which
takes 5 ms to import.
"""

from __future__ import annotations

import calendar
import time
from typing import NamedTuple

DAY = 86_400
#: The first day, 1970-01-01, was a Thursday.
_THURSDAY = 3


class Moment(NamedTuple):
    """Where a moment stands in the calendar: the day, its weekday (0 is Monday), the hour of it, and the offset."""

    day: int
    weekday: int
    hour: int
    offset: int


def moment(at: float) -> Moment:
    """Return where a moment stands."""
    local = time.localtime(at)
    return Moment(calendar.timegm((*local[:3], 0, 0, 0)) // DAY, local.tm_wday, local.tm_hour, local.tm_gmtoff)


def day_of(at: float) -> int:
    """Return the day of a moment."""
    return moment(at).day


def begin_of(day: int) -> float:
    """Return the first second of a day. Where midnight is left out that is later, where it comes twice the first."""
    date = time.gmtime(day * DAY)
    found = time.mktime((date.tm_year, date.tm_mon, date.tm_mday, 0, 0, 0, 0, 0, -1))
    while day_of(found) < day:  # where the clock is put forward at midnight, it may lie before the day
        found += 1800
    while day_of(found - 1800) == day:
        found -= 1800
    return found


def monday_of(day: int) -> int:
    """Return the Monday of a day's week."""
    return day - (day + _THURSDAY) % 7


def date_of(day: int) -> str:
    """Return the date of a day, as `2026-11-27`."""
    date = time.gmtime(day * DAY)
    return f"{date.tm_year:04d}-{date.tm_mon:02d}-{date.tm_mday:02d}"


def week_of(day: int) -> str:
    """Return the week of a day by ISO 8601, as `2026-W48`: it belongs to the year that has its Thursday."""
    thursday = time.gmtime((monday_of(day) + 3) * DAY)
    return f"{thursday.tm_year:04d}-W{(thursday.tm_yday - 1) // 7 + 1:02d}"


def hour_name(place: Moment) -> str:
    """Return the name of an hour, as `2026-11-27T14:00+01:00`: an hour that comes twice has two."""
    sign, minutes = "-" if place.offset < 0 else "+", abs(place.offset) // 60
    return f"{date_of(place.day)}T{place.hour:02d}:00{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def zone_name(at: float) -> str:
    """Return what the zone is called at a moment, as `CET`."""
    return time.localtime(at).tm_zone


def quarter() -> int:
    """Return the seconds of the longest stretch that hours of this zone are made of, counted from the epoch."""
    return 3600 if time.timezone % 3600 == 0 and time.altzone % 3600 == 0 else 900
