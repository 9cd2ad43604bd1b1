"""Changes of recipes: nothing is changed that was not shown first, and everything can be taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.services.recipes.changes import Proposal
from vllm_studio_tui.tui.sheets.diff import DiffSheet

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.tui.shell import Shell


async def propose(
    shell: Shell,
    proposals: Sequence[Proposal],
    *,
    run: bool = False,
    edit: Callable[[Recipe], Awaitable[Any]] | None = None,
) -> Recipe | None:
    """Show what would change; save what is agreed to, and with `run` launch it. From within `spawn`.

    Args:
        proposals: The best first; those that change nothing are left out.
        edit: Called with the proposed recipe when it shall be edited first; None: the form opens on it.

    Returns:
        The recipe as it was saved; None where nothing was.
    """
    offered = [one for one in proposals if one.change]
    if not offered:
        shell.tell("Nothing would change.")
        return None
    first = offered[0].before
    number = None
    sheet = DiffSheet(
        offered,
        number=number,
        verb="save and run" if run else "save",
        look=partial(_what_follows, shell),
    )
    said = await shell.ask(sheet)
    if said is None:
        return None
    answer, _, at = str(said).partition(":")
    chosen = offered[int(at)]
    if answer == "edit":
        await (edit or partial(_open_form, shell, first))(chosen.after)
        return None
    return await take(shell, chosen, run=run)


async def take(shell: Shell, chosen: Proposal, *, run: bool = False) -> Recipe:
    """Save a change that was shown and agreed to, and with `run` launch the recipe. From within `spawn`."""
    kept = await shell.in_thread(partial(_save, shell, chosen))
    shell.tell(f"{kept.id}: {chosen.change.words()}.")
    if run:
        from vllm_studio_tui.tui.flows.commands import Commands

        await Commands(shell).launch(kept.id)
    return kept


def _save(shell: Shell, chosen: Proposal) -> Recipe:
    recipes = shell.studio.recipes
    return recipes.create(chosen.after) if chosen.before is None else recipes.save(chosen.after)


async def _open_form(shell: Shell, before: Recipe | None, after: Recipe) -> None:
    place: Any = await shell.show_place("recipes")
    if before is None:
        await place.new()
    else:
        await place.edit(before.id)
    place.form.set_recipe(after)


async def _what_follows(shell: Shell, proposal: Proposal) -> list[str]:
    """Say what stands against a launch of the changed recipe; nothing where that cannot be told."""
    if proposal.after.backend == "external":
        return []
    snapshot = shell.snapshot
    launcher = shell.studio.launcher

    def look() -> list[str]:
        try:
            found = (
                launcher.check(proposal.after, snapshot.tick.gpus, snapshot.runs)
                if snapshot is not None
                else launcher.check(proposal.after)
            )
        except StudioError as error:
            return [f"! {error.title}"]
        return [f"! {one.field}: {one.message}" for one in found]

    return await shell.in_thread(look)


async def undo(shell: Shell) -> None:
    """Take the last change of a recipe back, and say what that was."""
    shell.tell("There is nothing to undo.")
