"""Engines that the studio did not start, to inspect, attach or stop, and processes that killed engines left behind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.runs.foreign import Foreign, Orphan
from vllm_studio_tui.tui.paint.run_words import backend_word
from vllm_studio_tui.tui.paint.table import Column
from vllm_studio_tui.tui.sheets.dialogs import Option, Question
from vllm_studio_tui.tui.sheets.table import TableSheet
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell


async def foreign_engines(shell: Shell) -> None:
    """Ask for an engine that the studio did not start and for what to do with it, and do that."""
    runs = shell.studio.runs
    found, orphans = await shell.in_thread(lambda: (runs.foreign(), runs.orphans()))
    if not found and not orphans:
        shell.tell("No engine runs here that the studio did not start.")
        return
    looks = shell.ink.glyphs
    columns: tuple[Column[Foreign | Orphan], ...] = (
        Column("model", lambda one: [(_name(one), "fg")], 16, grow=1, order=_name),
        Column("engine", lambda one: [(_kind(one), "dim")], 9, grow=2, drop=2, order=_kind),
        Column("port", lambda one: [(_port(one) or looks.unknown, "fg" if _port(one) else "faint")], 5, right=True),
        Column("user", lambda one: [(one.user, "dim")], 6, grow=3, drop=1, order=lambda one: one.user),
        Column("pid", lambda one: [(str(one.pid), "fg")], 5, right=True, drop=3, order=lambda one: one.pid),
    )
    table: Table[Foreign | Orphan] = Table(
        columns,
        lambda: shell.ink,
        lambda: shell.size_class,
        title="ENGINES OF OTHERS",
        key=lambda one: str(one.pid),
        words=lambda one: f"{_name(one)} {_kind(one)} {_port(one)} {one.user} {one.pid}",
        rank_words="the studio did not start them",
        plane="panel",
        id="foreign",
    )
    answer = await shell.ask(TableSheet(table, [*found, *orphans], [Option("enter", "attach or stop it")]))
    if answer is None:
        return
    pid = str(answer).partition(":")[2]
    engine = next((engine for engine in found if str(engine.pid) == pid), None)
    if engine is not None:
        await _engine(shell, engine)
    else:
        await _orphans(shell, orphans)


def _name(one: Foreign | Orphan) -> str:
    return one.title if isinstance(one, Orphan) else one.model or backend_word(one.backend)


def _kind(one: Foreign | Orphan) -> str:
    return "left behind" if isinstance(one, Orphan) else backend_word(one.backend)


def _port(one: Foreign | Orphan) -> str:
    return "" if isinstance(one, Orphan) or one.port is None else str(one.port)


async def _engine(shell: Shell, engine: Foreign) -> None:
    where = f"It listens at {engine.base_url}." if engine.base_url else "Its port is not known."
    question = Question(
        f"{backend_word(engine.backend)} {engine.model or ''}".strip(),
        f"Process {engine.pid} of {engine.user}; the studio did not start it. {where}",
        [
            Option("a", "attach it, as an external recipe"),
            Option("r", "make a recipe that starts the same"),
            Option("s", "stop it"),
        ],
        "leave it",
    )
    answer = await shell.ask(question)
    if answer == "a":
        recipe = await shell.in_thread(lambda: shell.studio.recipes.attach(engine))
        shell.tell(f"{recipe.id} is {recipe.base_url}: c chats with it.")
    elif answer == "r":
        place: Any = await shell.show_place("recipes")
        await place.import_from("running", str(engine.pid))
    elif answer == "s":
        sure = Question(
            f"Stop {engine.model or backend_word(engine.backend)} of {engine.user}?",
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
