"""The prompt, by keys: what is completed, commands, lines for the shell, pasted texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events

from tests.functional.acting import hides, shows, told
from tests.functional.stage import Staged, staged
from tests.functional.test_chat import ask, idle, place
from vllm_studio_tui.domain.chat import Delta, Ended
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.drafts import load_left_off
from vllm_studio_tui.tui.sheets.dialogs import Question

ANSWER = (Delta(content="Hello."), Ended("stop"))


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the studio was started."""
    made = tmp_path_factory.mktemp("here")
    (made / "src").mkdir()
    (made / "src" / "my notes.txt").write_text("notes")
    (made / "src" / "main.py").write_text("print(1)")
    (made / "other.md").write_text("other")
    monkeypatch.chdir(made)
    return made


async def write(stage: Staged, text: str) -> None:
    """Write with keys that Textual has no names for."""
    for character in text:
        await stage.app.on_event(events.Key(character, character)) if character in "@#!\\" else await stage.type(
            character
        )
    await stage.settle()


async def paste(stage: Staged, text: str) -> None:
    await stage.app.on_event(events.Paste(text))
    await stage.settle()


async def test_a_file_is_completed(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        prompt = place(stage).prompt
        await write(stage, "see @no")
        await shows(stage, "src/my notes.txt")
        assert "enter take it" in stage.lines()[-1]
        await stage.press("enter")
        assert prompt.text == 'see @"src/my notes.txt" '
        await hides(stage, "of 4 in")
        await write(stage, "@")
        await shows(stage, "other.md")
        await stage.press("down", "down")
        await stage.press("tab")
        assert prompt.text == 'see @"src/my notes.txt" @src/main.py '
        await write(stage, "@sr")
        await shows(stage, "folder")
        await stage.press("enter")  # what is in a folder comes next
        assert prompt.text.endswith(" @src/")
        await shows(stage, "2 of 4 in")
        await stage.press("escape")
        assert prompt.has_focus
        await stage.press("escape")
        assert not prompt.has_focus


async def test_what_was_closed_stays_closed_until_something_else_is_written(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        await write(stage, "@src/ma")
        await shows(stage, "1 of 4 in")
        await stage.press("escape")
        await hides(stage, "1 of 4 in")
        await stage.press("enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 1, "it is sent as it is")
        assert stage.engine.asked[0].messages[-1]["content"] == "@src/ma"


async def test_commands_are_completed_and_done(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        prompt, chat = place(stage).prompt, place(stage).chat
        await write(stage, "/prese")
        await shows(stage, "/preset name")
        await stage.press("enter")  # it takes a name
        assert prompt.text == "/preset "
        await write(stage, "exact")
        await stage.press("enter")
        await stage.until(lambda: chat.settings.get("preset") == "exact", "the preset")
        assert prompt.text == ""
        await write(stage, "/preset fre")
        await shows(stage, "min_p 0.05")
        await stage.press("enter")  # all is said: it is done
        await stage.until(lambda: chat.settings.get("preset") == "free", "another preset")
        await write(stage, "/preset exact")
        await stage.press("enter")
        await stage.until(lambda: chat.settings.get("preset") == "exact", "the first preset again")
        await write(stage, "/set mirostat-t")
        await shows(stage, "how much surprise")
        await stage.press("enter")
        assert prompt.text == "/set mirostat_tau "
        prompt.set_text("")
        await write(stage, "/set min-p 0.05")
        await stage.press("enter")
        await stage.until(lambda: chat.settings.get("min_p") == 0.05, "the parameter")
        await write(stage, "/set min-p x")
        await stage.press("enter")
        await told(stage, "min_p: not a number")
        await write(stage, "/set mirostat 2")
        await stage.press("enter")
        await told(stage, "vLLM takes no mirostat: it will not be sent.")
        await write(stage, "/think off")
        await stage.press("enter")
        await write(stage, "/system Be short.")
        await stage.press("enter")
        await stage.until(lambda: chat.settings.get("system") == "Be short.", "the system prompt")
        await write(stage, "/sto")
        await stage.press("enter")  # /stop-at
        await write(stage, "END")
        await stage.press("enter")
        await stage.until(lambda: chat.settings.get("stop") == ["END"], "where answers end")
        await ask(stage, "hi")
        sampling = stage.engine.asked[-1].sampling
        assert (sampling.temperature, sampling.others["min_p"], sampling.stop) == (0.2, 0.05, ("END",))
        assert sampling.thinking is False
        assert stage.engine.asked[-1].messages[0] == {"role": "system", "content": "Be short."}
        await write(stage, "/tool-choice required")
        await stage.press("enter")
        await told(stage, "This chat has no tools to call: /tools chooses them.")
        assert chat.settings.get("tool_choice") == "required"
        await write(stage, "/set tool-choice none")
        await stage.press("enter")
        await stage.until(lambda: chat.settings.get("tool_choice") == "none", "calls are forbidden")
        await write(stage, "/tool-choice ")
        await stage.press("escape", "enter")
        await shows(stage, "calls none")
        await stage.press("a", "u", "t", "enter")
        await stage.until(lambda: chat.settings.get("tool_choice") is None, "calls are left to the model")
        await write(stage, "/set")
        await stage.press("escape", "enter")
        await shows(stage, "Not taken")
        await shows(stage, "vLLM takes none")
        await stage.press("escape")


async def test_a_schema_comes_from_a_file(tmp_path: Path, folder: Path) -> None:
    (folder / "person.json").write_text('{"type": "object"}')
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        await write(stage, "/schema nothing.json")
        await stage.press("enter")
        await told(stage, "nothing.json cannot be read")
        await write(stage, "/schema person.json")
        await stage.press("enter")
        await told(stage, "Answers must be JSON by a schema: person.json.")
        await ask(stage, "hi")
        form = stage.engine.asked[-1].sampling.form
        assert form is not None and form.value == {"type": "object"}
        await write(stage, "/schema off")
        await stage.press("enter")
        await told(stage, "Answers are free again.")


async def test_what_is_no_command_is_kept_or_sent(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        await write(stage, "/nothing here")
        await stage.press("enter")
        await told(stage, "There is no /nothing")
        assert stage.engine.asked == [] and place(stage).prompt.text == "/nothing here"
        place(stage).prompt.set_text("/etc/passwd is what?")
        await stage.press("enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 1, "it is sent")


async def test_a_line_for_the_shell_is_asked_for_first(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        prompt = place(stage).prompt
        await write(stage, "!touch made; echo $((40 + 2))")
        await stage.press("enter")
        await stage.until(lambda: isinstance(stage.app.screen, Question), "the question")
        await stage.press("enter")  # the gentle answer
        assert prompt.text.startswith("!touch")
        assert not (Path.cwd() / "made").exists()
        await stage.press("enter")
        await stage.until(lambda: isinstance(stage.app.screen, Question), "the question")
        await stage.press("a")
        await stage.until(lambda: "\n42\n" in prompt.text, "what it printed")
        assert prompt.text == "$ touch made; echo $((40 + 2))\n```\n42\n```\n"
        assert (Path.cwd() / "made").exists()
        assert stage.engine.asked == []


async def test_a_line_that_goes_on_is_ended_by_escape(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        await write(stage, "!sleep 50")
        await stage.press("enter")
        await stage.until(lambda: isinstance(stage.app.screen, Question), "the question")
        await stage.press("a")
        await told(stage, "sleep 50 runs; esc ends it.")
        assert "esc end command" in stage.lines()[-1]
        await stage.press("escape")
        await told(stage, "The command was ended.")
        assert place(stage).prompt.text == ""


async def test_a_long_paste_goes_with_the_question_as_a_file_does(tmp_path: Path) -> None:
    long = "".join(f"line {number}\n" for number in range(60))
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        prompt = place(stage).prompt
        await paste(stage, long)
        await shows(stage, "pasted text 1  470 B  about 118 tok")
        assert prompt.text == ""
        place(stage).hidden()
        await stage.settle()
        (kept,) = load_left_off(Places.under(tmp_path)).draft(None).attached
        assert kept.file.text == long
        await write(stage, "what is it?")
        await stage.press("enter")
        await stage.until(lambda: idle(stage) and len(stage.engine.asked) == 1, "the answer")
        sent = stage.engine.asked[0].messages[-1]["content"]
        assert sent == f'File "pasted text 1":\n```\n{long}```\n\nwhat is it?'
        assert "file  pasted text 1   470 B   about 118 tok" in stage.text()
        assert not place(stage).chip_row.display


async def test_the_pasted_path_of_a_file_names_the_file(tmp_path: Path, folder: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        prompt = place(stage).prompt
        await paste(stage, f"{folder}/src/my notes.txt")
        await stage.until(lambda: prompt.text == f'@"{folder}/src/my notes.txt" ', "the file")
        prompt.set_text("")
        await paste(stage, "/no/such/file")
        assert prompt.text == "/no/such/file"
        prompt.set_text("")
        await paste(stage, "two\nlines")
        assert prompt.text == "two\nlines"


async def test_a_text_of_the_library_is_found_by_its_name(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        stage.studio.library.save("prompt", "bug", {"text": "Write a bug report about "})
        stage.studio.library.save("system", "brief", {"text": "Be brief."})
        prompt = place(stage).prompt
        await write(stage, "Please. #bu")
        await shows(stage, "Write a bug report about")
        await stage.press("enter")
        await stage.until(lambda: prompt.text == "Please. Write a bug report about ", "the prompt")
        prompt.set_text("")
        await write(stage, "#bri")
        await shows(stage, "system prompt")
        await stage.press("tab")
        await stage.until(lambda: place(stage).chat.settings.get("system") == "Be brief.", "the system prompt")
        await ask(stage, "a question")
        await write(stage, "/keep asked")
        await stage.press("enter")
        await told(stage, "asked is in the library")
        assert stage.studio.library.get("prompt", "asked").text == "a question"


async def test_what_is_listed_can_be_clicked(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        await write(stage, "/pres")
        await shows(stage, "/preset name")
        assert "tab" not in stage.lines()[-1]
        await stage.pilot.click("#chat-complete", offset=(8, 0))
        await stage.until(lambda: place(stage).prompt.text == "/preset ", "the command")
