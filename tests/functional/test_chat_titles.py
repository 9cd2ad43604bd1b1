"""Titles that the model writes for new chats, on the chat screen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tests.functional.stage import Staged, staged
from tests.functional.test_chat import ask, idle, place
from tests.unit.scripted_engine import TARGET, Engine
from vllm_studio_tui.domain.chat import Delta, Ended, TokenUsage
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.services.chat.titles import write_title
from vllm_studio_tui.studio import Studio

DONE = Ended("stop", TokenUsage(10, 20))
SCRIPT = (Delta(content="They are the light of stars."), DONE)


class Writer:
    """Stands where the studio writes titles: asks a scripted engine, once it may.

    Attributes:
        asked: Question, answer and whom, of each time.
    """

    def __init__(self, *script: object) -> None:
        self.engine = Engine(*script)  # type: ignore[arg-type]
        self.asked: list[tuple[str, str, str | None]] = []
        self.may = threading.Event()
        self.may.set()
        self.fails: Exception | None = None
        self.told = 0

    def __call__(self, question: str, answer: str, name: str | None = None) -> str:
        self.asked.append((question, answer, name))
        self.may.wait(30)
        self.told += 1
        if self.fails is not None:
            raise self.fails
        return write_title(TARGET, question, answer, self.engine)


def writing(writer: Writer, **settings: object) -> Callable[[Studio], None]:
    def prepare(studio: Studio) -> None:
        given = studio.__dict__
        given["write_title"] = writer
        given["settings"] = studio.settings.model_copy(update=settings)

    return prepare


def titles(stage: Staged) -> list[str]:
    return [one.title for one in stage.studio.chat.sessions.list()]


async def over(stage: Staged, writer: Writer, times: int) -> None:
    await stage.until(lambda: writer.told == times, "the model has written")
    await stage.until(
        lambda: all(one.is_finished for one in stage.app.workers if one.group == "titles"), "the title is there"
    )
    await stage.settle()


async def test_the_model_titles_a_chat_after_its_first_answer_and_never_again(tmp_path: Path) -> None:
    writer = Writer(Delta(content='Title: "Light of the stars"'), DONE)
    async with staged(tmp_path, place="chat", script=SCRIPT, prepare=writing(writer)) as stage:
        await ask(stage, "what are stars?")
        await over(stage, writer, 1)
        assert titles(stage) == ["Light of the stars"]
        await stage.until(lambda: "Light of the stars" in stage.text(), "it is shown")
        session = place(stage).session
        assert session is not None
        assert session.title == "Light of the stars"
        assert writer.asked == [("what are stars?", "They are the light of stars.", "qwen3-32b-1")]
        (request,) = writer.engine.asked
        assert request.sampling.max_tokens == 24
        await ask(stage, "and more?")
        assert len(writer.asked) == 1
        assert len(stage.engine.asked) == 2


async def test_titles_can_be_switched_off(tmp_path: Path) -> None:
    writer = Writer(Delta(content="Never"), DONE)
    prepare = writing(writer, chat_titles=False)
    async with staged(tmp_path, place="chat", script=SCRIPT, prepare=prepare) as stage:
        await ask(stage, "what are stars?")
        assert (titles(stage), writer.asked) == (["what are stars?"], [])


async def test_an_answer_that_was_cut_is_no_ground_for_a_title(tmp_path: Path) -> None:
    writer = Writer(Delta(content="Never"), DONE)
    script = (Delta(content="They"), Ended("length", TokenUsage(10, 20)))
    async with staged(tmp_path, place="chat", script=script, prepare=writing(writer)) as stage:
        await ask(stage, "what are stars?")
        assert (titles(stage), writer.asked) == (["what are stars?"], [])


async def test_a_title_that_a_person_gave_meanwhile_stays(tmp_path: Path) -> None:
    writer = Writer(Delta(content="Light of the stars"), DONE)
    writer.may.clear()
    async with staged(tmp_path, place="chat", script=SCRIPT, prepare=writing(writer)) as stage:
        await ask(stage, "what are stars?")
        await stage.until(lambda: bool(writer.asked), "the model is asked")
        (session,) = stage.studio.chat.sessions.list()
        stage.studio.chat.sessions.rename(session.id, "mine")
        writer.may.set()
        await over(stage, writer, 1)
        assert titles(stage) == ["mine"]


async def test_a_failure_is_told_to_nobody_and_the_first_words_stay(tmp_path: Path) -> None:
    writer = Writer()
    async with staged(tmp_path, place="chat", script=SCRIPT, prepare=writing(writer)) as stage:
        for times, error in enumerate((StudioError("nobody answers"), RuntimeError("a bug")), 1):
            writer.fails = error
            place(stage).action_new()
            await ask(stage, "what are stars?")
            await over(stage, writer, times)
        assert titles(stage) == ["what are stars?"] * 2
        assert stage.heard == []


async def test_no_title_is_asked_for_while_a_question_waits_or_another_answer_comes(tmp_path: Path) -> None:
    writer = Writer(Delta(content="Never"), DONE)
    async with staged(tmp_path, place="chat", prepare=writing(writer)) as stage:
        first, second = threading.Event(), threading.Event()

        async def held() -> None:
            await stage.app.in_thread(first.wait)

        async def held_longer() -> None:
            await stage.app.in_thread(second.wait)

        stage.engine.script = (held, *SCRIPT)
        await stage.type("what are stars?")
        await stage.press("enter")
        await stage.until(lambda: len(stage.engine.asked) == 1, "it is asked")
        await stage.type("and more?")
        await stage.press("enter")
        stage.engine.script = (held_longer, *SCRIPT)
        first.set()
        await stage.until(lambda: len(stage.engine.asked) == 2, "what waited is asked")
        place(stage).action_new()
        stage.engine.script = SCRIPT
        await stage.type("what are moons?")
        await stage.press("enter")
        await stage.until(lambda: len(place(stage).answers.running) == 1 and len(stage.engine.asked) == 3, "answered")
        await stage.settle()
        second.set()
        await stage.until(lambda: idle(stage), "all is over")
        await stage.settle()
        assert sorted(titles(stage)) == ["what are moons?", "what are stars?"]
        assert writer.asked == []


async def test_the_studio_is_left_at_once_while_a_title_is_written(tmp_path: Path) -> None:
    writer = Writer(Delta(content="Late"), DONE)
    writer.may.clear()
    try:
        async with staged(tmp_path, place="chat", script=SCRIPT, prepare=writing(writer)) as stage:
            await ask(stage, "what are stars?")
            await stage.until(lambda: bool(writer.asked), "the model is asked")
        assert writer.told == 0
    finally:
        writer.may.set()
