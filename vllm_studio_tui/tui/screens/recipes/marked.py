"""What is done with several recipes at once, those that are marked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.services.recipes.changes import Change, compare
from vllm_studio_tui.tui.paint.diff import diff_rows
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.sheets.dialogs import Option, Pages, Question

if TYPE_CHECKING:
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.shell import Shell

#: Names that a question lists.
NAMED = 8


async def run_all(commands: Commands, ids: Sequence[str]) -> bool:
    """Launch recipes one after the other, after asking; return whether all were launched.

    Those that run already are left alone.
    """
    live = {run.recipe_id for run in commands.runs if run.live}
    wanted = [recipe_id for recipe_id in ids if recipe_id not in live]
    if not wanted:
        commands.shell.tell("All of them run already.")
        return False
    answer = await commands.shell.ask(
        Question(f"Run {_count(wanted)}?", _names(wanted), [Option("r", "run them, one after the other")], "run none")
    )
    if answer is None:
        return False
    for recipe_id in wanted:
        if await commands.launch(recipe_id) is None:
            return False  # a question was answered with no
    return True


async def delete_all(commands: Commands, ids: Sequence[str]) -> bool:
    """Delete recipes after asking, all of them as one change; return whether that was done."""
    shell = commands.shell
    live = [run.name for run in commands.runs if run.live and run.recipe_id in ids]
    if live:
        shell.tell(f"{_names(live)} {'is' if len(live) == 1 else 'are'} running: stop that first.", "warning")
        return False
    answer = await shell.ask(
        Question(
            f"Delete {_count(ids)}?",
            f"{_names(ids)}\nTheir runs, what they used and their revisions stay; undo brings all of them back.",
            [Option("d", "delete them")],
            "keep them",
        )
    )
    if answer is None:
        return False
    await shell.in_thread(partial(shell.studio.recipes.delete_all, tuple(ids)))
    shell.tell(f"{_count(ids)} are deleted.")
    return True


async def compare_two(shell: Shell, first: str, second: str) -> None:
    """Show what differs between two recipes."""
    recipes = shell.studio.recipes
    change = await shell.in_thread(lambda: compare(recipes.get(first), recipes.get(second)))
    await shell.ask(Pages(partial(_difference, first, second, change)))


def _difference(first: str, second: str, change: Change, ink: Ink, width: int) -> list[Row]:
    rows = [Row(), Row(), Row(), Row()]
    rows[1].run(2, [("- ", "err"), (first, "fg bold")])
    rows[2].run(2, [("+ ", "ok"), (second, "fg bold")])
    fields = [one for one in change.fields if one.path[0] not in ("id", "name")]
    if not fields:
        rows[3].put(2, "They differ in their names only.", "dim")
    return [*rows, *diff_rows(fields, 2, width - 4)]


def _count(ids: Sequence[str]) -> str:
    return f"{len(ids)} {'recipe' if len(ids) == 1 else 'recipes'}"


def _names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
