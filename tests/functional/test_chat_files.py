"""Files and pictures in a chat, by keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.widgets import TextArea

from tests.functional.acting import at, fill_in, shows
from tests.functional.stage import staged
from tests.functional.test_chat import ANSWER, DONE, ask, place
from tests.pictures import picture
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.services.chat.attachments.seeing import Sight


async def test_named_files_are_sent_and_shown_with_the_question(tmp_path: Path) -> None:
    note, seen = tmp_path / "my note.md", tmp_path / "red.png"
    note.write_text("the word is heron")
    seen.write_bytes(picture("png", (40, 24), colour=(200, 0, 0)))
    async with staged(tmp_path / "home", place="chat", script=(Delta(content=ANSWER), DONE)) as stage:
        stage.studio.chat._runner._sight = stage.studio.chat._sight = lambda target: Sight(True)
        await ask(stage, f'which word @"{note}" @{seen}')
        parts = stage.engine.asked[0].messages[-1]["content"]
        assert [one["type"] for one in parts] == ["text", "image_url"]
        assert parts[0]["text"].startswith('File "my note.md":\n```\nthe word is heron\n```\n\nwhich word')
        await stage.until(lambda: "▀" * 36 in stage.text(), "the picture is drawn")
        assert "file  my note.md   17 B   about 4 tok" in stage.text()
        assert "image  red.png   40x24" in stage.text()


async def test_a_picture_for_a_model_that_sees_none_comes_back_into_the_prompt(tmp_path: Path) -> None:
    seen = tmp_path / "red.png"
    seen.write_bytes(picture())
    async with staged(tmp_path / "home", place="chat", script=(Delta(content=ANSWER), DONE)) as stage:
        stage.studio.chat._runner._sight = stage.studio.chat._sight = lambda target: Sight(False, "Its engine says so.")
        await stage.type(f"what is @{seen}")
        await stage.press("enter")
        await stage.until(lambda: "reads no pictures" in stage.text(), "it is said")
        await stage.until(lambda: place(stage).prompt.text == f"what is @{seen}", "the question is back")
        assert not stage.engine.asked
        assert stage.studio.chat.sessions.list() == []  # no empty chat is left behind


async def test_side_by_side_the_files_that_are_named_go_to_all(tmp_path: Path) -> None:
    seen = tmp_path / "red.png"
    seen.write_bytes(picture())
    async with staged(tmp_path / "home", place="chat", script=(Delta(content=ANSWER), DONE)) as stage:
        sees = False
        stage.studio.chat._runner._sight = stage.studio.chat._sight = lambda target: Sight(sees, "It says so.")
        place(stage).prompt.set_text(f"what is @{seen}")

        async def compare() -> None:
            await stage.press("f6")
            await shows(stage, "1 of 2 to 4: who answers")
            for word in ("qwen3-32b", "qwen3-32b,seed=7"):
                await fill_in(stage, word)
                await stage.press("enter")
            await shows(stage, "qwen3-32b · qwen3-32b,seed=7")
            await stage.press("enter")

        await compare()
        await shows(stage, "reads no pictures")
        assert place(stage).prompt.text == f"what is @{seen}"
        assert stage.studio.chat.sessions.list() == []
        sees = True
        await compare()
        await at(stage, "compare", "what is @")
        page: Any = stage.app.current
        await stage.until(lambda: page.state.over, "both answered")
        for request in stage.engine.asked:
            assert [one["type"] for one in request.messages[-1]["content"]] == ["text", "image_url"]
        page.shell.spawn(page._ask_more())
        await shows(stage, "Ask the same ones")
        assert isinstance(stage.app.focused, TextArea)
        stage.app.focused.text = f"and now @{seen}?"
        await stage.press("f2")
        await stage.until(lambda: len(stage.engine.asked) == 4, "all are asked again")
        assert sum(one["type"] == "image_url" for one in stage.engine.asked[-1].messages[-1]["content"]) == 1


async def test_a_file_that_cannot_be_sent_leaves_the_question_in_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    async with staged(tmp_path / "home", place="chat", script=(Delta(content=ANSWER), DONE)) as stage:
        await stage.type(f"what is @{tmp_path}/a.bin")
        await stage.press("enter")
        await stage.until(lambda: "neither text, PDF" in stage.text(), "it is said")
        assert place(stage).prompt.text == f"what is @{tmp_path}/a.bin"
        assert not stage.engine.asked
