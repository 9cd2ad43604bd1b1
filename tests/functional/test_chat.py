"""Chat, by keys."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual import events

from tests.functional.acting import command, shows
from tests.functional.stage import Staged, StillSampler, bare, staged
from vllm_studio_tui.domain.chat import Delta, Ended, Timings, TokenUsage
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.drafts import load_left_off
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.app import StudioApp
from vllm_studio_tui.tui.screens.chat.place import ChatPlace

DONE = Ended("stop", TokenUsage(10, 20), Timings(0.1, None, 1.0, 40.0))
ANSWER = "Hello **you**.\n\n```python\nprint(1)\n```\n\nBye."


def place(stage: Staged) -> ChatPlace:
    found = stage.app.current
    assert isinstance(found, ChatPlace)
    return found


def idle(stage: Staged) -> bool:
    """Whether no answer is being generated."""
    return not place(stage).answers.running


async def ask(stage: Staged, text: str) -> None:
    await stage.type(text)
    await stage.press("enter")
    await stage.until(lambda: idle(stage), "the answer is over")
    await stage.settle()


async def test_a_question_is_answered_kept_and_counted(tmp_path: Path) -> None:
    script = (Delta(reasoning="let me think"), Delta(content=ANSWER), DONE)
    async with staged(tmp_path, place="chat", script=script) as stage:
        assert "Ask qwen3-32b anything." in stage.text()
        await ask(stage, "what is it?")
        text = stage.text()
        for words in (
            "what is it?",
            "Hello you.",
            "print(1)",
            "thought",
            "TTFT 100 ms",
            "40.0 tok/s",
            "20 tok in 1.00 s",
        ):
            assert words in text
        session = stage.studio.chat.sessions.list()[0]
        assert session.title == "what is it?"
        assert [m.role for m in stage.studio.chat.messages.branch(session.id)] == ["user", "assistant"]


async def test_an_empty_chat_invites_nobody_to_ask_a_model_that_is_not_up(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat") as stage:
        place(stage).chat.use_recipe("gemma-3-12b")
        place(stage).update_place()
        await stage.until(lambda: "gemma-3-12b is not running." in stage.text(), "it is said")
        assert "anything" not in stage.text()


async def test_it_is_restored_where_it_was_left(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="one answer"), DONE)) as stage:
        await ask(stage, "first")
        await stage.type("a draft that was not sent")
        await place(stage).leaving()
    async with staged(tmp_path, place="chat", recipes=()) as stage:
        await stage.until(lambda: "one answer" in stage.text(), "the chat is open again")
        assert place(stage).prompt.text == "a draft that was not sent"


async def test_what_is_typed_before_the_chat_is_read_again_stays_with_it(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="one answer"), DONE)) as stage:
        await ask(stage, "first")
        await stage.press("ctrl+n")
        await stage.type("for a new chat")
        await stage.press("ctrl+o", "enter")
        await shows(stage, "one answer")
        await place(stage).leaving()
    async with staged(tmp_path, place="recipes", recipes=()) as stage:
        await stage.press("3")
        read = place(stage).reload_list
        held = asyncio.Event()

        async def slow() -> None:
            await held.wait()
            await read()

        place(stage).reload_list = slow  # type: ignore[method-assign]
        await stage.type("quick")
        held.set()
        await shows(stage, "one answer")
        assert place(stage).prompt.text == "quick"
        await stage.press("ctrl+n")
        assert place(stage).prompt.text == "for a new chat"


async def test_escape_stops_and_keeps_what_came(tmp_path: Path) -> None:
    hold = asyncio.Event()
    script = (Delta(content="the beginning of something"), hold.wait, DONE)
    async with staged(tmp_path, place="chat", script=script) as stage:
        await stage.type("go")
        await stage.press("enter")
        await stage.until(lambda: "the beginning of something" in stage.text(), "it streams")
        assert "esc stop" in stage.text()
        await stage.press("escape")
        await stage.until(lambda: "stopped by you, kept" in stage.text(), "it stopped")
        session = stage.studio.chat.sessions.list()[0]
        answer = stage.studio.chat.messages.branch(session.id)[-1]
        assert (answer.finish, answer.content) == ("stopped", "the beginning of something")


async def test_a_stopped_answer_keeps_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_studio_tui.services.chat.answer.MEASURABLE", 0.0)
    hold = asyncio.Event()
    script = (*(Delta(content=f"word{number} ", tokens=1) for number in range(30)), hold.wait, DONE)
    async with staged(tmp_path, place="chat", script=script) as stage:
        await stage.type("go")
        await stage.press("enter")
        await stage.until(lambda: "word29" in stage.text(), "it streams")
        await stage.press("escape")
        await stage.until(lambda: "stopped by you, kept" in stage.text(), "it stopped")
        session = stage.studio.chat.sessions.list()[0]
        answer = stage.studio.chat.messages.branch(session.id)[-1]
        assert answer.timings.ttft is not None and answer.timings.tokens_per_second is not None
        assert re.search(r"TTFT .* ~[\d.k]+ tok/s   ~30 tok in ", stage.text())  # measured here, and marked so
        await stage.until(lambda: "THIS ANSWER" in stage.text(), "its figures")
        counted = stage.studio.db.row("SELECT tokens_per_second FROM requests")
        assert counted is not None and counted["tokens_per_second"] is None  # no peak is made of an estimate


async def test_head_text_prompt_and_status_end_at_the_same_column(tmp_path: Path) -> None:
    long = "word " * 200
    for size in ((160, 45), (120, 36), (200, 50), (80, 24)):
        home = tmp_path / f"{size[0]}"
        async with staged(home, place="chat", size=size, script=(Delta(content=long), DONE)) as stage:
            await ask(stage, "hi")
            chat = place(stage)
            left = chat.document.region.x + 2
            right = left + chat.document._left_and_width[1]
            assert chat.query_one("#chat-bar").region.x == left
            assert chat.prompt.region.right == right
            assert chat.query_one("#chat-head").region.right - 2 == right
            assert chat.query_one("#chat-status").region.right - 2 == right


async def test_escape_leaves_the_prompt_and_tab_goes_round_its_parts(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="an answer"), DONE)) as stage:
        await ask(stage, "hi")
        await stage.type("a draft")
        await stage.press("escape")
        assert place(stage).document.has_focus and place(stage).prompt.text == "a draft"
        listed = place(stage).query_one("#chat-list")
        for part in (listed, place(stage).prompt, place(stage).document):
            await stage.press("tab")
            assert part.has_focus
        await stage.press("shift+tab")
        assert place(stage).prompt.has_focus


async def test_a_chat_is_opened_renamed_and_deleted_in_the_list_by_keys(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="an answer"), DONE)) as stage:
        await ask(stage, "birds")
        await stage.press("ctrl+n")
        await ask(stage, "fishes")
        place(stage).query_one("#chat-list").focus()
        first = next(one.title for one in place(stage).state.listed)
        await stage.press("g" if first == "birds" else "G", "enter")
        await stage.until(lambda: "birds" in str(place(stage).session), "open")
        assert place(stage).prompt.has_focus
        place(stage).query_one("#chat-list").focus()
        await stage.press("e")
        await stage.until(lambda: "Rename the chat" in stage.text(), "it asks for a name")
        await stage.type("birds!")  # the old name is selected: it is replaced
        await stage.press("enter")
        await stage.until(lambda: "birds!" in [one.title for one in stage.studio.chat.sessions.list()], "renamed")
        await stage.press("d")
        await stage.until(lambda: "go to the trash" in stage.text(), "it names the loss")
        await stage.press("d")
        await stage.until(lambda: [s.title for s in stage.studio.chat.sessions.list()] == ["fishes"], "in the trash")
        await stage.press("u")  # the list keeps the focus
        await stage.until(lambda: len(stage.studio.chat.sessions.list()) == 2, "it is back")


async def test_the_rail_names_only_what_was_chosen(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="an answer"), DONE)) as stage:
        assert "the engine's own settings" in stage.text()
        place(stage).chat.set("temperature", 0.2)
        place(stage).update_place()
        await stage.until(lambda: "0.2" in stage.text(), "it is shown")
        rail = [line.split("│")[-1] for line in stage.text().splitlines()]
        assert not any(line.split()[-1:] == ["–"] for line in rail)


async def test_a_new_chat_is_listed_while_its_first_answer_comes(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with staged(tmp_path, place="chat", script=(Delta(content="slowly"), hold.wait, DONE)) as stage:
        await stage.type("a question")
        await stage.press("enter")
        await stage.until(lambda: "CHATS  1" in stage.text(), "it is in the list")
        assert place(stage).answers.running
        hold.set()
        await stage.until(lambda: idle(stage), "the answer is over")


async def test_the_next_question_waits_for_its_turn(tmp_path: Path) -> None:
    hold = asyncio.Event()
    script = (Delta(content="answer"), hold.wait, DONE)
    async with staged(tmp_path, place="chat", script=script) as stage:
        await stage.type("one")
        await stage.press("enter")
        await stage.until(lambda: "answer" in stage.text(), "it streams")
        await stage.type("two")
        await stage.press("enter")
        await stage.until(lambda: "1 waiting" in stage.text(), "it waits")
        hold.set()
        await stage.until(lambda: len(stage.engine.asked) == 2 and idle(stage), "both were asked")
        assert stage.engine.asked[1].messages[-1]["content"] == "two"


async def test_a_question_to_a_loading_engine_is_sent_when_it_is_ready(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="at last"), DONE)) as stage:
        place(stage).chat.use_recipe("deepseek-r1-70b")
        await stage.type("hi")
        await stage.press("enter")
        assert stage.engine.asked == []
        await stage.until(lambda: "sent when it is ready" in stage.text(), "it says so")
        shown = stage.studio.sampler.latest
        assert shown is not None
        runs = tuple(
            replace(run, status=replace(run.status, state=State.READY)) if run.recipe_id == "deepseek-r1-70b" else run
            for run in shown.runs
        )
        stage.studio.sampler.show(replace(shown, runs=runs))  # type: ignore[attr-defined]
        await stage.until(lambda: "at last" in stage.text(), "it was sent")


async def test_a_question_without_a_model_stays_in_the_prompt(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", shown=bare, recipes=()) as stage:
        assert "No model is up." in stage.text()
        await stage.type("hello")
        await stage.press("enter")
        assert place(stage).prompt.text == "hello"
        assert any("No model is up" in toast for toast in stage.heard)


async def test_another_answer_stands_beside_the_first(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="an answer"), DONE)) as stage:
        await ask(stage, "q")
        await stage.press("tab", "r")
        await stage.until(lambda: "‹ 2 of 2 ›" in stage.text(), "there are two")
        await stage.press("h")
        await stage.until(lambda: "‹ 1 of 2 ›" in stage.text(), "the first is shown")


async def test_an_edited_question_is_asked_anew_and_the_old_one_stays(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="an answer"), DONE)) as stage:
        await ask(stage, "old")
        await stage.press("tab", "up", "e")
        assert place(stage).prompt.text == "old"
        assert "editing an earlier question" in stage.text()
        await stage.type("er")
        await stage.press("enter")
        await stage.until(lambda: len(stage.engine.asked) == 2 and idle(stage), "asked again")
        session = stage.studio.chat.sessions.list()[0]
        questions = [m.content for m in stage.studio.chat.messages.tree(session.id) if m.role == "user"]
        assert questions == ["old", "older"]


async def test_a_cut_answer_is_written_on(tmp_path: Path) -> None:
    cut = Ended("length", TokenUsage(10, 5), Timings(0.1, None, 1.0, 40.0))
    async with staged(tmp_path, place="chat", script=(Delta(content="half"), cut)) as stage:
        await ask(stage, "q")
        assert "cut at 5 tokens" in stage.text()
        stage.engine.script = (Delta(content=" and whole"), DONE)
        await stage.press("tab", "c")
        await stage.until(lambda: "half and whole" in stage.text(), "it goes on")


async def test_copying_goes_to_the_terminal_and_to_a_file(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content=ANSWER), DONE)) as stage:
        await ask(stage, "q")
        clip = stage.studio.places.state / "clip.txt"
        await stage.press("tab", "y")
        assert clip.read_text() == ANSWER
        await stage.press("Y")
        assert clip.read_text() == "print(1)\n"
        await command(stage, "copy the whole chat")
        await stage.until(lambda: "## User\n\nq" in clip.read_text(), "the whole chat is copied")
        assert any("clip.txt" in toast for toast in stage.heard)


async def test_chats_are_found_renamed_and_put_into_the_trash(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="about parrots"), DONE)) as stage:
        await ask(stage, "birds")
        await stage.press("ctrl+n")
        await ask(stage, "fishes")
        await stage.press("ctrl+o")
        await stage.until(lambda: "Today" in stage.text(), "the chats are listed")
        await stage.type("parrots")
        await stage.until(lambda: "Said in a chat" in stage.text(), "it was said")
        await stage.press("escape", "ctrl+o")
        await stage.type("bird")
        await stage.until(lambda: "1 of 1" in stage.text(), "it is found")
        await stage.press("f9")
        await stage.until(lambda: "Rename the chat" in stage.text(), "it asks for a name")
        await stage.type("birds!")
        await stage.press("enter")
        await stage.until(lambda: "birds!" in [s.title for s in stage.studio.chat.sessions.list()], "renamed")
        await stage.type("birds")
        await stage.until(lambda: "1 of 1" in stage.text(), "it is found again")
        await stage.press("ctrl+d")
        await stage.until(lambda: "go to the trash" in stage.text(), "it names the loss")
        await stage.press("d")
        await stage.until(lambda: [s.title for s in stage.studio.chat.sessions.list()] == ["fishes"], "in the trash")
        assert [s.title for s in stage.studio.chat.sessions.list(trash=True)] == ["birds!"]


async def test_settings_shape_the_request(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="x"), DONE)) as stage:
        await stage.press("f3")
        await stage.type("temp")
        await stage.press("enter")
        await stage.type("0.5")
        await stage.press("enter")
        await stage.type("thinking")
        await stage.press("enter", "escape")
        await ask(stage, "q")
        sampling = stage.engine.asked[0].sampling
        assert (sampling.temperature, sampling.thinking) == (0.5, True)


async def test_fork_goes_on_in_a_copy(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="x"), DONE)) as stage:
        await ask(stage, "root")
        await stage.press("tab", "F")
        await stage.until(lambda: len(stage.studio.chat.sessions.list()) == 2, "there is a copy")
        assert "root (fork)" in stage.text()


async def test_find_marks_words_and_goes_to_them(tmp_path: Path) -> None:
    long = "\n\n".join(f"paragraph {number}" for number in range(200))
    async with staged(tmp_path, place="chat", script=(Delta(content=long), DONE)) as stage:
        await ask(stage, "q")
        assert "paragraph 199" in stage.text()
        await stage.press("ctrl+f")
        await stage.type("paragraph 42")
        await stage.press("enter")
        assert "paragraph 42" in stage.text()
        await shows(stage, "1 of 1 ")
        await stage.press("escape")
        assert place(stage).document.words == ""
        await shows(stage, " lines below")


async def test_following_stops_when_one_scrolls_and_comes_back_at_the_end(tmp_path: Path) -> None:
    long = "\n\n".join(f"paragraph {number}" for number in range(200))
    async with staged(tmp_path, place="chat", script=(Delta(content=long), DONE)) as stage:
        await ask(stage, "q")
        await stage.press("tab", "pageup")
        assert not place(stage).document.following
        assert "paragraph 199" not in stage.text()
        await stage.press("g")
        assert "paragraph 0" in stage.text()
        await stage.press("G")
        assert place(stage).document.following
        assert "paragraph 199" in stage.text()


async def test_thinking_folds_and_opens(tmp_path: Path) -> None:
    script = (Delta(reasoning="a secret thought\nof two lines"), Delta(content="said"), DONE)
    async with staged(tmp_path, place="chat", script=script) as stage:
        await ask(stage, "q")
        assert "a secret thought" not in stage.text()
        await stage.press("ctrl+t")
        assert "a secret thought" in stage.text()
        await stage.press("ctrl+t")
        assert "a secret thought" not in stage.text()
        await stage.press("tab", "enter")
        assert "of two lines" in stage.text()


async def test_history_comes_back_with_up_and_newlines_do_not_send(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="x"), DONE)) as stage:
        await ask(stage, "first")
        await stage.press("up")
        assert place(stage).prompt.text == "first"
        await stage.press("down")
        assert place(stage).prompt.text == ""
        await stage.type("a")
        await stage.press("ctrl+j")
        await stage.type("b")
        assert place(stage).prompt.text == "a\nb"
        assert len(stage.engine.asked) == 1


async def test_an_engine_that_refuses_is_quoted(tmp_path: Path) -> None:
    refused = Ended("failed", error="33140 tokens are more than its 32768", advice="Shorten it.")
    async with staged(tmp_path, place="chat", script=(refused,)) as stage:
        await ask(stage, "q")
        assert "33140 tokens are more than its 32768" in stage.text()


async def test_leaving_keeps_the_partial_answer(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with staged(tmp_path, place="chat", script=(Delta(content="partial"), hold.wait, DONE)) as stage:
        await stage.type("go")
        await stage.press("enter")
        await stage.until(lambda: "partial" in stage.text(), "it streams")
        await stage.press("ctrl+c")
        await stage.until(lambda: idle(stage), "the first one cancels the answer")
        await place(stage).leaving()
        session = stage.studio.chat.sessions.list()[0]
        assert stage.studio.chat.messages.branch(session.id)[-1].content == "partial"
        assert load_left_off(stage.studio.places).session == session.id


async def test_a_context_that_is_nearly_full_is_said(tmp_path: Path) -> None:
    full = Ended("stop", TokenUsage(30_000, 1000), Timings(0.1, None, 1.0, 40.0))
    async with staged(tmp_path, place="chat", script=(Delta(content="x"), full)) as stage:
        await ask(stage, "q")
        assert "31.0k/32.8k" in stage.text()


async def test_the_database_is_opened_away_from_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh home that takes a quarter of a second, in which no key would be answered."""
    threads: list[threading.Thread] = []
    really_open = Database.open

    def watched(*args: Any, **options: Any) -> Database:
        threads.append(threading.current_thread())
        return really_open(*args, **options)

    monkeypatch.setattr(Database, "open", watched)
    studio = Studio(Places.under(tmp_path))
    studio.__dict__["sampler"] = StillSampler(studio, bare(tmp_path))
    app = StudioApp(studio, place="chat")
    try:
        async with app.run_test(size=(160, 45)) as pilot:
            await pilot.press("h", "i", "enter", "ctrl+o")
            deadline = time.monotonic() + 10
            while "chat" not in studio.__dict__:
                assert time.monotonic() < deadline
                await pilot.pause(0.02)
            await pilot.pause()
            await pilot.press("escape", "ctrl+n")
            await pilot.pause()
    finally:
        studio.close()
    assert threads
    assert threading.main_thread() not in threads


async def test_what_is_typed_in_one_burst_with_enter_is_sent_whole_and_what_follows_stays(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content="yes"), DONE)) as stage:
        for key in ("H", "i", "ctrl+j", "a", "enter", "b"):
            stage.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await stage.until(lambda: idle(stage) and "yes" in stage.text(), "it is answered")
        await stage.settle()
        session = stage.studio.chat.sessions.list()[0]
        assert stage.studio.chat.messages.branch(session.id)[0].content == "Hi\na"
        assert place(stage).prompt.text == "b"


async def test_commands_for_a_message_are_done_from_the_prompt_too(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=(Delta(content=ANSWER), Ended("stop"))) as stage:
        await stage.type("one")
        await stage.press("enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 1, "the answer")
        await stage.settle()
        await stage.type("/again")
        await stage.press("enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 2, "another answer")
        await stage.settle()
        await stage.type("/continue")
        await stage.press("enter")
        await stage.until(lambda: "/continue is not for this message" in stage.text(), "it is said")
        assert len(stage.engine.asked) == 2
