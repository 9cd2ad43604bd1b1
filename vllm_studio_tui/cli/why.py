"""`why`: why a run is slow, now or at a moment."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.why import Why

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")


def register(app: typer.Typer) -> None:
    @app.command("why")
    def why(
        run: str = typer.Argument(metavar="RUN", help="A run, recipe or model."),
        at: str | None = typer.Option(None, "--at", metavar="TIME", help="14:14, or 2026-11-27T14:14; without: now."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Why a run is slow, now or at a moment of the last 30 days: in sentences with their numbers."""
        moment = moment_of(at) if at is not None else None
        with open_studio() as studio:
            found = studio.why.slow(run, moment)
        if found is None:
            raise NotFound(f"no run is called {run[:80]}", advice="See `vllm-studio status`.")
        if as_json:
            emit(found.to_json())
        else:
            _show(found)


def moment_of(text: str, now: float | None = None) -> float:
    """Return the moment that a person means: a time of the last 24 hours, or a date with a time, both local.

    Raises:
        UsageError: It is none.
    """
    today = datetime.fromtimestamp(time.time() if now is None else now, tz=None)  # noqa: DTZ006 - as clocks there go
    clock = _CLOCK.fullmatch(text.strip())
    try:
        if clock is None:
            return datetime.fromisoformat(text.strip()).timestamp()
        found = today.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)
        return (found if found <= today else found - timedelta(days=1)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text[:40]!r} is no time", advice="Write 14:14, or 2026-11-27T14:14.") from None


def _show(why: Why) -> None:
    now = time.time()
    say(f"{why.name} at {numbers.moment(why.at, now)}: {why.title}")
    for number, sentence in enumerate(why.sentences, 1):
        say(f"  {number}  {sentence}")
    if why.slow:
        lasted = f"  since {numbers.moment(why.since, now)}, for {numbers.duration(why.lasted)}"
        if why.against is not None:
            lasted += f"; against {numbers.moment(why.against[0], now)} to {numbers.moment(why.against[1], now)}"
        say(f"{lasted}; rule {why.rule}")
    if why.not_it:
        say(f"  not it: {', '.join(why.not_it)}")
    for title in why.also:
        say(f"  also: {title}")
    if why.advice:
        say(f"  {why.advice}")
    if why.changes:
        changes = ", ".join(f"{field}: {value}" for field, value in why.changes.items())
        say(f"  change: {changes} ({why.change_words})")
