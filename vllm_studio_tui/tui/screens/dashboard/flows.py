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
        Choice(
            str(engine.pid),
            engine.model or engine.backend,
            f"{engine.backend}{_port(engine)}, {engine.user}, pid {engine.pid}",
        )
        for engine in found
    ]
    choices += [
        Choice(str(orphan.pid), orphan.title, f"left behind, {orphan.user}, pid {orphan.pid}") for orphan in orphans
    ]
    answer = await shell.ask(Chooser(choices, title="engines of others"))
    if answer is None:
        return
    engine = next((engine for engine in found if str(engine.pid) == answer), None)
    if engine is not None:
        await _engine(shell, engine)
    else:
        await _orphans(shell, orphans)


async def _engine(shell: Shell, engine: Foreign) -> None:
    where = f"It listens at {engine.base_url}." if engine.base_url else "Its port cannot be told."
    question = Question(
        f"{engine.backend} {engine.model or ''}".strip(),
        f"Process {engine.pid} of {engine.user}; the studio did not start it. {where}",
        [Option("a", "attach it, as an external recipe"), Option("s", "stop it")],
        "leave it",
    )
    answer = await shell.ask(question)
    if answer == "a":
        recipe = await shell.in_thread(lambda: shell.studio.recipes.attach(engine))
        shell.tell(f"{recipe.id} is {recipe.base_url}: c chats with it.")
    elif answer == "s":
        sure = Question(
            f"Stop {engine.model or engine.backend} of {engine.user}?",
            "Whoever uses it is cut off, and the studio cannot start it again.",
            [Option("s", "stop it")],
            "leave it",
        )
        if await shell.ask(sure) == "s":
            shell.tell(f"Stopping process {engine.pid}.")
            await shell.in_thread(lambda: shell.studio.runs.end_foreign(engine))
            shell.tell(f"Process {engine.pid} has ended.")


async def _orphans(shell: Shell, orphans: list[Orphan]) -> None:
    names = ", ".join(f"{orphan.title} ({orphan.pid})" for orphan in orphans[:6])
    question = Question(
        f"End {len(orphans)} processes that were left behind?",
        f"{names}. Their engine was killed; they serve nobody and hold memory.",
        [Option("e", "end them")],
        "leave them",
    )
    if await shell.ask(question) == "e":
        for orphan in orphans:
            await shell.in_thread(partial(shell.studio.runs.end_foreign, orphan, grace=2.0))
        shell.tell(f"{len(orphans)} processes have ended.")


def _port(engine: Foreign) -> str:
    return f" :{engine.port}" if engine.port else ""
