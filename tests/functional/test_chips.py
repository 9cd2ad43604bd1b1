"""What goes with the question that is being written: chips over the prompt, by keys."""

from __future__ import annotations

from pathlib import Path

from textual import events

from tests.functional.stage import Staged, staged
from tests.functional.test_chat import ANSWER, DONE, ask, idle, place
from tests.pictures import picture
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.domain.draft import Draft
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.attachments.reading import pasted
from vllm_studio_tui.services.chat.attachments.seeing import Sight
from vllm_studio_tui.services.chat.drafts import LeftOff, load_left_off, save_left_off

LONG = "".join(f"line {number}\n" for number in range(60))
SCRIPT = (Delta(content=ANSWER), DONE)


async def paste(stage: Staged, text: str) -> None:
    place(stage).prompt.post_message(events.Paste(text))
    await stage.settle()


async def shows(stage: Staged, words: str) -> None:
    await stage.until(lambda: words in stage.text(), words)


def named(stage: Staged) -> list[str]:
    return [chip.file.name for chip in place(stage).chips.all()]


async def test_each_file_and_paste_is_a_chip_and_what_is_refused_says_why(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("heron")
    (tmp_path / "red.png").write_bytes(picture("png", (40, 24)))
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    async with staged(tmp_path / "home", place="chat", script=SCRIPT, size=(160, 45)) as stage:
        await paste(stage, LONG.replace("\n", "\r"))  # as terminals send it
        await stage.type(f"see @{tmp_path}/note.md, @{tmp_path}/red.png and @{tmp_path}/a.bin. ")
        await shows(stage, "a.bin  It holds bytes that are no text.")
        assert named(stage) == ["a.bin", "pasted text 1", "note.md", "red.png"]
        text = stage.text()
        assert "text pasted text 1  470 B  about 118 tok" in text
        assert "file note.md  5 B  about 1 tok" in text
        await stage.press("escape", "shift+tab", "shift+tab", "left")  # round to the last one
        await shows(stage, "image red.png  40x24")


async def test_chips_are_one_row_in_a_small_window_and_a_short_line_in_the_smallest(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=SCRIPT, size=(60, 15)) as stage:
        for _ in range(4):
            await paste(stage, LONG)
        await shows(stage, "pasted text 1  about 118 tok  +3")
        assert place(stage).chip_row.size.height == 1
    async with staged(tmp_path / "b", place="chat", script=SCRIPT, size=(40, 6)) as stage:
        for _ in range(4):
            await paste(stage, LONG)
        await shows(stage, "4 attached  472 tok")


async def test_backspace_in_an_empty_prompt_leads_to_the_last_chip_and_takes_nothing_away(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=SCRIPT) as stage:
        await paste(stage, LONG)
        await paste(stage, LONG * 2)
        await stage.press("backspace", "backspace", "backspace")
        assert place(stage).chip_row.has_focus and place(stage).chip_row.chosen is not None
        assert named(stage) == ["pasted text 1", "pasted text 2"]
        await stage.press("d")
        assert named(stage) == ["pasted text 1"]
        await stage.press("delete")
        await shows(stage, "u brings pasted text 1 back")
        await stage.press("u")
        assert named(stage) == ["pasted text 1"]
        await stage.press("escape")
        assert place(stage).prompt.has_focus


async def test_a_chip_of_a_word_goes_with_its_word(tmp_path: Path) -> None:
    (tmp_path / "my note.md").write_text("heron")
    async with staged(tmp_path / "home", place="chat", script=SCRIPT) as stage:
        prompt = place(stage).prompt
        prompt.set_text(f'see @"{tmp_path}/my note.md" please')
        await stage.until(lambda: named(stage) == ["my note.md"], "the chip of the word")
        await stage.press("shift+tab", "d")
        assert prompt.text == "see please"
        await stage.press("u")
        await stage.until(lambda: prompt.text == f'see please @"{tmp_path}/my note.md" ', "the word")


async def test_pastes_stay_with_their_chat(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=SCRIPT) as stage:
        await ask(stage, "a first question")
        await paste(stage, LONG)
        await stage.press("ctrl+n")
        assert named(stage) == []
        await stage.type("of the new chat")
        first = place(stage).state.listed[0].id
        await place(stage).open(first)
        assert named(stage) == ["pasted text 1"] and place(stage).prompt.text == ""
        await place(stage).leaving()
        kept = load_left_off(Places.under(tmp_path))
        assert kept.draft(first).attached[0].file.text == LONG
        assert kept.draft(None) == Draft("of the new chat")


async def test_what_was_left_off_is_there_again(tmp_path: Path) -> None:
    save_left_off(Places.under(tmp_path), LeftOff(drafts={"": Draft("what is it?", (pasted(LONG, "pasted text 1"),))}))
    async with staged(tmp_path, place="chat", script=SCRIPT) as stage:
        await shows(stage, "pasted text 1  470 B")
        assert place(stage).prompt.text == "what is it?"


async def test_an_edited_question_keeps_its_paste_unless_it_is_taken_away(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=SCRIPT) as stage:
        await paste(stage, LONG)
        await ask(stage, "what is it?")
        document = place(stage).document
        document.focus()
        await stage.press("up", "e")
        await shows(stage, "editing an earlier question")
        assert named(stage) == ["pasted text 1"]
        await stage.press("enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 2, "the answer")
        assert stage.engine.asked[1].messages[-1]["content"].startswith('File "pasted text 1"')
        document.focus()
        await stage.press("up", "e")
        await stage.press("shift+tab", "d", "escape", "enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 3, "the answer")
        assert stage.engine.asked[2].messages[-1]["content"] == "what is it?"
        document.focus()
        await shows(stage, "r again")
        await stage.press("r")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 4, "the answer")


async def test_a_paste_alone_is_a_question_and_comes_back_where_it_cannot_be_sent(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=SCRIPT) as stage:
        await paste(stage, LONG)
        await stage.press("enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 1, "the answer")
        assert stage.engine.asked[0].messages[-1]["content"] == f'File "pasted text 1":\n```\n{LONG}```'
        assert place(stage).state.listed[0].title == "pasted text 1"
        (tmp_path / "a.bin").write_bytes(bytes(range(256)))
        await paste(stage, LONG)
        await stage.type(f"and @{tmp_path}/a.bin ")
        await stage.press("enter")
        await shows(stage, "neither text, PDF")
        await stage.until(lambda: named(stage) == ["a.bin", "pasted text 1"], "both are back")
        assert place(stage).prompt.text.startswith("and @")


async def test_a_chip_is_shown_whole(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("\x1b]52;c;aGk=\x07heron")
    async with staged(tmp_path / "home", place="chat", script=SCRIPT) as stage:
        await paste(stage, LONG)
        place(stage).prompt.set_text(f"see @{tmp_path}/note.md")
        await stage.until(lambda: len(place(stage).chips.all()) == 2, "the chip of the file is there")
        await stage.settle()
        await stage.press("shift+tab", "enter")
        await shows(stage, "line 3")
        await stage.press("escape", "right", "enter")
        await shows(stage, "]52;c;aGk=")
        assert "\x1b]52" not in stage.text()
        await stage.press("escape")
        assert place(stage).chip_row.has_focus


async def test_a_picture_says_before_it_is_sent_that_the_model_reads_none(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(picture("png", (40, 24)))
    async with staged(tmp_path / "home", place="chat", script=SCRIPT) as stage:
        stage.studio.chat._sight = lambda target: Sight(False, "Its engine says so.")
        await stage.type(f"what is @{tmp_path}/red.png ")
        await shows(stage, "red.png  qwen3-32b reads no pictures")
        assert place(stage).chips.all()[0].problem


async def test_chips_that_do_not_change_are_not_drawn_again(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=SCRIPT) as stage:
        await paste(stage, LONG)
        await shows(stage, "pasted text 1")
        drawn: list[object] = []
        row = place(stage).chip_row
        row.refresh = lambda *regions, **how: drawn.append(regions) or row  # type: ignore[func-returns-value, method-assign]
        for _ in range(3):
            place(stage).update_place()
        assert not drawn
