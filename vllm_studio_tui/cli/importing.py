"""`import`: all that the original vllm-studio kept, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.cli.recipe_reports import show_report
from vllm_studio_tui.kit.local_time import date_of, day_of
from vllm_studio_tui.kit.numbers import count, duration
from vllm_studio_tui.kit.sanitize import clean_line

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat_imports import ImportedChats
    from vllm_studio_tui.domain.usage_imports import LogImport, UsageImport

JSON = typer.Option(False, "--json", help="One JSON document.")


def register(app: typer.Typer) -> None:
    @app.command("import")
    def import_(
        path: str = typer.Argument(
            ..., metavar="PATH", help="The original's data directory or a database of it; LiteLLM's logs."
        ),
        dry_run: bool = typer.Option(False, "--dry-run", help="Keep nothing; say what would be taken in."),
        replace: bool = typer.Option(
            False, "--replace/--keep-both", help="What becomes of a recipe that is there with other content."
        ),
        as_json: bool = JSON,
    ) -> None:
        """Take over recipes, chats, best speeds and totals of the original vllm-studio; nothing of it is changed.

        Also the spend logs of a LiteLLM: JSON of its API, CSV, a dump of its Postgres. A second time only what is new
        comes in.
        """
        from vllm_studio_tui.services.original import find_databases, take_in

        files = find_databases(path)
        with open_studio() as studio:
            reports = take_in(studio, files, dry_run=dry_run, replace=replace)
        if as_json:
            emit({"dry_run": dry_run, "files": [one.to_json() for one in reports]})
        else:
            for one in reports:
                say(f"{one.name}:")
                if one.recipes is not None:
                    show_report(one.recipes, dry_run=dry_run)
                if one.chats is not None:
                    _show_chats(one.chats, dry_run=dry_run)
                if one.usage is not None:
                    _show_usage(one.usage, dry_run=dry_run)
                if one.logs is not None:
                    _show_logs(one.logs, dry_run=dry_run)
                if not any((one.recipes, one.chats, one.usage, one.logs, one.failed)):
                    say("nothing in it to take over")
        for one in reports if not as_json else ():
            for words in one.notes:
                note(clean_line(f"note: {one.name}: {words}", limit=400))
            for words in one.failed:
                note(clean_line(f"{one.name}: {words}", limit=400))
        if any(one.failed or (one.recipes is not None and one.recipes.failed) for one in reports):
            raise SystemExit(1)


def _show_chats(found: ImportedChats, *, dry_run: bool) -> None:
    for one in found.taken:
        say(
            f"{'new' if dry_run else f'imported {one.id}'}  {clean_line(one.title, limit=60)} ({one.messages} messages)"
        )
    for more in found.grown:
        say(f"went on {more.session.id}  {clean_line(more.session.title, limit=60)} ({more.words})")
    if found.known:
        say(f"{len(found.known)} {'chat is' if len(found.known) == 1 else 'chats are'} here already")


def _show_usage(found: UsageImport, *, dry_run: bool) -> None:
    verb = "would be" if dry_run else "are"
    if found.models:
        better = f"those of {len(found.peaks)} are better than what was known" if found.peaks else "none is better"
        say(f"best speeds of {found.models} {'model' if found.models == 1 else 'models'}: {better}")
    if not found.has_totals:
        return
    added = found.added
    parts = [
        f"{count(added[name])} {words}"
        for name, words in (("tokens_total", "tokens"), ("requests_total", "requests"), ("energy_wh", "Wh"))
        if added.get(name)
    ]
    if added.get("uptime_seconds"):
        parts.append(f"{duration(added['uptime_seconds'])} of running")
    if parts:
        say(f"{', '.join(parts)} {verb} added to the totals over all time")
    else:
        say("its totals were taken over before: nothing to add")


def _show_logs(found: LogImport, *, dry_run: bool) -> None:
    verb = "would be taken in" if dry_run else "taken in"
    span = ""
    if found.since is not None and found.until is not None:
        first, last = date_of(day_of(found.since)), date_of(day_of(found.until))
        span = f", of {first}" if first == last else f", from {first} to {last}"
    say(f"{verb}: {_requests(found.requests)} with {count(found.tokens)} tokens{span}")
    for number, words in (
        (found.known, "here already"),
        (found.ours, "recorded here when they were made, and left out"),
        (found.from_cache, "answered from LiteLLM's own cache, and left out"),
        (found.unreadable, "without a time or an id, and left out"),
        (found.of_runs, "answered by runs here, whose engines' counters count"),
    ):
        if number:
            say(f"{_requests(number)} {words}")
    table(("FIELD", "WHAT BECOMES OF IT"), [(clean_line(name), words) for name, words in found.fields.items()])


def _requests(number: int) -> str:
    return f"{count(number)} request{'' if number == 1 else 's'}"
