"""What every action on the tools of a chat does, and on a call that waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual.widgets import TextArea

from tests.functional.acting import Scene, shows
from tests.functional.stage import Staged
from tests.functional.test_actions_chat import DONE, answered, place, sessions
from tests.functional.test_chat import idle
from tests.unit.tool_box import Box, Rounds, calls
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.domain.tools import Tool, ToolChoice
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.tui.screens.chat import call_cards

chat = Scene("chat", place="chat", begin=answered, script=(Delta(content="x"), DONE))
waiting = Scene("call", place="chat")
SCENES = (chat, waiting)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@chat.scenario("chat.tools")
async def _tools(stage: Staged) -> None:
    await stage.press("f12")
    await shows(stage, "Tools of this chat")
    await shows(stage, "of this program")
    await stage.press("space", "enter")
    await stage.until(lambda: bool(sessions(stage)[0].settings.get("tools")), "they are kept with the chat")
    place(stage).chat.set("tools", None)
    await place(stage).save_settings(place(stage).chat)


# --- a call that waits -----------------------------------------------------------------------------------------


async def asked_for(stage: Staged, arguments: str = '{"command": "ls -l"}') -> Box:
    """A call waits on its card, which has the keys."""
    box = Box(Tool("shell__run", "shell", "run"))
    engine = Rounds(calls(("c1", "shell__run", arguments)), [Delta(content="so it is"), DONE])

    @contextlib.asynccontextmanager
    async def opened(choice: ToolChoice) -> AsyncIterator[Box]:
        yield box

    studio = stage.studio
    made = ChatService(studio.db, studio.bus, engine, consents=studio.tools, open_tools=opened)
    studio.__dict__["chat"] = made
    place(stage).new_chat()
    place(stage).chat.set("tools", ["shell"])
    place(stage).prompt.set_text("the question")
    await stage.press("enter")
    await stage.until(lambda: place(stage).document.faced is not None, "the call waits")
    await asyncio.sleep(call_cards.STARTLED)
    return box


async def no_more(stage: Staged) -> None:
    await stage.until(lambda: idle(stage), "the answer is over")
    await stage.settle()


@waiting.scenario("call.allow")
async def _allow(stage: Staged) -> None:
    box = await asked_for(stage)
    await stage.press("a")
    await no_more(stage)
    assert box.made == [("shell__run", {"command": "ls -l"})]


@waiting.scenario("call.deny")
async def _deny(stage: Staged) -> None:
    box = await asked_for(stage)
    await stage.press("d")
    await no_more(stage)
    assert box.made == []


@waiting.scenario("call.edit-arguments")
async def _edit_arguments(stage: Staged) -> None:
    box = await asked_for(stage)
    await stage.press("e")
    await shows(stage, "Arguments of run")
    area = stage.app.focused
    assert isinstance(area, TextArea)
    area.text = '{"command": "pwd"}'
    await stage.press("f2")
    await shows(stage, "arguments changed by you")
    await stage.press("a")
    await no_more(stage)
    assert box.made == [("shell__run", {"command": "pwd"})]


@waiting.scenario("call.whole")
async def _whole(stage: Staged) -> None:
    await asked_for(stage)
    await stage.press("i")
    await shows(stage, "ARGUMENTS")
    await stage.press("escape", "d")
    await no_more(stage)


@waiting.scenario("call.allow-longer")
async def _allow_longer(stage: Staged) -> None:
    box = await asked_for(stage)
    await stage.press("A")
    await shows(stage, "in this chat, whatever its arguments")
    await stage.press("c")
    await no_more(stage)
    assert len(box.made) == 1
    (consent,) = stage.studio.tools.consents()
    session = place(stage).session
    assert session is not None
    assert (consent.tool, consent.session_id) == ("shell__run", session.id)
