"""The request lab on the screen: the request, its prompt by tokens, sent again as it was changed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import editor, hides, shows
from tests.functional.stage import Staged, staged
from tests.unit.scripted_engine import read
from vllm_studio_tui.domain.chat import Delta, Ended, Timings, TokenUsage
from vllm_studio_tui.domain.errors import EngineUnreachable
from vllm_studio_tui.domain.request_lab import PromptToken, RenderedPrompt

DONE = Ended("stop", TokenUsage(10, 20), Timings(0.171, None, 1.0, 40.0))
HOSTILE = "\x1b]0;owned\x07\x1b[2J[bold]\u202e 漢字 " * 20
PROMPT = RenderedPrompt(
    "<s>hé\n", (PromptToken(1, "<s>"), PromptToken(2, "h\x1b[2J"), PromptToken(3, "é\n"), PromptToken(4))
)


@asynccontextmanager
async def opened(
    home: Path, *, question: str = "why?", said: str = "One. Two.", images: Sequence[str] = (), **options: Any
) -> AsyncIterator[Staged]:
    """A chat with one answer, and the lab over it."""
    async with staged(home, place="chat", script=(Delta(content=said), DONE), **options) as stage:
        chat, place = stage.studio.chat, stage.app.current
        session = chat.new_session("q")
        await read(chat.send(session, question, stage.launcher.target(), images=images))
        lab: Any = stage.studio.compare.lab
        lab._stream, lab.render = stage.engine, lambda target, body: PROMPT
        shown: Any = place
        await shown.open(session)
        shown.document.focus()
        await stage.settle()
        await stage.press("t")
        await stage.until(lambda: len(stage.app.screen_stack) == 2, "the lab")
        yield stage
        await stage.press("escape")


async def test_a_request_is_changed_in_the_editor_sent_again_and_compared(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        await shows(stage, '"content": "why?"')
        await stage.press("y")
        assert json.loads(stage.clip)["messages"] == [{"role": "user", "content": "why?"}]
        with editor(stage, "s/why/how/"):
            await stage.press("e")
        await shows(stage, "changed")
        stage.engine.script = (Delta(content="One. Three."), DONE)
        await stage.press("r")
        await shows(stage, "+ Three.")
        assert "- Two." in stage.text()
        assert "20 tok   TTFT 171 ms   40.0 tok/s" in stage.text()
        assert stage.engine.asked[-1].messages == ({"role": "user", "content": "how?"},)
        (session,) = stage.studio.chat.sessions.list()
        assert session.messages == 2  # nothing of it is kept in the chat
        await stage.press("v")
        await shows(stage, '"content": "how?"')


async def test_a_picture_is_a_word_to_read_and_edit_and_is_sent_whole(tmp_path: Path) -> None:
    url = f"data:image/png;base64,{base64.b64encode(bytes(range(256)) * 40).decode()}"
    async with opened(tmp_path, images=[url]) as stage:
        await shows(stage, '"url": "data:image/png;base64,<picture 1, 11 KiB>"')
        await stage.press("y")
        assert json.loads(stage.clip)["messages"][0]["content"][1]["image_url"]["url"] == url
        with editor(stage, "s/why/how/"):
            await stage.press("e")
        await shows(stage, "changed")
        await stage.press("r")
        await stage.until(lambda: len(stage.engine.asked) == 2, "it is sent")
        text, image = stage.engine.asked[-1].messages[0]["content"]
        assert (text["text"], image["image_url"]["url"]) == ("how?", url)


async def test_the_prompt_is_shown_token_by_token(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        await stage.press("v")
        await shows(stage, "4 tokens; every other one is underlined")
        assert "é\\n" in stage.text()
        assert "[4]" in stage.text()
        await stage.press("y")
        assert stage.clip == "<s>hé\n"


async def test_what_the_engine_does_not_tell_and_what_is_no_request_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:

        def refuse(target: Any, body: Any) -> Any:
            raise EngineUnreachable("it does not show its prompt", cause="it answered 404")

        lab: Any = stage.studio.compare.lab
        lab.render = refuse
        await stage.press("v")
        await shows(stage, "it does not show its prompt. it answered 404")
        asked = len(stage.engine.asked)
        with editor(stage, "s/messages/massages/"):
            await stage.press("f9")
        await shows(stage, "the request has no list of `messages`")
        await stage.press("r")
        assert len(stage.engine.asked) == asked
        with editor(stage, "s/massages/messages/"):  # it was left as it was written
            await stage.press("e")
        await hides(stage, "has no list")


async def test_an_answer_is_stopped_and_what_came_stays(tmp_path: Path) -> None:
    wait = asyncio.Event()
    async with opened(tmp_path) as stage:
        stage.engine.script = (Delta(content="half of it"), wait.wait, DONE)
        await stage.press("r")
        await shows(stage, "half of it")
        await stage.press("s")
        await shows(stage, "stopped")
        await shows(stage, "+ half of it")


@pytest.mark.parametrize("size", [(160, 45), (80, 24), (60, 15), (40, 6), (20, 3)])
async def test_hostile_text_draws_no_escape_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with opened(tmp_path, question=HOSTILE, said=HOSTILE, size=size) as stage:
        stage.engine.script = (Delta(content=HOSTILE), Ended("failed", error=HOSTILE))
        for key in ("v", "v", "v", "r", "v"):
            await stage.press(key)
            assert "\x1b" not in stage.text()
            assert "\u202e" not in stage.text()


async def test_read_only_sends_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, read_only=True) as stage:
        asked = len(stage.engine.asked)
        assert "send it" not in stage.text()
        with editor(stage, "s/why/how/"):
            await stage.press("e", "r")
        assert len(stage.engine.asked) == asked
        assert '"why?"' in stage.text()
