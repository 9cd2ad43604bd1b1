"""Chat: a question goes to the chat it was typed in and to whom that was held with; what came is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.functional.stage import Staged, staged
from tests.functional.test_chat import DONE, ask, idle, place
from vllm_studio_tui.domain.chat import Delta, Ended, Target, TokenUsage
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.studio import Studio

ANSWER = (Delta(content="an answer"), DONE)


def questions(stage: Staged, session_id: str) -> list[str]:
    return [one.content for one in stage.studio.chat.messages.tree(session_id) if one.role == "user"]


async def two_chats(stage: Staged) -> tuple[str, str]:
    """Two chats of one question each; the first one is shown."""
    ids = []
    for text in ("parrots", "fishes"):
        await stage.press("ctrl+n")
        await ask(stage, text)
        shown = place(stage).session
        assert shown is not None
        ids.append(shown.id)
    await place(stage).open(ids[0])
    await stage.settle()
    return ids[0], ids[1]


async def choose(stage: Staged, words: str) -> None:
    """Open a chat by its title, without waiting for what else goes on."""
    await stage.pilot.press("ctrl+o", *words)
    await stage.until(lambda: "1 of 1" in stage.text(), "it is found")
    await stage.pilot.press("enter")
    await stage.until(lambda: len(stage.app.screen_stack) == 1, "it is chosen")


@contextlib.contextmanager
def slow_target(stage: Staged) -> Iterator[threading.Event]:
    """Finding who answers takes until the event is set."""
    gate, real = threading.Event(), stage.launcher.target

    def slow(**named: Any) -> Target:
        assert gate.wait(20)
        return real(**named)

    stage.launcher.target = slow  # type: ignore[method-assign]
    try:
        yield gate
    finally:
        gate.set()
        stage.launcher.target = real  # type: ignore[method-assign]


# --- the chat it was typed in ---------------------------------------------------------------------------


async def test_a_question_is_asked_in_the_chat_it_was_typed_in_whichever_is_open_then(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        parrots, fishes = await two_chats(stage)
        with slow_target(stage) as gate:
            await stage.pilot.press(*"loud", "enter")
            await choose(stage, "fishes")
            await stage.until(lambda: place(stage).chat.id == fishes, "the other chat is shown")
            gate.set()
            await stage.until(lambda: len(stage.engine.asked) == 3 and idle(stage), "it was asked")
            await stage.settle()
        assert (questions(stage, parrots), questions(stage, fishes)) == (["parrots", "loud"], ["fishes"])
        assert [one["content"] for one in stage.engine.asked[2].messages] == ["parrots", "an answer", "loud"]
        assert place(stage).chat.id == fishes
        assert "loud" not in [entry.message.content for entry in place(stage).document.entries]
        await place(stage).open(parrots)
        await stage.settle()
        assert "loud" in [entry.message.content for entry in place(stage).document.entries]


async def test_the_first_question_of_a_new_chat_makes_its_own_chat_whichever_is_open_then(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        parrots, fishes = await two_chats(stage)
        await stage.press("ctrl+n")
        with slow_target(stage) as gate:
            await stage.pilot.press(*"whales", "enter")
            await choose(stage, "fishes")
            gate.set()
            await stage.until(lambda: len(stage.engine.asked) == 3 and idle(stage), "it was asked")
            await stage.settle()
        assert place(stage).chat.id == fishes
        assert (questions(stage, parrots), questions(stage, fishes)) == (["parrots"], ["fishes"])
        (new,) = [one for one in stage.studio.chat.sessions.list() if one.id not in (parrots, fishes)]
        assert questions(stage, new.id) == ["whales"]


async def test_two_questions_in_one_breath_make_one_chat(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        with slow_target(stage) as gate:
            await stage.pilot.press(*"one", "enter", *"two", "enter")
            gate.set()
            await stage.until(lambda: len(stage.engine.asked) == 2 and idle(stage), "both were asked")
            await stage.settle()
        (session,) = stage.studio.chat.sessions.list()
        assert questions(stage, session.id) == ["one", "two"]


async def test_an_answer_that_ends_behind_another_chat_does_not_come_in_front(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        parrots, fishes = await two_chats(stage)
        stage.engine.script = (Delta(content="slowly"), hold.wait, DONE)
        await stage.type("loud")
        await stage.press("enter")
        await stage.until(lambda: "slowly" in stage.text(), "it streams")
        await stage.type("louder")
        await stage.press("enter")
        tree, gate, reading = stage.studio.chat.tree, threading.Event(), threading.Event()

        def slow(session_id: str) -> Any:
            reading.set()
            assert gate.wait(20)
            return tree(session_id)

        stage.studio.chat.tree = slow  # type: ignore[method-assign]
        hold.set()
        await stage.until(reading.is_set, "the answer is over, and its end is being read")
        stage.studio.chat.tree = tree  # type: ignore[method-assign]
        await place(stage).open(fishes)
        gate.set()
        await stage.until(lambda: len(stage.engine.asked) == 4 and idle(stage), "the next was asked")
        await stage.settle()
        assert place(stage).chat.id == fishes
        assert [entry.message.content for entry in place(stage).document.entries] == ["fishes", "an answer"]
        assert questions(stage, parrots) == ["parrots", "loud", "louder"]


async def test_an_answer_that_is_continued_is_whole_after_another_chat_was_shown(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        parrots, fishes = await two_chats(stage)
        stage.engine.script = (Delta(content="half"), Ended("length", TokenUsage(10, 5)))
        await ask(stage, "loud")
        stage.engine.script = (Delta(content=" and more"), hold.wait, DONE)
        place(stage).document.focus()
        await stage.press("c")
        await stage.until(lambda: "half and more" in stage.text(), "it goes on")
        await place(stage).open(fishes)
        await place(stage).open(parrots)
        await stage.until(lambda: "half and more" in stage.text(), "all of it is shown")
        hold.set()
        await stage.until(lambda: idle(stage), "it is over")
        await stage.settle()
        assert "half and more" in stage.text()


async def test_what_waits_for_an_engine_is_asked_in_its_chat_whichever_is_open_then(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        parrots, fishes = await two_chats(stage)
        place(stage).chat.use_recipe("deepseek-r1-70b")
        await stage.type("loud")
        await stage.press("enter")
        await stage.until(lambda: "sent when it is ready" in stage.text(), "it waits")
        await place(stage).open(fishes)
        assert "1 waiting" not in stage.text()
        shown = stage.studio.sampler.latest
        assert shown is not None
        runs = tuple(
            replace(run, status=replace(run.status, state=State.READY)) if run.recipe_id == "deepseek-r1-70b" else run
            for run in shown.runs
        )
        stage.studio.sampler.show(replace(shown, runs=runs))  # type: ignore[attr-defined]
        await stage.until(lambda: len(stage.engine.asked) == 3 and idle(stage), "it was asked")
        assert (questions(stage, parrots), questions(stage, fishes)) == (["parrots", "loud"], ["fishes"])


async def test_the_chat_that_was_opened_last_is_shown_however_long_the_others_take(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        parrots, fishes = await two_chats(stage)
        await stage.press("ctrl+n")
        tree, gate, reading = stage.studio.chat.tree, threading.Event(), threading.Event()

        def slow(session_id: str) -> Any:
            reading.set()
            assert session_id == fishes or gate.wait(20)
            return tree(session_id)

        stage.studio.chat.tree = slow  # type: ignore[method-assign]
        first = asyncio.create_task(place(stage).open(parrots))
        await stage.until(reading.is_set, "the first one is being read")
        await place(stage).open(fishes)
        gate.set()
        await first
        assert place(stage).chat.id == fishes


# --- whom it was held with ------------------------------------------------------------------------------


def only(stage: Staged, ready: str) -> None:
    """Nobody but this recipe answers."""
    real = stage.launcher.target

    def target(**named: Any) -> Target:
        if named.get("recipe") != ready:
            raise NotFound(f"{named.get('recipe') or named.get('model')} is not running", advice="Launch it.")
        return real(**named)

    stage.launcher.target = target  # type: ignore[method-assign]


async def test_another_engine_is_asked_only_when_a_person_says_so(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        place(stage).chat.use_recipe("gemma-3-12b")
        await ask(stage, "parrots")
        only(stage, "qwen3-32b")
        await stage.type("more")
        await stage.press("enter")
        await stage.until(lambda: "gemma-3-12b does not answer" in stage.text(), "it asks")
        assert "ask qwen3-32b instead" in stage.text()
        await stage.press("escape")
        assert (len(stage.engine.asked), place(stage).prompt.text) == (1, "more")
        await stage.press("enter")
        await stage.until(lambda: "gemma-3-12b does not answer" in stage.text(), "it asks again")
        await stage.press("1")
        await stage.until(lambda: len(stage.engine.asked) == 2 and idle(stage), "it was asked")
        (session,) = stage.studio.chat.sessions.list()
        assert session.settings["recipe"] == "qwen3-32b"


async def test_an_engine_can_be_launched_for_a_question_which_waits_for_it(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        place(stage).chat.use_recipe("gemma-3-12b")
        only(stage, "qwen3-32b")
        await stage.type("more")
        await stage.press("enter")
        await stage.until(lambda: "gemma-3-12b does not answer" in stage.text(), "it asks")
        stage.launcher.refuse = None
        await stage.press("l")
        await stage.until(lambda: ("launch", "gemma-3-12b") in stage.calls, "it is launched")
        assert stage.engine.asked == []


async def test_a_chat_of_another_model_does_not_go_to_the_engine_that_happens_to_be_ready(tmp_path: Path) -> None:
    def prepare(studio: Studio) -> None:
        studio.chat.sessions.create("made elsewhere", model="org/somebody-else")

    async with staged(tmp_path, place="chat", script=ANSWER, prepare=prepare) as stage:
        only(stage, "qwen3-32b")
        (session,) = stage.studio.chat.sessions.list()
        await place(stage).open(session.id)
        await stage.settle()
        assert place(stage).run_for(place(stage).chat) is None
        await stage.type("more")
        await stage.press("enter")
        await stage.until(lambda: "org/somebody-else does not answer" in stage.text(), "it asks")
        assert stage.engine.asked == []
        await stage.press("escape")
        assert place(stage).prompt.text == "more"


# --- what came ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(stage: Staged) -> Iterator[Callable[[], Any]]:
    """Another program can lock the database: the call does it, the end of the block gives it back."""
    stage.studio.db.row("PRAGMA busy_timeout = 20")
    with contextlib.closing(sqlite3.connect(stage.studio.db.path, isolation_level=None)) as other:

        async def lock() -> None:
            other.execute("BEGIN IMMEDIATE")

        yield lock


async def test_an_answer_that_cannot_be_saved_stays_on_the_screen_whole_until_it_is(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat") as stage:
        with locked(stage) as lock:
            stage.engine.script = (Delta(content="the beginning"), lock, Delta(content=" and the end"), DONE)
            await ask(stage, "q")
            text = stage.text()
            assert "the beginning and the end" in text
            assert "not saved yet: the database is in use" in text
            session = place(stage).session
            assert session is not None
            assert stage.studio.chat.messages.tree(session.id)[-1].content != "the beginning and the end"
            await place(stage).open(session.id)
            assert "the beginning and the end" in stage.text()
        await stage.until(lambda: "not saved yet: the database" not in text_of(stage), "it is saved")
        assert stage.studio.chat.messages.tree(session.id)[-1].content == "the beginning and the end"


def text_of(stage: Staged) -> str:
    stage.app.clear_notifications()
    return stage.text()


async def test_leaving_says_where_an_answer_lies_that_could_not_be_saved(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat") as stage:
        with locked(stage) as lock:
            stage.engine.script = (Delta(content="the beginning"), lock, Delta(content=" and the end"), DONE)
            await ask(stage, "q")
            stage.app.leave()
            await stage.until(lambda: any("not saved yet" in words for words in stage.app.last_words), "it is said")
            (path,) = stage.studio.unsaved
            assert str(path) in "\n".join(stage.app.last_words)
            assert "the beginning and the end" in path.read_text()


async def test_a_question_that_cannot_be_kept_is_back_in_the_prompt(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        await ask(stage, "one")
        with locked(stage) as lock:
            await lock()
            await ask(stage, "two")
            await stage.until(lambda: place(stage).prompt.text == "two", "it is back")
        assert len(stage.engine.asked) == 1
        assert [entry.message.content for entry in place(stage).document.entries] == ["one", "an answer"]


async def test_the_end_of_an_answer_whose_program_died_is_told_truly(tmp_path: Path) -> None:
    def prepare(studio: Studio) -> None:
        from vllm_studio_tui.domain.chat import Message
        from vllm_studio_tui.store.messages import PROGRAM_ENDED

        session = studio.chat.sessions.create("a", model="m").id
        asked = studio.chat.messages.append(Message("", session, "user", "q"))
        studio.chat.messages.append(
            Message("", session, "assistant", "half", asked.id, finish="interrupted", error=PROGRAM_ENDED)
        )

    async with staged(tmp_path, place="chat", prepare=prepare) as stage:
        (session,) = stage.studio.chat.sessions.list()
        await place(stage).open(session.id)
        await stage.settle()
        assert "cut off: this program was ended while it streamed" in stage.text()
        assert stage.text().count("this program was ended") == 1
