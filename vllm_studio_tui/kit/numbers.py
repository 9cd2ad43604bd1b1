"""Format numbers for people: fixed widths, always with units, and never a figure that reads as another one."""

from __future__ import annotations

import math
import time

KIB = 1024
MIB = KIB * 1024
GIB = MIB * 1024


def count(value: float | None, unknown: str = "–") -> str:
    """Format a count: plain up to 9999, then three figures with k, M, G (powers of 1000); at most five cells."""
    if value is None or not math.isfinite(value):
        return unknown
    if abs(value) < 9999.5:
        return f"{value:.0f}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        scaled = value / size
        if abs(scaled) < 9.995:
            return f"{scaled:.2f}{unit}"
        if abs(scaled) < 99.95:
            return f"{scaled:.1f}{unit}"
        if abs(scaled) < 999.5:
            return f"{scaled:.0f}{unit}"
    return f"{value:.0e}"


def parameters(number: int | None, unknown: str = "–") -> str:
    """Format a number of parameters as models are called by it: `8.3B`, `235B`, `135M`."""
    if number is None or number <= 0:
        return unknown
    if number < 1e6:
        return count(number)
    scaled, unit = (number / 1e9, "B") if number >= 999.5e6 else (number / 1e6, "M")
    whole = unit == "M" or scaled >= 999.5 or round(scaled, 1) == round(scaled)
    return f"{scaled:.0f}{unit}" if whole else f"{scaled:.1f}{unit}"


def context_length(length: int | None, unknown: str = "–") -> str:
    """Format a length of context: `128k` where it is that exactly, else all its digits."""
    if length is None or length <= 0:
        return unknown
    return f"{length // 1024}k" if length % 1024 == 0 and length % 1000 else str(length)


def rate(value: float | None, unknown: str = "–") -> str:
    """Format a speed: one decimal below a hundred, then as `count`."""
    if value is None or not math.isfinite(value):
        return unknown
    return f"{value:.1f}" if 0 < value < 99.95 else count(value)


def percent(share: float | None, unknown: str = "–") -> str:
    """Format a share 0-1 without decimals; only nothing is 0%, only all is 100%."""
    if share is None or not math.isfinite(share):
        return unknown
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{share * 100:.0f}%"


def gib(size: float | None, unknown: str = "–") -> str:
    """Format bytes as GiB with one decimal, without the unit."""
    return unknown if size is None else f"{size / GIB:.1f}"


def size(value: float | None, unknown: str = "–") -> str:
    """Format bytes with their unit (powers of 1024)."""
    if value is None:
        return unknown
    if value < KIB:
        return f"{value:.0f} B"
    if value < MIB:
        return f"{value / KIB:.0f} KiB"
    if value < GIB:
        return f"{value / MIB:.0f} MiB"
    return f"{value / GIB:.1f} GiB"


def memory(used: float | None, total: float | None, *, tight: bool = False, unknown: str = "–") -> str:
    """Format used and total memory: `71.2 / 79.6 GiB`, tight `71.2/79.6G`."""
    unit, divisor = ("GiB", GIB) if (total or used or GIB) >= GIB else ("MiB", MIB)

    def one(part: float | None) -> str:
        if part is None:
            return unknown
        return f"{part / divisor:.1f}" if divisor == GIB else f"{part / divisor:.0f}"

    return f"{one(used)}/{one(total)}{unit[0]}" if tight else f"{one(used)} / {one(total)} {unit}"


def throughput(value: float | None, unknown: str = "–") -> str:
    """Format bytes a second, in powers of 1000 as links are measured: `6.1 GB/s`, `540 MB/s`."""
    if value is None:
        return unknown
    if value >= 999.5e6:
        return f"{value / 1e9:.1f} GB/s" if value < 99.95e9 else f"{value / 1e9:.0f} GB/s"
    return f"{value / 1e6:.0f} MB/s" if value >= 0.5e6 or not value else "<1 MB/s"


def power(watts: float | None, unknown: str = "–") -> str:
    """Format watts: `310 W`, `1.24 kW`."""
    if watts is None:
        return unknown
    return f"{watts:.0f} W" if watts < 999.5 else f"{watts / 1000:.2f} kW"


def energy(watt_hours: float | None, unknown: str = "–") -> str:
    """Format watt hours: `250 mWh`, `3.1 Wh`, `1.2 kWh`."""
    if watt_hours is None:
        return unknown
    if watt_hours < 1:
        return f"{watt_hours * 1000:.0f} mWh" if watt_hours else "0 Wh"
    return f"{watt_hours:.1f} Wh" if watt_hours < 1000 else f"{watt_hours / 1000:.1f} kWh"


def latency(seconds: float | None, unknown: str = "–") -> str:
    """Format seconds in three figures: `11.4 ms`, `182 ms`, `1.42 s`, `16.3 s`; over a minute as `duration`."""
    if seconds is None or not math.isfinite(seconds):
        return unknown
    ms = seconds * 1000
    if ms < 99.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    return f"{seconds:.1f} s" if seconds < 59.95 else duration(seconds)


