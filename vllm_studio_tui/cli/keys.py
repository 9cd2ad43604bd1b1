"""`keys`: keys of programs that ask `serve`."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time

if TYPE_CHECKING:
    from vllm_studio_tui.domain.api_key import ApiKey

DASH = "–"
JSON = typer.Option(False, "--json", help="One JSON document.")
_SPAN = re.compile(r"(\d{1,6})([mhdwy])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Keys of programs that ask vllm-studio serve.", no_args_is_help=True)
    app.add_typer(nouns, name="keys")

    @nouns.command("add")
    def add(
        name: str = typer.Argument(help="Who has it, such as opencode."),
        scope: list[str] = typer.Option(["inference"], "--scope", help=f"What it may do: {', '.join(Scope)}."),
        model: list[str] = typer.Option([], "--model", metavar="GLOB", help="Models that it may use; without: all."),
        rpm: int | None = typer.Option(None, "--rpm", metavar="N", help="Requests a minute."),
        concurrent: int | None = typer.Option(None, "--concurrent", metavar="N", help="Requests at once."),
        tokens_per_day: int | None = typer.Option(None, "--tokens-per-day", metavar="N", help="In a day of UTC."),
        expires: str | None = typer.Option(None, "--expires", metavar="D", help="In 12h, 30d, 1y; or 2030-12-31."),
        may_launch: bool = typer.Option(False, "--may-launch", help="May have models loaded, which may stop others."),
        loading: str | None = typer.Option(
            None, "--loading", metavar="MODE", help="How it waits for a model: comment, reasoning or 503."
        ),
        as_json: bool = JSON,
    ) -> None:
        """Make a key and print it, this once: only its hash is kept."""
        with open_studio() as studio:
            key, secret = studio.keys.add(
                name,
                scopes=scope,
                models=model,
                requests_per_minute=rpm,
                max_concurrent=concurrent,
                tokens_per_day=tokens_per_day,
                expires_at=None if expires is None else moment_of(expires),
                may_launch=may_launch,
                loading=loading,
            )
        if as_json:
            emit({**key.to_json(), "key": secret})
            return
        say(secret)
        note(f"This is the key of {key.name}. It is not shown again; whoever loses it gets another.")

    @nouns.command("list")
    def list_(as_json: bool = JSON) -> None:
        """Keys, what they may do, and what they used today (UTC)."""
        with open_studio() as studio:
            found = studio.keys.list()
            today = studio.keys.tokens_today()
        if as_json:
            emit({"keys": [{**one.to_json(), "tokens_today": today.get(one.id, 0)} for one in found]})
            return
        if not found:
            say("No key. Make one: vllm-studio keys add NAME")
            return
        table(
            ("NAME", "KEY", "MAY", "MODELS", "LIMITS", "TODAY", "LAST USED", "EXPIRES"),
            [_cells(one, today.get(one.id, 0)) for one in found],
            right=(5,),
        )

    @nouns.command("delete")
    def delete(
        name: str = typer.Argument(help="Its name or id."),
        yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
        as_json: bool = JSON,
    ) -> None:
        """Delete a key: whoever has it is refused from now on. Its requests stay on record."""
        with open_studio() as studio:
            key = studio.keys.find(name)
            if not yes and sys.stdin.isatty() and not as_json:
                if not typer.confirm(f"Delete the key of {key.name}? Whoever has it is refused", default=False):
                    raise SystemExit(1)
            elif not yes:
                raise UsageError(f"{key.name} is not deleted", advice="Say --yes where nobody can be asked.")
            studio.keys.delete(key.id)
        if as_json:
            emit({"deleted": key.to_json()})
            return
        say(f"deleted {key.name}")


def moment_of(text: str, now: float | None = None) -> float:
    """Return when something expires: a span from now, or the end of a day (UTC), or a moment in ISO 8601.

    Raises:
        UsageError: It is none of these.
    """
    now = time.time() if now is None else now
    words = text.strip()
    span = _SPAN.fullmatch(words)
    if span is not None:
        return now + int(span[1]) * _SECONDS[span[2]]
    try:
        if len(words) == len("2030-12-31"):
            day = date.fromisoformat(words)
            return (datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)).timestamp()
        moment = datetime.fromisoformat(words)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{words[:40]} is no time", advice="Such as 12h, 30d, 2w, 1y, 2030-12-31 or 2030-12-31T18:00Z."
        ) from None


def _cells(key: ApiKey, used: int) -> list[str]:
    limits = [
        f"{numbers.rounded_count(value)} {words}"
        for value, words in (
            (key.requests_per_minute, "a minute"),
            (key.max_concurrent, "at once"),
            (key.tokens_per_day, "tokens a day"),
        )
        if value is not None
    ]
    may = [*sorted(key.scopes), *(["launch"] if key.launches else [])]
    over = key.expires_at is not None and key.expires_at <= time.time()
    return [
        key.name,
        f"{key.prefix}****",
        ", ".join(may) or "nothing",
        ", ".join(key.models) or "all",
        ", ".join(limits) or DASH,
        numbers.rounded_count(used),
        _moment(key.last_used_at) or "never",
        (_moment(key.expires_at) or "never") + (", over" if over else ""),
    ]


def _moment(at: float | None) -> str | None:
    text = iso_time(at)
    return None if text is None else text[:16].replace("T", " ")
