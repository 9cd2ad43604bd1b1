"""What the rows of a report of usage are called, for people, and by how much a week grew."""

from __future__ import annotations

import calendar
import itertools
import time
from collections.abc import Sequence

from vllm_studio_tui.domain.usage import DAY, UsageRow

#: Sources in words; others are called what they are.
SOURCES = {
    "chat": "chats here",
    "proxy": "programs, by serve",
    "bench": "benchmarks",
    "probe": "tests of parsers",
    "gateway": "the gateway",
    "gateway-cache": "the gateway's cache",
    "litellm": "logs of LiteLLM",
    "engine": "the engine itself",
}
#: The row of a report by key that has all that came without one.
NO_KEY = "without a key"


def name_of(row: UsageRow, by: str) -> str:
    """Return what a row is called; empty where that is not known."""
    if by == "source":
        return SOURCES.get(row.key, row.key)
    if by == "key":
        return row.key or NO_KEY
    if by == "hour":
        return row.key.replace("T", " ")
    return row.key


def weekly_growth(weeks: Sequence[UsageRow]) -> dict[str, float]:
    """Return by week by which share its tokens grew from the week before; not where that had none.

    Args:
        weeks: Latest first; weeks without anything have no row.
    """
    found = {}
    for row, before in itertools.pairwise(weeks):
        if before.total_tokens and row.total_tokens is not None and _begin(row) - _begin(before) == 7 * DAY:
            found[row.key] = (row.total_tokens - before.total_tokens) / before.total_tokens
    return found


def _begin(week: UsageRow) -> int:
    """Return the first second of a week's first day, which its title begins with, as if it was in UTC."""
    try:
        return calendar.timegm(time.strptime((week.title or "")[:10], "%Y-%m-%d"))
    except ValueError:
        return 0