def duration(seconds: float | None, unknown: str = "–", *, days: bool = True) -> str:
    """Format seconds in two units, the second padded: `4m02s`, `3h12m`, `2d04h`; under a minute `38 s`.

    Args:
        days: False: hours are the largest unit, `52h10m`.
    """
    if seconds is None or not math.isfinite(seconds):
        return unknown
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400 or not days:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def about(seconds: float) -> str:
    """Format an estimate in seconds, rounded to ten."""
    return duration(max(10, round(seconds / 10) * 10))


# --- forms of the commands: they are not bound to a width, and stay as they are for who reads them ------


def rounded_count(value: float | None, unknown: str = "–") -> str:
    """Format a count for a table of a command: `950`, `12.3k`, `4.56M`; unlike `count` with fixed decimals."""
    if value is None:
        return unknown
    for size, unit, scale, digits in ((1e9, "G", 1e9, 2), (1e6, "M", 1e6, 2), (1e4, "k", 1e3, 1)):
        if value >= size:
            return f"{value / scale:.{digits}f}{unit}"
    return f"{value:.0f}"


def fixed(value: float | None, digits: int, unit: str = "", unknown: str = "–") -> str:
    """Format a number with so many decimals and its unit, whatever its size: `45.2 tok/s`, `7%`."""
    return unknown if value is None else f"{value:.{digits}f}{unit}"


def exact_percent(share: float | None, unit: str = "%", unknown: str = "–") -> str:
    """Format a share 0-1 with one decimal; unlike `percent` it rounds to 0.0 and 100.0."""
    return unknown if share is None else f"{share * 100:.1f}{unit}"


def seconds(value: float | None, whole_from: float = 100.0, unknown: str = "–") -> str:
    """Format seconds: `182 ms`, `1.42 s`, `163 s`; unlike `latency` without decimals of milliseconds and minutes.

    Args:
        whole_from: Seconds from which on decimals are left out.
    """
    if value is None:
        return unknown
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < whole_from else f"{value:.0f} s"


def watt_hours(value: float | None, unknown: str = "–") -> str:
    """Format watt hours: `0.250 Wh`, `3.1 Wh`, `1.20 kWh`; unlike `energy` never in mWh."""
    if value is None:
        return unknown
    return f"{value / 1000:.2f} kWh" if value >= 1000 else f"{value:.1f} Wh" if value >= 1 else f"{value:.3f} Wh"


def money(value: float | None, currency: str, unknown: str = "–") -> str:
    """Format an amount of money: two decimals, small amounts with as many as show something."""
    if value is None:
        return unknown
    digits = 2 if value >= 1 or value == 0 else 4 if value >= 0.001 else 6
    return f"{value:.{digits}f} {currency}"


def whole_memory(used: float, total: float) -> str:
    """Format used and total memory for a status line: `71/80 GiB`; unlike `memory` in whole GiB."""
    return f"{used / GIB:.0f}/{total / GIB:.0f} GiB"


def day_and_time(at: float | None, unknown: str = "–") -> str:
    """Format a time with its day of the week: `Wed 19 Nov 14:21`; local time."""
    return unknown if at is None else time.strftime("%a %d %b %H:%M", time.localtime(at))


# --- times ----------------------------------------------------------------------------------------------


def when(text: str) -> float | None:
    """Return an ISO 8601 time in seconds since the epoch; None for anything else."""
    from datetime import datetime  # quick commands do without it

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def moment(at: float | None, now: float | None = None, unknown: str = "–") -> str:
    """Format a time: `14:21` today, `Nov 19` this year, else `2025-11-19`; local time."""
    if at is None:
        return unknown
    here = time.localtime(time.time() if now is None else now)
    then = time.localtime(at)
    if then[:3] == here[:3]:
        return time.strftime("%H:%M", then)
    if then.tm_year == here.tm_year:
        return f"{_MONTHS[then.tm_mon - 1]} {then.tm_mday:d}"
    return time.strftime("%Y-%m-%d", then)


def short_age(seconds: float) -> str:
    """Format an age in one unit and at most four cells: `14 s`, `11m`, `3h`, `12d`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m"
    return f"{whole // 3600}h" if whole < 86400 else f"{min(999, whole // 86400)}d"


def day_time(at: float | None, now: float, unknown: str = "–") -> str:
    """Format a time with its day: `today 14:21`, `Nov 19 14:21`, in another year `2025-11-19`; local time."""
    if at is None:
        return unknown
    day = moment(at, now)
    if ":" in day:
        return f"today {day}"
    return f"{day} {time.strftime('%H:%M', time.localtime(at))}" if len(day) <= 6 else day


def ago(at: float | None, now: float, unknown: str = "never") -> str:
    """Format how long ago a time was, in one unit."""
    if at is None:
        return unknown
    seconds = max(0.0, now - at)
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86400:
        return f"{int(seconds // 3600)} h ago"
    days = int(seconds // 86400)
    return "yesterday" if days == 1 else f"{days} d ago" if days < 30 else moment(at, now)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
