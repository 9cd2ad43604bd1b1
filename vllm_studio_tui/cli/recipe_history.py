"""`recipes history`, `restore`, `undo`: the forms that a recipe had, and the way back to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say, table

if TYPE_CHECKING:
    from vllm_studio_tui.services.recipes.changes import Change

JSON = typer.Option(False, "--json", help="One JSON document.")
DRY_RUN = typer.Option(False, "--dry-run", help="Only say what would change.")


def show_change(change: Change) -> None:
    """Print a change as a diff, secrets masked."""
    width = max((len(one.field) for one in change.fields), default=0)
    for one in change.fields:
        old, new = one.texts()
        for sign, lines in (("-", old), ("+", new)):
            for index, line in enumerate(lines):
                say(f"{sign} {one.field if index == 0 else '':<{width}}  {line}".rstrip())


def register(nouns: typer.Typer) -> None:
    @nouns.command("history")
    def history(recipe_id: str = typer.Argument(..., metavar="ID"), as_json: bool = JSON) -> None:
        """The revisions of a recipe, also of a deleted one, and what each changed; the latest first."""
        from vllm_studio_tui.kit.numbers import day_and_time

        with open_studio() as studio:
            found = studio.recipes.revisions(recipe_id)
        if as_json:
            emit({"recipe": recipe_id, "revisions": [one.to_json() for one in found]})
            return
        table(
            ["REVISION", "WHEN", "REASON", "CHANGED"],
            [
                [str(one.number), day_and_time(one.at), one.reason, "–" if one.change is None else one.change.words()]
                for one in found
            ],
        )

    @nouns.command("restore")
    def restore(
        recipe_id: str = typer.Argument(..., metavar="ID"),
        number: int = typer.Argument(..., metavar="REVISION"),
        dry_run: bool = DRY_RUN,
    ) -> None:
        """Make a recipe what it was in an earlier revision, also a deleted one."""
        from vllm_studio_tui.domain.errors import NotFound
        from vllm_studio_tui.services.recipes.changes import compare

        with open_studio() as studio:
            wanted = studio.recipes.revision(recipe_id, number).recipe()
            try:
                before = studio.recipes.get(recipe_id)
            except NotFound:
                before = None
            change = compare(before, wanted)
            if change and not dry_run:
                studio.recipes.restore(recipe_id, number)
        show_change(change)
        if not change:
            say(f"{recipe_id} is as it was in revision {number}: nothing to do")
        else:
            say(f"{'would bring' if dry_run else 'brought'} revision {number} of {recipe_id} back")

    @nouns.command("undo")
    def undo(dry_run: bool = DRY_RUN, as_json: bool = JSON) -> None:
        """Take the last change of recipes back, also a delete; again: the one before it."""
        with open_studio() as studio:
            found = studio.recipes.last_change() if dry_run else studio.recipes.undo()
        if as_json:
            emit(found.to_json() if found is not None else {"undone": None, "at": None, "recipes": []})
            return
        if found is None:
            say("There is nothing to undo.")
            return
        for one in found.changes:
            if not one.created and not one.deleted:
                show_change(one)
        say(f"{'would undo' if dry_run else 'undone'}, {found.reason}: {found.words()}")
