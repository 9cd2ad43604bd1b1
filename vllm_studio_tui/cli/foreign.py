"""`foreign`: engines that the studio did not start, and what killed ones left behind."""

from __future__ import annotations

import sys

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say, table
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError

JSON = typer.Option(False, "--json", help="One JSON document.")
YES = typer.Option(False, "--yes", "-y", help="Without asking.")


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Engines that the studio did not start.", no_args_is_help=True)
    app.add_typer(nouns, name="foreign")

    @nouns.command("list")
    def listing(as_json: bool = JSON) -> None:
        """Engines of others, and orphans: parts of an engine whose leader was killed, which still hold memory."""
        with open_studio() as studio:
            found, orphans = studio.runs.foreign(), studio.runs.orphans()
        if as_json:
            emit({"foreign": [one.to_json() for one in found], "orphans": [one.to_json() for one in orphans]})
            return
        if found:
            rows = [[str(one.pid), one.user, one.backend, one.model or "–", str(one.port or "–")] for one in found]
            table(("PID", "USER", "ENGINE", "MODEL", "PORT"), rows, right=(0, 4))
            note("talk to one as a recipe: vllm-studio foreign attach PID")
        if orphans:
            table(("PID", "USER", "LEFT BEHIND"), [[str(one.pid), one.user, one.title] for one in orphans], right=(0,))
            note("end them: vllm-studio foreign clean")
        if not found and not orphans:
            say("No engine runs here that the studio did not start.")

    @nouns.command("attach")
    def attach(
        pid: int = typer.Argument(..., help="Its process."),
        recipe_id: str | None = typer.Argument(None, metavar="[ID]", help="Of the recipe; otherwise from its model."),
    ) -> None:
        """Keep it as an external recipe: it can be chatted with, and is never started or stopped."""
        with open_studio() as studio:
            recipe = studio.recipes.attach(studio.runs.foreign_of(pid), recipe_id)
        say(f"{recipe.id} is {recipe.base_url}")

    @nouns.command("stop")
    def stop(pid: int = typer.Argument(..., help="Its process."), yes: bool = YES) -> None:
        """End an engine of somebody else, with its workers."""
        with open_studio() as studio:
            one = studio.runs.foreign_of(pid)
            _confirm(f"Stop {one.backend} {one.model or ''} of {one.user} (process {pid})?", yes)
            studio.runs.end_foreign(one)
        say(f"{pid} has ended")

    @nouns.command("clean")
    def clean(yes: bool = YES) -> None:
        """End orphans: parts of engines that were killed and that still hold memory."""
        with open_studio() as studio:
            orphans = studio.runs.orphans()
            if not orphans:
                say("Nothing was left behind.")
                return
            _confirm(f"End {len(orphans)} processes: {', '.join(f'{one.pid} {one.title}' for one in orphans)}?", yes)
            failed = []
            for one in orphans:
                try:
                    studio.runs.end_foreign(one, grace=2.0)
                    say(f"{one.pid} {one.title} has ended")
                except StudioError as error:
                    failed.append(error)
            if failed:
                raise failed[0]


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this must be confirmed", advice="Use --yes where nobody can be asked.")
    if not typer.confirm(question, err=True):
        raise NotFound("nothing was done")
