"""`timeline`: series over any time up to 30 days, what happened, pins, two ranges compared."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say, table
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.moments import FORMS, read_moment, read_range

if TYPE_CHECKING:
    from vllm_studio_tui.domain.timeline import Take
    from vllm_studio_tui.services.protocols import StudioApi

JSON = typer.Option(False, "--json", help="One JSON document.")
SINCE = typer.Option("1h", "--since", metavar="TIME", help="From: 30m, 2h, 3d ago, 14:20, or an ISO time.")
UNTIL = typer.Option("now", "--until", metavar="TIME", help="To, written as --since.")
NAMES = typer.Argument(None, metavar="[SERIES]...", help="Names or patterns; see `timeline series`.")
#: What is shown when nothing is named.
USUAL = ("all/*", "run/*/out", "run/*/waiting", "run/*/kv", "run/*/ttft", "gpu/*/util", "host/cpu", "host/memory")
MOST_SERIES, MOST_COLUMNS = 300, 2000
#: Cells of a chart in a line.
CHART = 40
_BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


def _number_100(value: float | None) -> str:
    return numbers.percent(None if value is None else value / 100)


#: How the values of a series are shown, by the end of its name.
FORMS_OF: Mapping[str, Callable[[float | None], str]] = {
    **dict.fromkeys(("out", "in", "prefill", "cached"), numbers.rate),
    **dict.fromkeys(("kv", "hits", "memory", "swap", "disk", "throttle"), numbers.percent),
    **dict.fromkeys(("ttft", "ttft50", "itl", "itl50", "queue", "e2e"), numbers.latency),
    **dict.fromkeys(("util", "cpu"), _number_100),
    "power": numbers.power,
    "pcie": numbers.throughput,
}


def _form(name: str) -> Callable[[float | None], str]:
    return FORMS_OF.get(name.rpartition("/")[2], lambda value: numbers.fixed(value, 2).removesuffix(".00"))


def _moment(text: str, now: float) -> float:
    at = read_moment(text, now)
    if at is None:
        raise UsageError(f"{text[:60]} is no moment", advice=FORMS)
    return at


def _between(since: str, until: str) -> tuple[float, float]:
    now = time.time()
    first, last = _moment(since, now), _moment(until, now)
    if not first < last:
        raise UsageError("--since is not before --until", advice=FORMS)
    return first, last


def _chosen(studio: StudioApi, wanted: Sequence[str] | None) -> list[str]:
    """Return the series that are named, or that patterns mean."""
    known = studio.timeline.names()
    found: list[str] = []
    for one in wanted or USUAL:
        some = [name for name in known if fnmatch.fnmatchcase(name, one)]
        if not some and one.startswith("recipe/") and one.count("/") > 1:
            some = [one]
        if not some and wanted:
            raise NotFound(f"there is no series {one[:80]}", advice="See: vllm-studio timeline series")
        found += some
    return list(dict.fromkeys(found))[:MOST_SERIES]


def chart(values: Sequence[float | None]) -> str:
    """Return values as one line of blocks, of which the highest is full; unknown is a space."""
    top = max((one for one in values if one is not None), default=0.0)
    return "".join(
        " " if one is None else _BLOCKS[max(0, min(7, int(one / top * 7.99)))] if top > 0 else _BLOCKS[0]
        for one in values
    )


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="What was measured and what happened, up to 30 days back.", no_args_is_help=True)
    app.add_typer(nouns, name="timeline")

    @nouns.command("show")
    def show(
        names: list[str] | None = NAMES,
        since: str = SINCE,
        until: str = UNTIL,
        columns: int = typer.Option(120, "--columns", min=1, max=MOST_COLUMNS, help="Values of each, for --json."),
        take: str = typer.Option("mean", "--take", help="mean, min or max of what falls into a column."),
        as_json: bool = JSON,
    ) -> None:
        """Series over a time: GPUs, engines, host."""
        if take not in ("mean", "min", "max"):
            raise UsageError(f"--take {take[:20]} is none", advice="Choose mean, min or max.")
        which: Take = "min" if take == "min" else "max" if take == "max" else "mean"
        first, last = _between(since, until)
        count = columns if as_json else CHART
        with open_studio() as studio:
            chosen = _chosen(studio, names)
            values = studio.timeline.over(chosen, first, last, count, take=which)
            figures = studio.timeline.figures(chosen, first, last)
        shown = [name for name in chosen if any(one is not None for one in values[name])]
        if as_json:
            emit(
                {
                    "since": iso_time(first),
                    "until": iso_time(last),
                    "seconds": (last - first) / count,
                    "take": which,
                    "series": {name: values[name] for name in shown},
                }
            )
            return
        if not shown:
            say("Nothing was measured in that time.")
            return
        rows = [
            (name, chart(values[name]), *map(_form(name), (one.mean, one.p95, one.max)))
            for name in shown
            for one in (figures[name],)
        ]
        table(
            ("SERIES", f"{numbers.day_and_time(first)} to {numbers.moment(last)}", "MEAN", "P95", "MAX"),
            rows,
            right=(2, 3, 4),
        )

    @nouns.command("series")
    def series(as_json: bool = JSON) -> None:
        """The names of all series that there are samples of."""
        with open_studio() as studio:
            found = studio.timeline.names()
        if as_json:
            emit({"series": found})
        else:
            say("\n".join(found) if found else "Nothing was measured yet.")

    @nouns.command("events")
    def events(
        since: str = typer.Option("1d", "--since", metavar="TIME", help="From."),
        until: str = UNTIL,
        as_json: bool = JSON,
    ) -> None:
        """What happened: starts, failures, restarts, stalls and stops of runs, answers, alerts, pins."""
        first, last = _between(since, until)
        with open_studio() as studio:
            found = studio.timeline.events(first, last)
        if as_json:
            emit({"since": iso_time(first), "until": iso_time(last), "events": [one.to_json() for one in found]})
            return
        if not found:
            say("Nothing happened in that time.")
            return
        now = time.time()
        table(("TIME", "EVENT", ""), [(numbers.day_time(one.at, now), one.kind, one.title) for one in found])

    @nouns.command("compare")
    def compare(
        before: str = typer.Argument(..., metavar="BEFORE", help="A range: 14:00..14:10, or 2h..1h."),
        after: str = typer.Argument(..., metavar="AFTER", help="Another."),
        names: list[str] | None = NAMES,
        as_json: bool = JSON,
    ) -> None:
        """Mean, 95th percentile and largest value of each series in two ranges, and the change."""
        now = time.time()
        ranges = [read_range(text, now) for text in (before, after)]
        for text, one in zip((before, after), ranges, strict=True):
            if one is None:
                raise UsageError(f"{text[:60]} is no range", cause="It is FROM..TO.", advice=FORMS)
        first, second = (one for one in ranges if one is not None)
        with open_studio() as studio:
            found = studio.timeline.compare(_chosen(studio, names), first, second)
        if as_json:
            spans = {
                name: {"since": iso_time(one[0]), "until": iso_time(one[1])}
                for name, one in (("before", first), ("after", second))
            }
            emit({**spans, "series": [one.to_json() for one in found]})
            return
        if not found:
            say("Nothing was measured in either.")
            return
        rows = [
            (
                one.name,
                *map(_form(one.name), (one.before.mean, one.after.mean)),
                "" if one.change is None else f"{one.change:+.0%}",
                *map(_form(one.name), (one.before.p95, one.after.p95, one.before.max, one.after.max)),
            )
            for one in found
        ]
        head = ("SERIES", "MEAN", "AFTER", "CHANGE", "P95", "AFTER", "MAX", "AFTER")
        table(head, rows, right=tuple(range(1, 8)))

    @nouns.command("pins")
    def pins(as_json: bool = JSON) -> None:
        """The moments that were pinned."""
        with open_studio() as studio:
            found = studio.timeline.pins()
        if as_json:
            emit({"pins": [one.to_json() for one in found]})
            return
        if not found:
            say("No moment is pinned.")
            return
        now = time.time()
        table(("PIN", "TIME", "NOTE"), [(str(one.id), numbers.day_time(one.at, now), one.note) for one in found])

    @nouns.command("pin")
    def pin(
        when: str = typer.Argument("now", metavar="[TIME]", help="30m, 14:20, or an ISO time."),
        note: str = typer.Option("", "--note", help="What it is."),
    ) -> None:
        """Pin a moment, to find it again on the time axis."""
        at = _moment(when, time.time())
        with open_studio() as studio:
            made = studio.timeline.pin(at, note)
        say(f"pin {made.id} at {numbers.day_and_time(made.at)}")

    @nouns.command("unpin")
    def unpin(number: int = typer.Argument(..., metavar="PIN", min=1, help="Its number in `timeline pins`.")) -> None:
        """Take a pin away."""
        with open_studio() as studio:
            studio.timeline.unpin(number)
        say(f"pin {number} is gone")
