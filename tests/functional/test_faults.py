"""Faults: what cannot be drawn is said in its place, what ends the screens keeps what was being answered."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.geometry import Offset

from tests.functional.acting import told
from tests.functional.stage import Staged, snapshot, staged
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.tui.screens.recipes.field import FieldInput, FieldRow
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Pages, Prompt, Question, Sheet, Writing
from vllm_studio_tui.tui.sheets.starting import WhatToRun
from vllm_studio_tui.tui.terminal import textual_patches
from vllm_studio_tui.tui.terminal.faults import KEPT, Faults
from vllm_studio_tui.tui.widgets.canvas import ListCanvas


def reports(home: Path) -> list[Path]:
    return sorted((home / "state" / "faults").glob("*.txt"))


async def test_what_cannot_be_drawn_is_said_in_its_place_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.faults_expected = True
        canvas = stage.app.current.query(ListCanvas).first()
        before, canvas._painter = canvas._painter, lambda width, height: [][width]
        canvas.repaint()
        await stage.settle()
        assert "This part cannot be drawn: IndexError" in stage.text()
        canvas.repaint()
        assert len(reports(tmp_path)) == 1
        assert stat.S_IMODE(reports(tmp_path)[0].stat().st_mode) == 0o600
        assert "screen: dashboard" in reports(tmp_path)[0].read_text()
        await stage.press("6")
        assert stage.app.place_name == "logs"

        def broken() -> bool:
            raise KeyError("odd")

        view: Any = stage.app.current.one("#log")
        view.advance = broken
        view.redraw()
        await stage.settle()
        assert "This part cannot be drawn: KeyError" in stage.text()
        del view.advance
        view.redraw()
        await stage.press("1")
        canvas._painter = before
        canvas.repaint()
        await stage.settle()
        assert "cannot be drawn" not in stage.text()


async def test_work_of_a_page_that_fails_is_said_whoever_began_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path) as stage:
        stage.faults_expected = True

        def broken(wishes: object) -> None:
            raise KeyError("odd")

        monkeypatch.setattr(stage.studio.creating, "plan", broken)
        stage.app.open_page("create", "Qwen/Qwen3-32B")
        await stage.until(lambda: "This failed inside the studio: KeyError" in stage.text(), "it is said")
        assert "This could not be worked out." in stage.text()
        assert "looking" not in stage.text()
        assert len(reports(tmp_path)) == 1


async def test_what_fails_is_not_told_again_where_it_is_said_or_nobody_is_left(tmp_path: Path) -> None:
    async def refused() -> None:
        raise StudioError("nobody answers there")

    async with staged(tmp_path) as stage:
        sampler: Any = stage.studio.sampler
        sampler.show(replace(snapshot(tmp_path), stale=5.0))  # a studio elsewhere, of which the header says it
        await stage.until(lambda: stage.app.unheard, "the header says it")
        place: Any = stage.app.current
        place.run_worker(refused, exit_on_error=False)
        await stage.settle()
        assert stage.said == []
        await stage.press("?")
        dialog: Any = stage.app.screen
        dialog.run_worker(refused, exit_on_error=False)
        await told(stage, "nobody answers there")
        left = place.query_one("#ledger")
        await left.remove()

        async def late() -> None:
            left.query_one("#gone")

        stage.app.workers._new_worker(late, left, exit_on_error=False)
        await stage.settle()
        assert stage.said == []
        assert not stage.app.faults.errors


async def test_an_answer_in_progress_is_kept_when_the_screens_end_by_a_fault(tmp_path: Path) -> None:
    async def wait() -> None:
        await asyncio.sleep(3600)

    with pytest.raises(ZeroDivisionError):
        async with staged(tmp_path, place="chat", script=(Delta(content="half an answer"), wait)) as stage:
            stage.faults_expected = True
            await stage.type("q")
            await stage.pilot.press("enter")
            await stage.until(lambda: "half an answer" in stage.text(), "it answers")
            studio, app = stage.studio, stage.app
            app.call_later(lambda: 1 / 0)
            await stage.until(lambda: app.faults.ended_by is not None, "it ends")
    from vllm_studio_tui.studio import Studio

    with Studio.open_sync(studio.places) as again:
        sessions = again.chat.sessions.list()
        kept = [one.content for one in again.chat.messages.tree(sessions[0].id)]
    assert kept == ["q", "half an answer"]
    assert app.return_code == 1
    assert app._exit_renderables == []


def test_few_reports_are_kept_and_an_error_that_cannot_be_written_is_no_second_one(tmp_path: Path) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    faults = Faults(Places.under(tmp_path), {})
    for number in range(KEPT + 3):
        faults.report(Odd(number), {})
        faults.report(ValueError(number), {})
    assert len(reports(tmp_path)) == KEPT
    (tmp_path / "file").write_text("")
    assert "none could be written" in Faults(Places.under(tmp_path / "file"), {}).report(ValueError("x"), {})
    assert faults.words(Odd()) == "Odd"


async def test_the_log_of_another_run_may_be_shorter(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        every = {run.run_id: run for run in stage.app.snapshot.runs}  # type: ignore[union-attr]
        long, short = every["llama-3.3-70b-1"], every["qwen3-32b-1"]
        long.log.write_text("".join(f"INFO line {number}\n" for number in range(300)))
        short.log.write_text("INFO the only line\n")
        for run in (long, short, long, short):
            place: Any = await stage.app.show_place("logs")
            place._open(run)
            # It is drawn before the lines of the other log are there.
            stage.app.current.one("#log").refresh()
            await stage.pilot.pause()
            stage.app.current.one("#log").focus()
            await stage.settle()
        assert "the only line" in stage.text()


async def test_a_click_on_what_is_being_removed_ends_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        widget = stage.app.screen.query_one("#body")
        widget.ALLOW_SELECT = True  # type: ignore[misc]
        found = {"get_widget_and_offset_at": lambda x, y: (widget, Offset(0, 0))}
        parent, widget._parent = widget._parent, None
        vars(stage.app.screen).update(found)
        stage.app.post_message(events.MouseDown(None, 3, 0, 0, 0, 1, False, False, False, 3, 0))
        await stage.pilot.pause()
        widget._parent = parent
        for name in found:
            vars(stage.app.screen).pop(name)
        await stage.press("2")
        assert stage.app.place_name == "recipes"


async def test_a_key_for_a_field_that_is_being_removed_ends_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await stage.press("e")
        field = stage.app.focused
        assert isinstance(field, FieldInput)
        assert await stage.app.run_action("down", field)
        await stage.settle()
        await field.remove()
        for action in ("up", "down"):  # its key was pressed before
            assert not await stage.app.run_action(action, field)
        assert await stage.app.run_action("app.focus_next", field)
        await stage.press("2")
        assert stage.app._exception is None


async def burst(stage: Staged, *keys: str) -> None:
    """Keys that came in one piece: none is handled before the last was read."""
    for key in keys:
        stage.app.post_message(events.Key(key, key if len(key) == 1 else None))
    await stage.settle()


@pytest.mark.parametrize("kind", ["question", "esc", "chooser", "prompt", "writing"])
async def test_a_dialog_takes_one_answer_and_further_keys_of_the_burst_are_dropped(tmp_path: Path, kind: str) -> None:
    sheets: dict[str, tuple[Callable[[], Sheet], tuple[str, ...], str | None]] = {
        "question": (lambda: Question("q", "t", [Option("p", "paste")]), ("p", "p", "2"), "p"),
        "esc": (lambda: Question("q", "t", [Option("p", "paste")]), ("escape", "escape", "2"), None),
        "chooser": (lambda: Chooser([Choice("a", "a")]), ("enter", "enter", "2"), "a"),
        "prompt": (lambda: Prompt("t", "x"), ("enter", "enter", "2"), "x"),
        "writing": (lambda: Writing("t", "x"), ("f2", "f2", "2"), "x"),
    }
    made, keys, expected = sheets[kind]
    async with staged(tmp_path) as stage:
        answers: list[str | None] = []
        stage.app.push_screen(made(), answers.append)
        await stage.settle()
        await burst(stage, *keys)
        assert answers == [expected]
        assert len(stage.app.screen_stack) == 1
        assert stage.app.place_name == "dashboard", "the 2 of the burst opened another screen"
        await stage.press("2")
        assert stage.app.place_name == "recipes"


async def test_keys_that_open_a_list_and_choose_from_it_may_come_in_one_burst(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        answers: list[str | None] = []

        async def load() -> list[Choice]:
            return [Choice("a", "a")]

        stage.app.push_screen(Chooser((), title="t", load=load), answers.append)
        await burst(stage, "enter")
        await stage.until(lambda: answers == ["a"], "Enter was pressed before the list was there")


async def test_a_cursor_on_no_message_and_a_doctor_that_is_closed_early_end_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat") as stage:
        document: Any = stage.app.current.document  # type: ignore[attr-defined]
        document.current = -1
        assert document.message is None
        stage.app.action_doctor()
        await stage.pilot.pause()
        await stage.press("escape")
        await stage.settle()
        assert len(stage.app.screen_stack) == 1


@pytest.mark.parametrize("kind", ["question", "prompt", "writing", "pages", "chooser"])
async def test_a_dialog_that_is_closed_before_it_is_there_ends_nothing(tmp_path: Path, kind: str) -> None:
    textual_patches.early_removals()
    sheets: dict[str, Callable[[], Sheet]] = {
        "question": lambda: Question("q", "t", [Option("p", "paste")]),
        "prompt": lambda: Prompt("t", "x"),
        "writing": lambda: Writing("t", "x"),
        "pages": lambda: Pages(lambda ink, width: []),
        "chooser": lambda: Chooser([Choice("a", "a")]),
    }
    async with staged(tmp_path) as stage:
        answers: list[str | None] = []
        sheet = sheets[kind]()
        stage.app.push_screen(sheet, answers.append)
        sheet.dismiss()
        await stage.settle()
        assert stage.app._exception is None
        assert answers == [None]


async def test_a_form_that_is_drawn_while_its_rows_are_made_shows_them_when_they_are_there(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await stage.press("e")
        form: Any = stage.app.current.one("RecipeForm")
        made = form.show_section(form.section)
        coming = asyncio.ensure_future(made)
        for _ in range(40):
            form.repaint()
            await asyncio.sleep(0)
        await coming
        await stage.settle()
        rows = list(form.query(FieldRow))
        assert len(rows) > 2
        assert all(row._shown is not None for row in rows)


async def test_a_form_that_is_being_made_while_its_screen_is_shown_gets_the_focus_itself(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        place: Any = stage.app.current
        mount, begun = place.mount, asyncio.Event()

        def noticed(*widgets: Any) -> Any:
            begun.set()
            return mount(*widgets)

        place.mount = noticed
        opening = asyncio.ensure_future(place._open_form(None))
        await begun.wait()
        assert not place.form.query("FieldInput")
        await stage.app.show_place("recipes")
        await opening
        await stage.settle()
        assert isinstance(stage.app.focused, FieldInput)


async def test_a_part_that_was_being_made_when_the_person_left_is_no_fault(tmp_path: Path) -> None:
    """Textual mounts nothing any more once the app is to end, and tells the widget that it is mounted all the same."""
    async with staged(tmp_path) as stage:
        app = stage.app
        app.current.mount(WhatToRun(id="late"))  # it begins to be made with the next turn of the loop
        app.exit()
        for _ in range(3000):  # the pilot waits for nothing any more
            if app.is_running:
                await asyncio.sleep(0.01)
        assert app.faults.ended_by is None
        assert app.return_code == 0
