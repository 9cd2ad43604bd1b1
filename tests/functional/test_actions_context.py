"""What is done with the context of a chat, and what is seen of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.acting import Scene, command, fill_in, hides, shows, told
from tests.functional.stage import Staged, staged
from tests.functional.test_actions_chat import ask, branch, over, place
from vllm_studio_tui.domain.chat import Delta, Ended, Message, Timings, TokenUsage
from vllm_studio_tui.domain.context import ContextReport, Counted, CountedBy

DONE = Ended("stop", TokenUsage(10, 20), Timings(0.1, None, 1.0, 40.0))


async def talked(stage: Staged) -> None:
    """A chat with six turns; the prompt has the focus."""
    service = stage.studio.chat
    session = service.new_session("six turns", model="qwen3-32b", settings={"recipe": "qwen3-32b"})
    for number in range(1, 7):
        question = service.messages.append(
            Message("", session, "user", f"question {number}", service.messages.leaf(session))
        )
        service.messages.append(Message("", session, "assistant", f"answer {number}", question.id, finish="stop"))
    await place(stage).open(session)
    place(stage).prompt.set_text("")
    place(stage).prompt.focus()


six = Scene("six", place="chat", begin=talked, script=(Delta(content="They spoke of Rome."), DONE))
SCENES = (six,)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@six.scenario("chat.compact")
async def _compact(stage: Staged) -> None:
    await command(stage, "make this chat shorter")
    await shows(stage, "nothing is deleted")
    await fill_in(stage, "summary")
    await stage.press("enter")
    await told(stage, "4 messages are sent as a summary")
    await shows(stage, "4 messages above are sent as a summary")
    assert branch(stage)[-1].content == "They spoke of Rome."
    before = len(stage.engine.asked)
    await ask(stage, "question 7")
    sent = stage.engine.asked[before].messages
    assert "They spoke of Rome." in sent[0]["content"]
    assert [one["content"] for one in sent[1:]][::2] == [f"question {number}" for number in (3, 4, 5, 6, 7)]
    # It can be opened and read, and taken back.
    place(stage).document.focus()
    at = next(at for at, entry in enumerate(place(stage).document.entries) if entry.message.role == "system")
    place(stage).document.go_to(place(stage).document.entries[at].message.id)
    await stage.press("enter")
    await shows(stage, "They spoke of Rome.")
    place(stage).prompt.focus()
    await command(stage, "make this chat shorter")
    await fill_in(stage, "everything again")
    await stage.press("enter")
    await shows(stage, "4 messages above: all of it is sent again")
    await command(stage, "make this chat shorter")
    await fill_in(stage, "by itself")
    await stage.press("enter")
    await told(stage, "this chat is made shorter: by a summary")
    assert place(stage).chat.settings["compact"] == "summary"


@six.scenario("chat.load")
async def _load(stage: Staged) -> None:
    await command(stage, "load the model")
    await told(stage, "is ready already")
    place(stage).chat.use_recipe("gemma-3-12b")
    place(stage).update_place()
    await shows(stage, "gemma-3-12b is not running")
    place(stage).prompt.set_text("/load")
    await stage.press("enter")
    await stage.until(lambda: "launch" in str(stage.calls), "the launch")
    assert "gemma-3-12b" in str(stage.calls)


async def test_the_meter_shows_what_was_counted_and_warns_without_blocking(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="x"), DONE)) as stage:
        full = ContextReport(
            Counted(31_500, CountedBy.ENGINE), 32_768, system=400, files=6100, draft=20, left_out=2, messages=9
        )
        drafts: list[str] = []

        def report(session_id: str | None, target: object = None, *, draft: str = "", **_: object) -> ContextReport:
            drafts.append(draft)
            return full

        stage.studio.context.report = report  # type: ignore[method-assign]
        await ask(stage, "q")
        place(stage).prompt.set_text("more of it")
        await stage.until(lambda: "31.5k/32.8k" in stage.text() and drafts[-1] == "more of it", "the count at rest")
        await shows(stage, "the context is nearly full")
        for words in ("system", "files", "talk", "counted by the engine", "2 of 9 messages left out"):
            await shows(stage, words)
        before = len(stage.engine.asked)
        await stage.press("enter")
        await over(stage, before + 1)  # it is asked all the same


async def test_definitions_of_tools_are_counted_shown_and_warned_of(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="x"), DONE)) as stage:
        asked: list[object] = []

        def report(session_id: str | None, target: object = None, *, tools: object = (), **_: object) -> ContextReport:
            asked.append(tools)
            much = 2100 if tools else 0
            return ContextReport(Counted(400 + much, CountedBy.ENGINE), 8192, tools=much, unknown_tools=("web",))

        stage.studio.context.report = report  # type: ignore[method-assign]
        place(stage).chat.set("tools", ["builtin"])  # before anything is said
        place(stage).update_place()
        await stage.until(lambda: asked[-1:] == [("builtin",)], "the count with tools")
        await shows(stage, "tools take 26% of the context")
        for words in ("2500/8192", "tools        2100", "26% for tools alone", "without the tools of web"):
            await shows(stage, words)
        place(stage).chat.set("tools", None)
        place(stage).prompt.set_text("q")
        await stage.until(lambda: asked[-1] == (), "the count without tools")
        await hides(stage, "of the context")
        assert "tools alone" not in stage.text()


async def test_nothing_is_counted_while_an_answer_comes(tmp_path: Path) -> None:
    counted: list[str] = []
    script = (Delta(content="partial"), DONE)
    async with staged(tmp_path, place="chat", script=script) as stage:

        def report(session_id: str | None, target: object = None, *, draft: str = "", **_: object) -> ContextReport:
            counted.append("while it came" if place(stage).running is not None else draft)
            return ContextReport(Counted(5, CountedBy.ENGINE), 100)

        stage.studio.context.report = report  # type: ignore[method-assign]
        await ask(stage, "q")
        await stage.until(lambda: bool(counted), "a count after the end")
        assert "while it came" not in counted


async def test_an_answer_whose_engine_sent_no_counts_is_counted_here_and_marked(tmp_path: Path) -> None:
    silent = Ended("stop", TokenUsage(), Timings(0.1, None, 2.0, 40.0))
    async with staged(tmp_path, place="chat", script=(Delta(content="a long word " * 10), silent)) as stage:
        await ask(stage, "q")
        await shows(stage, "~30 tok in 2.00 s")  # nobody could count: a guess from its letters
        counted = branch(stage)[-1]
        assert counted.details["counted"] == {"completion_tokens": 30, "by": "estimate"}
        assert counted.usage.completion_tokens is None
