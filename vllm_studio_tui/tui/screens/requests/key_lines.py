"""Keys of programs as rows: what each may do, and how much of it is used."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_studio_tui.domain.api_key import ApiKey, Scope
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Column, Parts

#: The width of the bar of what is used of a day's tokens.
BAR = 12


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key, the tokens that it used today, and its requests under way."""

    key: ApiKey
    today: int
    running: int | None
    waiting: int | None

    @property
    def share(self) -> float | None:
        """Return how much of its tokens of today is used; None where it has no limit."""
        return None if not self.key.tokens_per_day else min(1.0, self.today / self.key.tokens_per_day)


def may_words(key: ApiKey, now: float) -> str:
    """Return what a key may do, in words."""
    scopes = [str(scope) for scope in sorted(key.scopes) if scope is not Scope.INFERENCE or len(key.scopes) == 1]
    parts = [", ".join(key.models) if key.models else "all models", *([] if key.launches else ["no launch"])]
    if scopes != [Scope.INFERENCE]:
        parts.append(", ".join(scopes) or "nothing")
    if key.launches:
        parts.append("may launch")
    if key.max_concurrent is not None:
        parts.append(f"{key.max_concurrent} at once")
    if key.requests_per_minute is not None:
        parts.append(f"{key.requests_per_minute} a minute")
    if key.expires_at is not None:
        parts.append("over" if key.expires_at <= now else f"until {numbers.moment(key.expires_at, now)}")
    return "; ".join(parts)


def columns_of(glyphs: Glyphs, now: float) -> list[Column[KeyLine]]:
    """Return the columns of the table of keys."""

    def limit(line: KeyLine, width: int) -> Parts:
        if line.key.tokens_per_day is None:
            return [(glyphs.unknown, "faint")]
        of = f"{numbers.count(line.key.tokens_per_day):>6} "
        return [(of, "dim"), *charts.bar(glyphs, line.share, max(1, width - len(of)))]

    def number(value: float | None) -> Parts:
        return [(numbers.count(value, glyphs.unknown), "faint" if value is None else "fg")]

    return [
        Column("name", lambda line: [(line.key.name, "fg")], 8, grow=1, order=lambda line: line.key.name.lower()),
        Column("key", lambda line: [(f"{line.key.prefix}****", "faint")], 15, drop=7),
        Column("running", lambda line: number(line.running), 5, right=True, drop=3,
               order=lambda line: line.running, falling=True),
        Column("waiting", lambda line: number(line.waiting), 5, "wait", right=True, drop=4,
               order=lambda line: line.waiting, falling=True),
        Column("today", lambda line: number(line.today), 5, right=True, order=lambda line: line.today, falling=True),
        Column("limit", lambda line: (), 7 + BAR, "of its limit", drop=6, draw=limit, order=lambda line: line.share,
               falling=True),
        Column("last used", lambda line: _moment(line.key.last_used_at, now), 6, right=True, drop=2,
               order=lambda line: line.key.last_used_at, falling=True),
        Column("may", lambda line: [(may_words(line.key, now), "dim")], 12, grow=2),
    ]  # fmt: skip


def _moment(at: float | None, now: float) -> Parts:
    return [("never", "faint")] if at is None else [(numbers.moment(at, now), "fg")]


def nothing(x: int) -> list[Row]:
    """Say that there is no key, and what one is for."""
    words, keys = Row(), Row()
    words.put(x, "No key. Programs on this machine need none, until there is one.", "dim")
    end = keys.run(x, [("n", "fg bold"), (" make one", "dim")])
    keys.link(x, end, "requests.new")
    return [words, Row(), keys]
