"""`alerts`: rules over what is measured, and what they said."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import numbers

if TYPE_CHECKING:
    from vllm_studio_tui.domain.alerts import Alert, AlertRule

JSON = typer.Option(False, "--json", help="One JSON document.")
DAY = 86_400.0
DASH = "–"


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Alerts: rules over what is measured, and what they said.", no_args_is_help=True)
    app.add_typer(nouns, name="alerts")

    @nouns.command("list")
    def list_(as_json: bool = JSON) -> None:
        """Rules, those that are built in and those of the settings, and what is wrong now."""
        with open_studio() as studio:
            rules, now = studio.alerts.rules(), studio.alerts.now()
        if as_json:
            emit({"rules": [one.to_json() for one in rules], "firing": [one.to_json() for one in now]})
            return
        firing = {one.rule: one for one in reversed(now)}
        table(("NAME", "SAYS", "TOLD BY", "NOW"), [_row(one, firing.get(one.name)) for one in rules])

    @nouns.command("history")
    def history(
        days: float = typer.Option(7.0, "--days", min=0.01, max=3650, help="Of so many days."),
        limit: int = typer.Option(100, "--limit", min=1, max=5000, help="At most so many."),
        everywhere: bool = typer.Option(False, "--everywhere", help="Of every machine that shares this home."),
        as_json: bool = JSON,
    ) -> None:
        """What was said, the latest first."""
        now = time.time()
        with open_studio() as studio:
            found = studio.alerts.history(now - days * DAY, limit, everywhere=everywhere)
        if as_json:
            emit({"alerts": [one.to_json() for one in found]})
            return
        if not found:
            say("Nothing was wrong.")
            return
        table(
            (*(("HOST",) if everywhere else ()), "SINCE", "LASTED", "WHAT", "SAYS"),
            [
                (
                    *((one.host or DASH,) if everywhere else ()),
                    numbers.moment(one.since, now),
                    numbers.duration(one.until - one.since) if one.until is not None else "it lasts",
                    one.subject,
                    one.words,
                )
                for one in found
            ],
        )

    @nouns.command("add")
    def add(
        name: str = typer.Argument(help="How it is called; the name of a built-in one changes that."),
        what: str | None = typer.Argument(None, help="What it looks at, such as kv_cache, ttft, gpu_temperature."),
        above: str | None = typer.Option(None, "--above", metavar="LIMIT", help="As in 95%, 85, 2s, 20GiB."),
        below: str | None = typer.Option(None, "--below", metavar="LIMIT", help="The same, for what may be too low."),
        seconds: float | None = typer.Option(None, "--for", metavar="SECONDS", help="For how long it has to be so."),
        clear: str | None = typer.Option(None, "--clear", metavar="LIMIT", help="Where all is well again."),
        only: str | None = typer.Option(None, "--only", metavar="GLOB", help="Runs, recipes or GPUs it is for."),
        severity: str | None = typer.Option(None, "--severity", help="trouble or warning."),
        tell: list[str] = typer.Option([], "--tell", help="bell, title, desktop, command, webhook; several times."),
        off: bool = typer.Option(False, "--off", help="It says nothing."),
        as_json: bool = JSON,
    ) -> None:
        """Keep a rule in the settings."""
        fields: dict[str, Any] = {
            "what": what,
            "above": above,
            "below": below,
            "for": seconds,
            "clear": clear,
            "only": only,
            "severity": severity,
            "tell": tell or None,
            "enabled": False if off else None,
        }
        with open_studio() as studio:
            rule = studio.alerts.add(name, fields)
        if as_json:
            emit({"rule": rule.to_json()})
        else:
            say(f"{rule.name}: {rule.words}" if rule.enabled else f"{rule.name} says nothing")
            note("Screens and servers that run take it at their next start.")

    @nouns.command("remove")
    def remove(name: str = typer.Argument(help="Its name."), as_json: bool = JSON) -> None:
        """Take a rule out of the settings; a built-in one that is not in them is switched off."""
        with open_studio() as studio:
            left = studio.alerts.remove(name)
        if as_json:
            emit({"removed": name, "rule": left.to_json() if left is not None else None})
        elif left is not None:
            say(f"{name} is as it is built in: {left.words}")
        else:
            say(f"{name} says nothing any more.")

    @nouns.command("test")
    def test(name: str = typer.Argument(help="Its name.")) -> None:
        """Tell its words by command and web address now, as if it fired. Exit 1 if one of them does not work."""
        with open_studio() as studio:
            wrong = studio.alerts.test(name)
        if wrong:
            raise StudioError(
                f"{name} could not be told", cause="; ".join(f"{one}: {why}" for one, why in wrong.items())
            )
        say("It was told.")


def _row(rule: AlertRule, alert: Alert | None) -> tuple[str, str, str, str]:
    now = "off" if not rule.enabled else "well"
    if alert is not None:
        now = f"{alert.subject}: {alert.now}" if alert.now else alert.subject
    return rule.name, rule.words, " ".join(rule.tell), now
