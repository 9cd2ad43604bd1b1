"""Engines that the studio did not start, to inspect, attach or stop, and processes that killed engines left behind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

if TYPE_CHECKING:
    from vllm_studio_tui.runs.foreign import Foreign, Orphan
    from vllm_studio_tui.tui.shell import Shell


async def foreign_engines(shell: Shell) -> None:
    """Ask for an engine that the studio did not start and for what to do with it, and do that."""
    runs = shell.studio.runs
    found, orphans = await shell.in_thread(lambda: (runs.foreign(), runs.orphans()))
    if not found and not orphans:
        shell.tell("No engine runs here that the studio did not start.")
        return
    choices = [
        Choice(str(one.pid), one.model or one.backend, f"{one.backend}{_port(one)}, {one.user}, pid {one.pid}")
        for one in found
    ]
    choices += [Choice(str(one.pid), one.title, f"left behind, {one.user}, pid {one.pid}") for one in orphans]
    answer = await shell.ask(Chooser(choices, title="engines of others"))
    if answer is None:
        return
    engine = next((one for one in found if str(one.pid) == answer), None)
    if engine is not None:
        await _engine(shell, engine)
    else:
        await _orphans(shell, orphans)


async def _engine(shell: Shell, one: Foreign) -> None:
    where = f"It listens at {one.base_url}." if one.base_url else "Its port cannot be told."
    question = Question(
        f"{one.backend} {one.model or ''}".strip(),
        f"Process {one.pid} of {one.user}; the studio did not start it. {where}",
        [Option("a", "attach it, as an external recipe"), Option("s", "stop it")],
        "leave it",
    )
    answer = await shell.ask(question)
    if answer == "a":
        recipe = await shell.in_thread(lambda: shell.studio.recipes.attach(one))
        shell.tell(f"{recipe.id} is {recipe.base_url}: c chats with it.")
    elif answer == "s":
        sure = Question(
            f"Stop {one.model or one.backend} of {one.user}?",
            "Whoever uses it is cut off, and the studio cannot start it again.",
            [Option("s", "stop it")],
            "leave it",
        )
        if await shell.ask(sure) == "s":
            shell.tell(f"Stopping process {one.pid}.")
            await shell.in_thread(lambda: shell.studio.runs.end_foreign(one))
            shell.tell(f"Process {one.pid} has ended.")


async def _orphans(shell: Shell, orphans: list[Orphan]) -> None:
    names = ", ".join(f"{one.title} ({one.pid})" for one in orphans[:6])
    question = Question(
        f"End {len(orphans)} processes that were left behind?",
        f"{names}. Their engine was killed; they serve nobody and hold memory.",
        [Option("e", "end them")],
        "leave them",
    )
    if await shell.ask(question) == "e":
        for one in orphans:
            await shell.in_thread(partial(shell.studio.runs.end_foreign, one, grace=2.0))
        shell.tell(f"{len(orphans)} processes have ended.")


def _port(one: Foreign) -> str:
    return f" :{one.port}" if one.port else ""
