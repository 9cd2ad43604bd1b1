"""Changes of recipes: nothing is changed that was not shown first, and everything can be taken back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import InvalidRecipe, StoreError, StudioError
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.recipes.changes import Proposal
from vllm_studio_tui.tui.flows.commands import Commands
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question
from vllm_studio_tui.tui.sheets.diff import DiffSheet

if TYPE_CHECKING:
    from vllm_studio_tui.domain.chat import Session
    from vllm_studio_tui.domain.chat_marks import Removed
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.recipes.revisions import Undoing
    from vllm_studio_tui.tui.shell import Shell

#: Seconds after which a change is no longer what a person has just done: taking it back is asked about.
RECENT = 3600.0


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
    again = run and any(runs_now(shell, one.after.id) for one in proposals)  # as it is said, and agreed to
    agreed = await agree(shell, proposals, run=run)
    if agreed is None:
        return None
    answer, chosen = agreed
    if answer == "edit":
        await (edit or partial(_open_form, shell, chosen.before))(chosen.after)
        return None
    return await take(shell, chosen, run=run, instead=again)


async def take(shell: Shell, chosen: Proposal, *, run: bool = False, instead: bool = False) -> Recipe:
    """Save a change that was shown and agreed to, and with `run` launch the recipe. From within `spawn`.

    Args:
        instead: That its own run is stopped for it was agreed to.
    """
    kept = await save(shell, chosen)
    if run:
        await Commands(shell).launch(kept.id, instead=instead)
    return kept


def runs_now(shell: Shell, recipe_id: str) -> bool:
    """Return whether a recipe has a live run."""
    runs = shell.snapshot.runs if shell.snapshot is not None else ()
    return any(run.live and run.recipe_id == recipe_id for run in runs)


async def agree(
    shell: Shell,
    proposals: Sequence[Proposal],
    *,
    verb: str = "save",
    run: bool = False,
    edit: str = "edit first",
    keep: str = "leave it",
) -> tuple[str, Proposal] | None:
    """Show what would change and return `take` or `edit` with the proposal; None: no. Nothing is saved.

    Args:
        verb, edit, keep: What enter, `e` and escape do; an empty `edit` is not offered.
        run: It is launched then; in place of its run, where it has one.
    """
    offered = [one for one in proposals if one.change]
    if not offered:
        shell.tell("Nothing would change.")
        return None
    first = offered[0].before
    number = await shell.in_thread(lambda: shell.studio.recipes.number(first)) if first is not None else None
    look = partial(_what_follows, shell, run)
    if run:
        verb = "save and run in its place" if runs_now(shell, offered[0].after.id) else "save and run"
    said = await shell.ask(DiffSheet(offered, number=number, verb=verb, edit=edit, keep=keep, look=look))
    if said is None:
        return None
    answer, _, at = str(said).partition(":")
    return answer, offered[int(at)]


async def save(shell: Shell, chosen: Proposal) -> Recipe:
    """Save what was agreed to, and say what it changed.

    Raises:
        UsageError: The recipe was changed meanwhile.
    """
    recipes = shell.studio.recipes
    reason = chosen.reason or chosen.title

    def keep() -> Recipe:
        if chosen.before is None:
            return recipes.create(chosen.after, reason=reason or "new")
        return recipes.save(chosen.after, reason=reason or "edit", before=chosen.before)

    kept = await shell.in_thread(keep)
    key = undo_key(shell)
    shell.tell(f"{kept.id} is saved: {chosen.change.words(3)}" + (f"\n{key} takes it back." if key else ""))
    shell.recipes_changed()
    return kept


def undo_key(shell: Shell) -> str:
    """Return the key that takes the last change back, as it is drawn; empty without one."""
    from vllm_studio_tui.tui.keys.actions import keys_text

    return keys_text(shell.keys_of("app.undo"), 1)


async def _open_form(shell: Shell, before: Recipe | None, after: Recipe) -> None:
    """Open the form on a recipe, with what was proposed as changes that are not saved yet."""
    place: Any = await shell.show_place("recipes")
    if before is None:
        await place.new()
    else:
        await place.edit(before.id)
    place.form.set_recipe(after)


async def _what_follows(shell: Shell, run: bool, proposal: Proposal) -> list[str]:
    """Say what a changed recipe means for its run, and what stands against a launch of it."""
    if proposal.after.backend == "external":
        return []
    snapshot, launcher = shell.snapshot, shell.studio.launcher
    notes = []
    runs = snapshot.runs if snapshot is not None else ()
    if proposal.change.launched and runs_now(shell, proposal.after.id):
        follows = "it is stopped, and launched again" if run else "this counts from its next start"
        notes.append(f"It runs now, as it was: {follows}.")

    def look() -> list[str]:
        try:
            gpus = snapshot.tick.gpus if snapshot is not None else None
            found = launcher.check(proposal.after, gpus, runs if snapshot is not None else None)
        except StudioError as error:
            return [f"! {error.title}"]
        said = [f"! {one.field}: {one.message}" for one in found]
        for one_run in runs:  # a person knows it by its name
            said = [one.replace(one_run.run_id, one_run.name) for one in said]
        return said

    return notes + await shell.in_thread(look)


# --- taking back ---------------------------------------------------------------------------------------------------


async def undo(shell: Shell) -> None:
    """Take the last change back: of a recipe, a dismissed run, a deleted chat or message. Again: the one before it."""
    studio = shell.studio
    last, dismissed, chat, removed = await shell.in_thread(
        lambda: (
            studio.recipes.last_change(),
            studio.runs.last_dismissed(),
            _last_deleted_chat(shell),
            _last_removed(shell),
        )
    )
    others = max(last.at if last else 0, dismissed[1] if dismissed else 0)
    if removed is not None and removed[1] >= max(others, chat[1] if chat else 0):
        await _bring_messages_back(shell, *removed)
    elif chat is not None and chat[1] >= others:
        await _bring_chat_back(shell, *chat)
    elif dismissed is not None and (last is None or dismissed[1] > last.at):
        await _show_again(shell, *dismissed)
    elif last is not None:
        await _undo_change(shell, last)
    else:
        shell.tell("There is nothing to undo.")


async def _undo_change(shell: Shell, last: Undoing) -> None:
    runs = shell.snapshot.runs if shell.snapshot is not None else ()
    gone = {one.recipe_id for one in last.changes if one.deleted}
    live = next((run for run in runs if run.live and run.recipe_id in gone), None)
    if live is not None:
        shell.tell(f"To undo this would delete {live.recipe_id}, which is {live.state}: stop it first.", "warning")
        return
    if not await _still_meant(shell, last.at, last.reason, last.words()):
        return
    undone = await shell.in_thread(shell.studio.recipes.undo)
    if undone is not None:
        shell.tell(f"Taken back: {undone.words()}")
        shell.recipes_changed()


def _last_deleted_chat(shell: Shell) -> tuple[Session, float] | None:
    with contextlib.suppress(StoreError):  # without its database, the rest can still be undone
        chat = shell.studio.chats.last_trashed()
        at = numbers.when(chat.deleted_at) if chat is not None and chat.deleted_at else None
        return (chat, at) if chat is not None and at is not None else None
    return None


async def _bring_chat_back(shell: Shell, chat: Session, at: float) -> None:
    title = clean_line(chat.title or "New chat", limit=60)
    if await _still_meant(shell, at, "a chat was deleted", title):
        await shell.in_thread(lambda: shell.studio.chats.restore(chat.id))
        shell.recipes_changed()
        shell.tell(f"Taken back: the chat {title} is here again.")


def _last_removed(shell: Shell) -> tuple[Removed, float] | None:
    with contextlib.suppress(StoreError):
        removed = shell.studio.chats.marks.last_removed()
        at = numbers.when(removed.at) if removed is not None else None
        return (removed, at) if removed is not None and at is not None else None
    return None


async def _bring_messages_back(shell: Shell, removed: Removed, at: float) -> None:
    words = clean_line(removed.first, limit=60)
    if await _still_meant(shell, at, "a message was taken away", words):
        count = await shell.in_thread(lambda: shell.studio.chats.marks.bring_back(removed))
        shell.recipes_changed()
        shell.tell(f"Taken back: {count} {'message is' if count == 1 else 'messages are'} here again.")


async def _show_again(shell: Shell, run: RunView, at: float) -> None:
    if await _still_meant(shell, at, "dismissed", f"{run.name} {run.status.title or run.state}"):
        await shell.in_thread(lambda: shell.studio.runs.show_again(run))
        shell.studio.sampler.wake()
        shell.tell(f"Taken back: {run.name} is shown again.")


async def _still_meant(shell: Shell, at: float, what: str, words: str) -> bool:
    """Ask, where a change is so old that nobody may remember it."""
    now = time.time()
    if now - at < RECENT:
        return True
    title = f"Undo what was done {numbers.ago(at, now)}?"
    return bool(await shell.ask(Question(title, f"{what}\n{words}", [Option("u", "undo it")], "leave it")))


async def bring_back(shell: Shell, recipe_id: str) -> Recipe | None:
    """Choose an earlier revision of a recipe, and show what bringing it back would change."""
    recipes = shell.studio.recipes
    found = await shell.in_thread(lambda: recipes.revisions(recipe_id))
    earlier = [one for one in found[1:] if one.data is not None]
    if not earlier:
        shell.tell(f"{recipe_id} has no earlier revision.")
        return None
    choices = [
        Choice(
            str(one.number),
            f"{one.number}  {numbers.day_and_time(one.at)}  {one.reason}",
            one.change.words(2) if one.change is not None else "",
        )
        for one in earlier
    ]
    said = await shell.ask(Chooser(choices, title=f"bring back a revision of {recipe_id}"))
    if said is None:
        return None
    chosen = next(one for one in earlier if str(one.number) == said)
    try:
        after = chosen.recipe()
    except InvalidRecipe as error:
        shell.tell(f"Revision {chosen.number} can no longer be read: {error.cause}", "warning")
        return None
    before = await shell.in_thread(lambda: recipes.get(recipe_id))
    words = f"revision {chosen.number} brought back"
    return await propose(shell, [Proposal(before, after, f"Bring revision {chosen.number} back", reason=words)])
