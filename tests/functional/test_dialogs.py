"""Dialogs have a layout for every size; Enter never means what loses work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.acting import cursor
from tests.functional.stage import Staged, staged
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Pages, Prompt, Question, Sheet, Writing

STOP = [Option("w", "stop when the 36 are done", gentle=True), Option("s", "stop now, cuts them off")]
LONG = "36 requests run. " + "Loading it again takes about a minute. " * 8
CHOICES = [Choice(name, name, "dark") for name in ("ansi", "contrast", "paper", "slate")]


async def show(stage: Staged, sheet: Sheet) -> list[str | None]:
    answers: list[str | None] = []
    stage.app.push_screen(sheet, answers.append)
    await stage.settle()
    return answers


async def close(stage: Staged) -> None:
    await stage.press("escape")
    assert len(stage.app.screen_stack) == 1


@pytest.mark.parametrize("size", [(160, 45), (80, 24), (60, 15), (40, 6), (24, 5)])
async def test_every_dialog_shows_what_is_asked_and_its_keys_at_every_size(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    def lines() -> Callable[[], Pages]:
        from vllm_studio_tui.tui.paint.ink import Ink, Row

        def paint(ink: Ink, width: int) -> list[Row]:
            rows = [Row() for _ in range(90)]
            for at, row in enumerate(rows):
                row.put(0, f"line {at}")
            return rows

        return lambda: Pages(paint)

    made: list[tuple[Callable[[], Sheet], tuple[str, ...]]] = [
        (lambda: Question("Stop qwen3-32b?", LONG, STOP, "keep it running"),
         ("Stop qwen3-32b?", "w   stop when", "s   stop now", "esc keep it")),
        (lambda: Prompt("Name of the copy", "x", note="letters"), ("Name of the copy", "enter take it", "esc lea")),
        (lambda: Writing("System prompt", "be brief"), ("System prompt", "be brief", "f2 take it", "esc lea")),
        (lambda: Chooser(CHOICES, title="theme"), ("ansi", "contrast", "enter take", "esc c")),
        (lines(), ("line 0", "line 2", "esc close")),
    ]  # fmt: skip
    async with staged(tmp_path, size=size) as stage:
        for make, words in made:
            await show(stage, make())
            text = stage.text()
            for word in words:
                assert word in text, (word, text)
            if size <= (40, 6):
                assert "RUNS" not in text, "the whole window"
            await close(stage)


async def test_questions_are_64_wide_at_row_3_and_choosers_as_large_as_what_is_in_them(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(80, 24)) as stage:
        await show(stage, Question("Stop qwen3-32b?", "36 requests run.", STOP))
        region = stage.app.screen.query_one("#sheet").region
        assert (region.width, region.y) == (64, 3)
        await close(stage)
        await show(stage, Chooser(CHOICES, title="theme"))
        region = stage.app.screen.query_one("#sheet").region
        assert region.width == 40
        assert region.height == len(CHOICES) + 5, "a field, a line, the entries, the keys, and a row above and below"
        await stage.type("sl")
        assert stage.app.screen.query_one("#sheet").region.height == len(CHOICES) + 5, "it keeps its size"
        await close(stage)


async def test_text_that_is_cut_ends_with_an_ellipsis(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(40, 6)) as stage:
        await show(stage, Question("Stop qwen3-32b?", LONG, STOP))
        assert stage.lines()[1].rstrip().endswith("…")
        await close(stage)
        await show(stage, Chooser([Choice("x", "a-name-" * 12, "note " * 20)], title="t"))
        assert "…" in stage.lines()[1]
        await close(stage)
        await show(stage, Chooser([], title="Model", empty="No models were found. Set models_dirs, or type a name."))
        assert "type a name." in stage.text(), "what is said instead of entries is wrapped"
        assert "RUNS" not in stage.text() and not "".join(stage.lines()[4:]).strip(), "the page is not seen below it"


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("enter",), "w"),
        (("down", "enter"), "s"),
        (("up", "enter"), None),
        (("down", "down", "enter"), None),
        (("s",), "s"),
        (("escape",), None),
    ],
)
async def test_enter_takes_the_gentle_answer_and_the_arrows_choose(
    tmp_path: Path, keys: tuple[str, ...], answer: str | None
) -> None:
    async with staged(tmp_path, size=(80, 24)) as stage:
        answers = await show(stage, Question("Stop qwen3-32b?", "36 requests run.", STOP))
        await stage.press(*keys)
        assert answers == [answer]


async def test_a_list_in_the_smallest_window_has_a_cursor_and_a_theme_is_seen_undimmed(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(40, 6)) as stage:
        await show(stage, Chooser(CHOICES, title="theme", preview=stage.app.set_theme))
        await stage.press("down", "down")
        assert stage.lines()[3].startswith("▌   paper")
        assert stage.app.theme == "paper"
        await stage.pilot.resize_terminal(100, 30)
        await stage.settle()
        page = stage.app.screen._compositor.render_strips()[20]
        assert {str(part.style.bgcolor.name) for part in page if part.style and part.style.bgcolor} == {"#fbfaf6"}


async def test_enter_alone_never_loses_anything(tmp_path: Path) -> None:
    """Stop, kill and delete ask; who presses Enter without looking has changed nothing."""
    async with staged(tmp_path) as stage:
        await cursor(stage, "#ledger", "qwen3-32b-1")
        await stage.press("s")
        assert "Stop qwen3-32b?" in stage.text()
        await stage.press("enter")
        assert stage.calls == []
        assert len(stage.app.screen_stack) == 1


async def test_a_message_is_said_once_also_when_a_dialog_opens_over_it(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(120, 36)) as stage:
        stage.app.tell("said before")
        await stage.until(lambda: "said before" in stage.text(), "it is shown")
        await show(stage, Question("Stop it?", "", STOP, "keep it"))
        await stage.until(lambda: stage.text().count("said before") == 1, "it is shown once")
        await close(stage)
        await stage.until(lambda: stage.text().count("said before") == 1, "it is shown again where it was")


async def test_what_is_left_out_of_a_note_is_left_out_whole(tmp_path: Path) -> None:
    choices = [Choice("x", "a chat of some length", " 14:30  qwen3-32b         104 messages")]
    async with staged(tmp_path) as stage:
        for width, height, words in ((160, 45, True), (60, 15, False)):
            await stage.pilot.resize_terminal(width, height)
            await show(stage, Chooser(choices, title="a chat"))
            row = next(line for line in stage.lines() if "14:30" in line)
            assert "qwen3-32b" in row and ("104 messages" in row) == words, row
            assert "qwen3-32b…" not in row
            await stage.press("escape")


async def test_what_tells_two_long_names_apart_is_seen(tmp_path: Path) -> None:
    names = ("What is the capital of France?", "What is the capital of France? (fork)")
    async with staged(tmp_path, size=(120, 36)) as stage:
        await show(
            stage, Chooser([Choice(name, name, " 13:16     4 messages   smollm2-135m-instruct") for name in names])
        )
        assert names[1] in stage.text()
        await close(stage)
