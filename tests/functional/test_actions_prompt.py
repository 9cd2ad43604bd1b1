"""What every action of the prompt besides questions does: presets, library, stash, tokens of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual.widgets import TextArea

from tests.functional.acting import Scene, command, fill_in, hides, shows, told
from tests.functional.stage import Staged
from tests.functional.test_actions_chat import ask, place
from vllm_studio_tui.domain.chat import Delta, Ended
from vllm_studio_tui.domain.draft import Draft
from vllm_studio_tui.tui.sheets.tokens import TokenSheet

LIKELY = {
    "tokens": [["The", -0.01, []], [" cat", -3.0, [[" dog", -0.2], [" cat", -3.0]]], [" sat\n", None, []]],
    "cut": False,
}
FORM = {"kind": "json_object", "value": None, "name": "", "valid": False, "problem": "not JSON"}
DETAILS = {"logprobs": LIKELY, "form": FORM, "not_sent": {"top_k": "vLLM takes no top_k"}, "unsure": ["min_p"]}


async def answered(stage: Staged) -> None:
    """A new chat with one answer of which everything is known; the transcript has the focus."""
    stage.engine.script = (Delta(content="The cat sat"), Ended("stop", details=DETAILS))
    place(stage).action_new()
    place(stage).prompt.set_text("")
    await ask(stage, "the question")
    place(stage).document.focus()


async def empty(stage: Staged) -> None:
    """A new chat, with nothing in the prompt and nothing put aside."""
    place(stage).action_new()
    place(stage).prompt.set_text("")
    place(stage).state.left_off.stash = []
    place(stage).prompt.focus()


async def write(stage: Staged, text: str) -> None:
    """Write into the sheet that asks for several lines, and take it."""
    await stage.until(lambda: isinstance(stage.app.focused, TextArea), "the field")
    field = stage.app.focused
    assert isinstance(field, TextArea)
    field.text = text
    await stage.press("f2")


async def with_pastes(stage: Staged) -> None:
    """A new chat with two long texts that were pasted; the row of them has the focus."""
    await empty(stage)
    for number in (1, 2):
        place(stage).prompt.post_message(events.Paste(f"{number}\n" * 50))
    await shows(stage, "pasted text 2")
    await stage.press("backspace")


pastes = Scene("pastes", place="chat", begin=with_pastes)
known = Scene("known", place="chat", begin=answered)
blank = Scene("blank", place="chat", begin=empty)
SCENES = (known, blank, pastes)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@known.scenario("transcript.info")
async def _tokens(stage: Staged) -> None:
    await shows(stage, "not valid, any JSON object (not JSON)")
    await shows(stage, "not sent: vLLM takes no top_k")
    await shows(stage, "sent, perhaps not looked at: min_p")
    await stage.press("i")
    await shows(stage, "1 below 10%")
    assert isinstance(stage.app.screen, TokenSheet)
    await shows(stage, "81.9%")  # of the dog: the cursor begins on the cat, which is a surprise
    await stage.press("right")
    await shows(stage, "others were not told")
    await stage.press("left_square_bracket")
    await shows(stage, "token 2")
    await stage.press("home")
    await shows(stage, "99.0%")
    await stage.press("escape")
    await hides(stage, "below 10%")


@pastes.scenario("chips.delete", "chips.undo", "chips.previous", "chips.next", "chips.open")
async def _chips(stage: Staged) -> None:
    row = place(stage).chip_row
    for key, name in (("left", "1"), ("right", "2"), ("h", "1"), ("l", "2")):
        await stage.press(key)
        assert row.chosen is not None and row.chosen.file.name == f"pasted text {name}", key
    await stage.press("enter")
    await shows(stage, "enter back")
    await stage.press("escape")
    await stage.press("d")
    assert [one.file.name for one in place(stage).state.attached] == ["pasted text 1"]
    await stage.press("delete")
    await shows(stage, "u brings pasted text 1 back")
    await stage.press("u")
    assert [one.file.name for one in place(stage).state.attached] == ["pasted text 1"]
    await stage.press("d", "escape")


@blank.scenario("chat.stash")
async def _stash(stage: Staged) -> None:
    prompt = place(stage).prompt
    await stage.press("f2")
    await told(stage, "No draft is put aside")
    prompt.set_text("first draft\nof two lines")
    await stage.press("f2")
    assert prompt.text == ""
    await stage.press("f2")
    assert prompt.text == "first draft\nof two lines"
    await stage.press("f2")
    prompt.set_text("second draft")
    await stage.press("f2", "f2")
    await shows(stage, "drafts that were put aside")
    await stage.press("down", "enter")
    await stage.until(lambda: prompt.text == "first draft\nof two lines", "the older draft")
    assert place(stage).state.left_off.stash == [Draft("second draft")]


@blank.scenario("chat.preset")
async def _preset(stage: Staged) -> None:
    chat = place(stage).chat
    await stage.press("ctrl+g")
    await shows(stage, "temperature 0.2")
    await fill_in(stage, "exact")
    await stage.press("enter")
    await stage.until(lambda: chat.settings.get("preset") == "exact", "the preset")
    assert (chat.settings["temperature"], chat.settings["top_p"]) == (0.2, 0.9)
    await command(stage, "Presets")
    await stage.press("ctrl+n")
    await shows(stage, "Keep what is set as a preset called")
    await fill_in(stage, "mine")
    await stage.press("enter")
    await stage.until(lambda: chat.settings.get("preset") == "mine", "what is kept")
    assert stage.studio.library.get("preset", "mine").data == {"temperature": 0.2, "top_p": 0.9}
    await stage.until(lambda: "Yours" in stage.text(), "the list again")
    await fill_in(stage, "mine")
    await stage.press("f9")
    await shows(stage, "Rename the preset")
    await fill_in(stage, "my own")
    await stage.press("enter")
    await shows(stage, "my own")
    await fill_in(stage, "my own")
    await stage.press("ctrl+d")
    await told(stage, "The preset my own is deleted")
    await stage.press("escape")
    assert all(one.built_in for one in stage.studio.library.list("preset"))


@blank.scenario("chat.library")
async def _library(stage: Staged) -> None:
    prompt, library = place(stage).prompt, stage.studio.library
    await stage.press("insert")
    await stage.press("ctrl+n")
    await write(stage, "Write a bug report about ")
    await shows(stage, "Name of the prompt")
    await fill_in(stage, "bug")
    await stage.press("enter")
    await shows(stage, "Prompts")
    await fill_in(stage, "bug")
    await stage.press("f9")
    await write(stage, "Write a short bug report about ")
    await stage.until(lambda: library.get("prompt", "bug").text.startswith("Write a short"), "the change")
    await stage.until(lambda: "Write a short" in stage.text() and stage.app.focused is not None, "the list again")
    await fill_in(stage, "bug")
    await stage.press("ctrl+r")
    await shows(stage, "Rename the prompt")
    await fill_in(stage, "fault")
    await stage.press("enter")
    await shows(stage, "fault")
    await fill_in(stage, "fault")
    await stage.press("enter")
    await stage.until(lambda: prompt.text == "Write a short bug report about ", "the prompt")
    await command(stage, "Library")
    await fill_in(stage, "fault")
    await stage.press("ctrl+d")
    await shows(stage, "Delete fault?")
    await stage.press("d")
    await shows(stage, "write a prompt")
    await stage.press("escape")
    assert library.list("prompt") == []
