"""Reading a chat: finding words, what is not seen, the keys that lead to it and back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.functional.acting import hides, shows
from tests.functional.stage import staged
from tests.functional.test_chat import DONE, ask, place
from vllm_studio_tui.domain.chat import Delta, Ended, Timings, TokenUsage


async def test_find_says_which_hit_it_is_of_how_many_and_that_it_begins_anew(tmp_path: Path) -> None:
    answer = "\n\n".join(["one fish, two fish", *(f"line {number}" for number in range(60)), "a red FISH"])
    async with staged(tmp_path, place="chat", size=(80, 24), script=(Delta(content=answer), DONE)) as stage:
        await ask(stage, "fish?")
        document = place(stage).document
        await stage.press("ctrl+f")
        await stage.type("fish")
        await shows(stage, "4 of 4 ")  # from the end of what is followed
        await stage.press("down")
        await shows(stage, "1 of 4, from the top again")
        assert "1 running" not in stage.text()  # the line stands where the status was
        await stage.press("down", "enter")
        await shows(stage, "2 of 4 ")
        await stage.press("right_square_bracket")
        await shows(stage, "3 of 4 ")  # the second one of the same line
        assert document.hit is not None
        assert document.hit[2] == 1
        assert document.current == 1  # what is done with a message is done with the one that was found
        for expected in ("2 of 4 ", "1 of 4 ", "4 of 4, from the end again"):
            await stage.press("left_square_bracket")
            await shows(stage, expected)
        await stage.pilot.resize_terminal(60, 15)
        await shows(stage, "4 of 4, from the end again")
        await stage.pilot.resize_terminal(80, 24)
        await stage.press("pageup")
        await shows(stage, "4 hits ")  # somebody scrolled
        assert document.current == 1
        await stage.press("slash")
        await stage.type("y")
        await shows(stage, "nothing holds that")
        await stage.press("escape")
        await hides(stage, "nothing holds that")
        assert document.has_focus


async def test_what_is_below_is_said_only_where_something_is(tmp_path: Path) -> None:
    long = "\n\n".join(f"paragraph {number}" for number in range(40))
    async with staged(tmp_path, place="chat", size=(80, 24), script=(Delta(content="short"), DONE)) as stage:
        await ask(stage, "q")
        await stage.press("tab", "g", "up")
        assert "below" not in stage.text()  # all of it is visible
        assert "to the end" not in stage.lines()[-1]
        stage.engine.script = (Delta(content=long), DONE)
        place(stage).prompt.focus()
        await ask(stage, "more")
        assert "below" not in stage.text()
        await stage.press("tab")
        await stage.press("pageup")
        await shows(stage, "lines below")
        assert "esc to the end" in stage.lines()[-1]
        await stage.press("tab")
        await shows(stage, "lines below")  # also while one types
        await stage.press("escape", "escape")
        await hides(stage, "lines below")


@pytest.mark.parametrize("size", [(160, 45), (120, 36), (80, 24), (60, 15)])
async def test_the_footer_always_names_the_way_to_the_transcript_and_back(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with staged(tmp_path, place="chat", size=size, script=(Delta(content="```\ncode\n```"), DONE)) as stage:
        await ask(stage, "q")
        assert "esc leave prompt" in stage.lines()[-1]
        assert "enter send" in stage.lines()[-1]
        await stage.press("escape")
        wanted = "shift+tab prompt" if size[0] == 160 else "tab prompt"  # with the list of chats tab goes there first
        assert wanted in stage.lines()[-1]
        assert "enter fold" in stage.lines()[-1]
        await stage.press("shift+tab")
        assert place(stage).prompt.has_focus


async def test_below_a_cut_answer_keys_are_named_as_they_are_reached_and_no_figure_is_broken(tmp_path: Path) -> None:
    cut = Ended("length", TokenUsage(20, 4), Timings(0.256, None, 1.98, 57.5))
    async with staged(tmp_path, place="chat", size=(60, 15), script=(Delta(content="half"), cut)) as stage:
        await ask(stage, "q")
        await shows(stage, "tab c continue   tab r again")  # c alone would be typed
        await stage.press("tab")
        await shows(stage, "   c continue   r again")
        await stage.press("tab")
        await shows(stage, "tab c continue   tab r again")
        await stage.pilot.resize_terminal(44, 15)
        await shows(stage, "tok in 1.98 s")


async def test_what_comes_can_be_copied_and_is_forked_only_when_it_is_kept(tmp_path: Path) -> None:
    hold = asyncio.Event()
    script = (Delta(content="```\nthe code\n```\n\nso far"), hold.wait, DONE)
    async with staged(tmp_path, place="chat", script=script) as stage:
        await stage.type("go")
        await stage.press("enter")
        await shows(stage, "so far")
        await stage.press("tab")
        assert "F fork" not in stage.lines()[-1]
        await stage.press("F", "y")
        assert stage.clip.endswith("so far")
        await stage.press("Y")
        await stage.until(lambda: stage.clip == "the code\n", "the code is copied")
        assert not any("no message" in toast for toast in stage.heard)
        hold.set()
        await shows(stage, "F fork")


async def test_the_cursor_goes_with_a_new_question(tmp_path: Path) -> None:
    first = (Delta(content="one"), Ended("stop", TokenUsage(20, 11), Timings(0.25, None, 1.0, 50.0)))
    async with staged(tmp_path, place="chat", size=(120, 36), script=first) as stage:
        await ask(stage, "q1")
        await shows(stage, "11 tok")
        await stage.press("escape")  # to the transcript: its cursor rests on the first answer
        assert place(stage).document.current == 1
        await stage.press("tab")
        stage.engine.script = (Delta(content="two"), Ended("length", TokenUsage(30, 22), Timings(0.5, None, 1.0, 50.0)))
        await ask(stage, "q2")
        await shows(stage, "tab r again")
        await stage.until(lambda: any("answer" in line and "22 tok" in line for line in stage.lines()), "its figures")
        await stage.press("tab")
        chosen = place(stage).document.message
        assert chosen is not None
        assert chosen.message.content == "two"  # it is what r answers again


async def test_the_cursor_goes_along_with_pages_and_with_the_first_and_the_last(tmp_path: Path) -> None:
    answer = "\n\n".join(f"line {number}" for number in range(30))
    async with staged(tmp_path, place="chat", size=(80, 24), script=(Delta(content=answer), DONE)) as stage:
        for question in ("one", "two", "three"):
            await ask(stage, question)
        document = place(stage).document

        def visible() -> set[int]:
            return {document.blocks[seen[0]].message for seen in document._seen if seen is not None}

        end = document._top
        await stage.press("h", "pageup", "pageup", "pageup", "pagedown")  # while one writes
        assert place(stage).prompt.text == "h"
        assert place(stage).prompt.has_focus
        top = document._top
        assert top < end
        await stage.press("tab")
        assert document.has_focus
        assert document._top == top  # what is read stays, and the cursor comes to it
        assert document.current in visible()
        for key in ("pageup", "pageup", "pageup", "pagedown", "pagedown"):
            await stage.press(key)
            assert document.current in visible(), key
        await stage.press("home")
        assert document.current == 0
        await stage.press("G")
        assert document.current == len(document.entries) - 1
