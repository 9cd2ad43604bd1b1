"""Answers side by side: asked from the chat, read, judged with names hidden, kept; also in small windows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, at, fill_in, hides, shows, told
from tests.functional.stage import Staged, staged
from vllm_studio_tui.domain.chat import Delta, Ended, Message, Timings, TokenUsage
from vllm_studio_tui.tui.screens.compare.place import ComparePage

DONE = Ended("stop", TokenUsage(10, 20, 4), Timings(0.171, 0.3, 1.0, 40.0))
SHORT = (
    Delta(reasoning="a secret thought\nof two lines"),
    Delta(content="The **KV cache** is full. Look at it."),
    DONE,
)
LONG = (Delta(content="\n\n".join(f"paragraph {number} of it" for number in range(200))), DONE)
SIDES = ("qwen3-32b", "qwen3-32b,temperature=0")
HOSTILE = "\x1b]0;owned\x07\x1b[2J[bold]\u202e\u200b" + "W\u0301ide 漢字 " * 40


def page(stage: Staged) -> ComparePage:
    found = stage.app.current
    assert isinstance(found, ComparePage)
    return found


async def opened(stage: Staged, *, blind: bool = False, script: tuple[Any, ...] = SHORT, text: str = "why so slow?",
                 sides: tuple[str, ...] = SIDES, over: bool = True) -> None:  # fmt: skip
    stage.engine.script = script
    before = page(stage).state if stage.app.place_name == "compare" else None  # what is compared there already
    stage.app.open_page("compare", json.dumps({"text": text, "sides": sides, "blind": blind}))
    await stage.until(lambda: stage.app.place_name == "compare", "the page")
    await stage.until(lambda: page(stage).state is not before, "the new question")
    await stage.until(lambda: len(page(stage).state.lanes) == len(sides), "they are asked")
    if over:
        await stage.until(lambda: page(stage).state.over, "all have answered")
    await stage.settle()


async def seen(stage: Staged) -> None:
    await opened(stage)


async def hidden(stage: Staged) -> None:
    await opened(stage, blind=True)


async def read(stage: Staged) -> None:
    await opened(stage, script=LONG)


def answers(stage: Staged) -> list[Message]:
    question = page(stage).state.question_id
    assert question is not None
    return stage.studio.compare.answers(question)


begun = Scene("begun", place="chat", script=SHORT)
compare = Scene("compare", place="chat", begin=seen)
blind = Scene("blind", place="chat", begin=hidden)
long = Scene("long answers", place="chat", begin=read)
SCENES = (begun, compare, blind, long)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


# --- from the chat --------------------------------------------------------------------------------------


@begun.scenario("chat.compare")
async def _compare(stage: Staged) -> None:
    place: Any = stage.app.current
    place.prompt.set_text("which is faster?")
    await stage.press("f6")
    await shows(stage, "1 of 2 to 4: who answers")
    await stage.press("enter")  # the run that answers
    await shows(stage, "2 of 2 to 4")
    await fill_in(stage, "qwen3-32b,seed=7")
    await stage.press("enter")
    await shows(stage, "qwen3-32b · qwen3-32b,seed=7")
    await stage.press("enter")
    await at(stage, "compare", "which is faster?")
    await stage.until(lambda: page(stage).state.over, "both answered")
    assert [one.details["side"]["name"] for one in answers(stage)] == ["qwen3-32b", "qwen3-32b,seed=7"]
    assert {one.sampling.seed for one in stage.engine.asked} == {None, 7}
    await stage.press("escape")
    await at(stage, "chat", "‹ 2 of 2 ›")
    assert place.prompt.text == ""
    # The last question once more, by those of before and with their names hidden.
    await stage.press("f6")
    await shows(stage, "those of before")
    await fill_in(stage, "names")
    await stage.press("enter")
    await shows(stage, "hidden until you choose")
    await fill_in(stage, "before")
    await stage.press("enter")
    await at(stage, "compare", "names hidden")
    await stage.until(lambda: page(stage).state.over, "both answered")
    assert len(stage.engine.asked) == 4
    (session,) = stage.studio.chat.sessions.list()
    assert session.messages == 5  # one question, four answers
    await stage.press("escape")
    await at(stage, "chat", "‹ 4 of 4 ›")
    place.prompt.focus()
    place.prompt.set_text("/compare and now?")
    await stage.press("enter")
    await shows(stage, "those of before")
    await fill_in(stage, "before")
    await stage.press("enter")
    await at(stage, "compare", "and now?")
    await stage.until(lambda: page(stage).state.over, "both answered")
    await stage.press("escape")
    await at(stage, "chat", "‹ 2 of 2 ›")


# --- side by side ---------------------------------------------------------------------------------------


@compare.scenario("compare.previous", "compare.next")
async def _columns(stage: Staged) -> None:
    assert "A  qwen3-32b" in stage.text()
    for back, onward in (("left", "right"), ("h", "l")):
        await stage.press(onward)
        assert page(stage).state.at == 1
        assert page(stage)._columns[1].document.has_focus
        await stage.press(back)
        assert page(stage).state.at == 0
    await stage.press("tab")
    assert page(stage).state.at == 1


@compare.scenario("compare.mark")
async def _better(stage: Staged) -> None:
    await stage.press("right", "space")
    await shows(stage, "better   20 tok")
    (vote,) = stage.studio.compare.votes(1)
    assert (vote.winner, vote.blind) == (SIDES[1], False)


@blind.scenario("compare.mark", "compare.dismiss")
async def _hidden(stage: Staged) -> None:
    text = stage.text()
    assert "names hidden until you choose" in text
    assert "shown after the vote" in text
    assert not any(name in "\n".join(stage.lines()[1:-1]) for name in ("qwen3-32b", "temperature"))
    await stage.press("v", "v")
    assert "They are shown after the vote." in stage.text()
    await stage.press("escape", "space")
    winner = page(stage).state.lanes[0].side.name
    await shows(stage, f"A  {winner}")
    (vote,) = stage.studio.compare.votes(1)
    assert (vote.winner, vote.blind) == (winner, True)
    await hidden(stage)
    await stage.press("d")
    await stage.until(lambda: page(stage).state.vote is not None, "it is said")
    assert stage.studio.compare.votes(1)[0].winner is None


@compare.scenario("compare.take")
async def _keep(stage: Staged) -> None:
    wanted = page(stage).state.lanes[1]
    session_id = page(stage).state.session_id
    assert session_id is not None
    await stage.press("right", "enter")
    await at(stage, "chat", "The KV cache is full.")
    await told(stage, "The chat goes on with qwen3-32b,temperature=0")
    session = stage.studio.chat.sessions.get(session_id)
    assert (session.leaf_id, session.settings.get("temperature")) == (wanted.answer_id, 0.0)


@blind.scenario("compare.take")
async def _keep_and_vote(stage: Staged) -> None:
    before = len(stage.studio.compare.votes())
    assert "is better, go on" in stage.lines()[-1]
    winner = page(stage).state.lanes[0].side.name
    await stage.press("enter")
    await at(stage, "chat", "The KV cache is full.")
    votes = stage.studio.compare.votes()
    assert (len(votes), votes[0].winner, votes[0].blind) == (before + 1, winner, True)


@compare.scenario("compare.stop")
async def _stop_one(stage: Staged) -> None:
    go = asyncio.Event()
    await opened(stage, script=(Delta(content="half"), go.wait, Delta(content=" and whole"), DONE), over=False)
    await shows(stage, "half")
    assert "esc stop all" in stage.lines()[-1]
    await stage.press("s")
    await stage.until(lambda: page(stage).state.lanes[0].ended, "the first has ended")
    assert not page(stage).state.lanes[1].ended
    go.set()
    await stage.until(lambda: page(stage).state.over, "the other went on")
    assert [one.content for one in answers(stage)] == ["half", "half and whole"]
    await shows(stage, "stopped by you, kept")
    go.clear()
    await opened(stage, script=(Delta(content="half"), go.wait, DONE), over=False)
    await shows(stage, "half")
    await stage.press("escape")
    await stage.until(lambda: page(stage).state.over, "both have ended")
    assert [one.finish for one in answers(stage)] == ["stopped", "stopped"]


@compare.scenario("compare.again")
async def _again(stage: Staged) -> None:
    first = page(stage).state.lanes[0].answer_id
    stage.engine.script = (Delta(content="Another one."), DONE)
    await stage.press("r")
    await shows(stage, "Another one.")
    await stage.until(lambda: page(stage).state.over, "it is over")
    session = page(stage).state.session_id
    assert session is not None
    assert len(stage.studio.chat.tree(session)) == 4  # the first answer stays
    assert page(stage).state.lanes[0].answer_id != first
    assert [one.content for one in answers(stage)] == ["Another one.", "The **KV cache** is full. Look at it."]


@compare.scenario("compare.copy")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    assert stage.clip == "The **KV cache** is full. Look at it."


@compare.scenario("compare.view")
async def _views(stage: Staged) -> None:
    await opened(stage, script=SHORT, text="again")
    await stage.press("v")
    await shows(stage, "Both say the same.")
    assert "- qwen3-32b,temperature=0   + qwen3-32b" in stage.text()
    await stage.press("v")
    await shows(stage, "400 points more win ten times as often")
    await stage.press("v")
    await shows(stage, "WHAT DIFFERS")
    assert "171 ms" in stage.text()


@compare.scenario("compare.new")
async def _add(stage: Staged) -> None:
    await stage.press("n")
    await shows(stage, "one more, or type")
    await fill_in(stage, "qwen3-32b,preset=free")
    await stage.press("enter")
    await stage.until(lambda: len(page(stage).state.lanes) == 3 and page(stage).state.over, "the third has answered")
    await shows(stage, "C  qwen3-32b,preset=free")
    assert stage.engine.asked[-1].sampling.temperature == 1.0


@compare.scenario("compare.edit")
async def _ask_more(stage: Staged) -> None:
    await stage.press("right", "space", "e")
    await shows(stage, "Ask the same ones")
    await stage.type("and now?")
    await stage.press("f2")
    await shows(stage, "and now?")
    await stage.until(lambda: page(stage).state.over and len(page(stage).state.lanes) == 2, "both answered")
    asked = [one["content"] for one in stage.engine.asked[-1].messages]
    assert asked == ["why so slow?", "The **KV cache** is full. Look at it.", "and now?"]
    await stage.press("e", "escape")
    assert stage.app.place_name == "compare"


@compare.scenario("compare.fold-all")
async def _fold(stage: Staged) -> None:
    assert "a secret thought" not in stage.text()
    await stage.press("z")
    await shows(stage, "a secret thought")
    await stage.press("z")
    await hides(stage, "a secret thought")


@long.scenario("compare.first", "compare.last", "compare.up", "compare.down", "compare.page-up", "compare.page-down")
async def _scroll(stage: Staged) -> None:
    for first, last, up, down in (("home", "end", "up", "down"), ("g", "G", "k", "j")):
        await stage.press(first)
        await shows(stage, "paragraph 0 of it")
        await stage.press(*[down] * 6)
        document = page(stage)._columns[0].document
        await stage.until(lambda document=document: document._top[0] > 0, "it moved")  # type: ignore[misc]
        await stage.press(*[up] * 8)
        assert document._top == (0, 0)
        await stage.press(last)
        await stage.until(lambda document=document: document.following, "the end")  # type: ignore[misc]
        await shows(stage, "paragraph 199 of it")
    await stage.press("pageup")
    assert not page(stage)._columns[0].document.following
    await stage.press("pagedown")
    assert page(stage)._columns[0].document.following


# --- what comes from outside, and small windows ---------------------------------------------------------


@pytest.mark.parametrize("size", [(160, 45), (120, 34), (80, 24), (60, 15), (40, 6), (20, 3)])
async def test_hostile_answers_and_questions_draw_no_escape_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path, size=size, place="chat") as stage:
        await opened(stage, script=(Delta(reasoning=HOSTILE), Delta(content=HOSTILE), DONE), text=HOSTILE)
        for keys in (("right",), ("v",), ("v",), ("v",), ("space",), ("z",)):
            await stage.press(*keys)
            text = stage.text()
            assert "\x1b" not in text
            assert "\u202e" not in text
            assert all(len(line) <= size[0] * 2 for line in stage.lines())


@pytest.mark.parametrize(
    ("size", "sides", "lines", "open_"),
    [
        ((160, 45), 2, 1, 2),  # beside each other
        ((120, 34), 3, 1, 3),
        ((120, 34), 4, 1, 1),  # four have no room beside each other, nor below
        ((100, 40), 2, 2, 2),  # below each other
        ((80, 24), 2, 2, 2),
        ((80, 24), 3, 1, 1),  # one is open, the others show their heads
        ((60, 15), 2, 1, 1),
    ],
)
async def test_answers_stand_beside_or_below_each_other_where_there_is_room_else_one_is_open(
    tmp_path: Path, size: tuple[int, int], sides: int, lines: int, open_: int
) -> None:
    names = (*SIDES, "qwen3-32b,seed=1", "qwen3-32b,seed=2")[:sides]
    async with staged(tmp_path, size=size, place="chat") as stage:
        await opened(stage, sides=names)
        found = [line for line in stage.lines() if "KV cache" in line]
        assert (len(found), sum(line.count("KV cache") for line in found)) == (lines, open_)
        for name in names:
            assert f"  {name}" in stage.text()


async def test_a_strip_shows_one_answer_and_which_of_how_many(tmp_path: Path) -> None:
    async with staged(tmp_path, size=(40, 6), place="chat") as stage:
        await opened(stage)
        assert "1 of 2" in stage.text()
        assert "KV cache" in stage.text()
        await stage.press("right")
        assert "2 of 2" in stage.text()


async def test_one_that_fails_says_why_and_the_other_can_be_kept(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat") as stage:
        await opened(stage, script=(Delta(content="x"), Ended("failed", error="the engine broke \x1b[2J")))
        await shows(stage, "it failed: the engine broke")
        assert "✕ failed" in stage.text()


async def test_who_does_not_answer_is_said_and_the_question_stays_in_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, place="chat") as stage:
        place: Any = stage.app.current
        place.prompt.set_text("my question")
        await stage.press("f6")
        await fill_in(stage, "qwen3-32b,warmth=3")
        await stage.press("enter")
        await fill_in(stage, "qwen3-32b,seed=1")
        await stage.press("enter")
        await shows(stage, "ask these")
        await stage.press("enter")
        await told(stage, "sets nothing")
        assert stage.app.place_name == "chat"
        assert place.prompt.text == "my question"


async def test_without_a_question_one_is_asked_for_before_anybody_is_chosen(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat") as stage:
        await stage.press("f6")
        await told(stage, "Write the question first: then f6 has several answer it.")
        assert stage.app.place_name == "chat"


async def test_what_has_come_is_kept_when_the_studio_is_left(tmp_path: Path) -> None:
    wait = asyncio.Event()
    async with staged(tmp_path, place="chat") as stage:
        await opened(stage, script=(Delta(content="half of it"), wait.wait, DONE), over=False)
        await stage.until(lambda: stage.text().count("half of it") == 2, "both have begun")
        kept = page(stage)
        await kept.leaving()
        assert [(one.content, one.finish) for one in answers(stage)] == [("half of it", "stopped")] * 2
