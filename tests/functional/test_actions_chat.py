"""What every action of the chat, its transcript and its list of chats does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.functional.acting import Scene, command, editor, fill_in, hides, shows, told
from tests.functional.stage import Staged
from tests.functional.test_chat import idle
from vllm_studio_tui.domain.chat import Delta, Ended, Message, Session, Timings, TokenUsage
from vllm_studio_tui.tui.screens.chat.chat_list import ChatList
from vllm_studio_tui.tui.screens.chat.place import ChatPlace

DONE = Ended("stop", TokenUsage(10, 20), Timings(0.1, None, 1.0, 40.0))
CUT = Ended("length", TokenUsage(10, 5), Timings(0.1, None, 1.0, 40.0))
CODE = "Like **this**:\n\n```python\nprint(1)\n```\n"
SHORT = (Delta(reasoning="a secret thought\nof two lines"), Delta(content=CODE), DONE)
LONG = (Delta(content="\n\n".join(f"paragraph {number} of {number % 40:02}" for number in range(200))), DONE)


def place(stage: Staged) -> ChatPlace:
    found = stage.app.current
    assert isinstance(found, ChatPlace)
    return found


def sessions(stage: Staged) -> list[Session]:
    return list(stage.studio.chat.sessions.list())


def branch(stage: Staged) -> list[Message]:
    session = place(stage).session
    assert session is not None
    return list(stage.studio.chat.messages.branch(session.id))


async def over(stage: Staged, asked: int) -> None:
    """Wait until the engine was asked so many times in all, and all was said."""
    await stage.until(lambda: len(stage.engine.asked) == asked and idle(stage), "the answer is over")
    await stage.settle()


async def answered(stage: Staged) -> None:
    """The chat "the question" with its one answer is open, and the prompt has the focus."""
    if not sessions(stage):
        await ask(stage, "the question")
    first = min(sessions(stage), key=lambda session: session.id)
    await place(stage).open(first.id)
    place(stage).prompt.focus()


async def reading(stage: Staged) -> None:
    """As `answered`, and the transcript has the focus."""
    await answered(stage)
    place(stage).document.focus()


async def afresh(stage: Staged) -> None:
    """A new chat with one answer, and the transcript has the focus."""
    stage.engine.script = SHORT
    place(stage).action_new()
    await ask(stage, "the question")
    place(stage).document.focus()


async def ask(stage: Staged, question: str) -> None:
    before = len(stage.engine.asked)
    place(stage).prompt.set_text(question)
    await stage.press("enter")
    await over(stage, before + 1)


async def ask_again(stage: Staged, question: str) -> None:
    """Ask something more, and read on."""
    place(stage).prompt.focus()
    await ask(stage, question)
    place(stage).document.focus()


chat = Scene("chat", place="chat", begin=answered, script=SHORT)
transcript = Scene("transcript", place="chat", begin=afresh)
long = Scene("long", place="chat", begin=reading, script=LONG)
listed = Scene("chats", place="chat", begin=afresh)
SCENES = (chat, transcript, long, listed)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


# --- chat -----------------------------------------------------------------------------------------------------


@chat.scenario("app.next-part", "app.previous-part")
async def _parts(stage: Staged) -> None:
    assert "tab transcript" in stage.lines()[-1]
    for part in (place(stage).document, place(stage).query_one("#chat-list"), place(stage).prompt):
        await stage.press("tab")
        assert part.has_focus
    for part in (place(stage).query_one("#chat-list"), place(stage).document, place(stage).prompt):
        await stage.press("shift+tab")
        assert part.has_focus


@listed.scenario("prompt.send", "prompt.newline")
async def _send(stage: Staged) -> None:
    asked = len(stage.engine.asked)
    place(stage).action_new()
    await stage.press("h", "ctrl+j", "h")
    assert place(stage).prompt.text == "h\nh"
    await stage.press("enter")
    await over(stage, asked + 1)
    assert stage.engine.asked[-1].messages[-1]["content"] == "h\nh"


@chat.scenario("chat.thinking")
async def _thinking(stage: Staged) -> None:
    assert "a secret thought" not in stage.text()
    await stage.press("ctrl+t")
    await shows(stage, "of two lines")
    await stage.press("ctrl+t")
    await hides(stage, "of two lines")


@chat.scenario("chat.new")
async def _new(stage: Staged) -> None:
    await stage.press("ctrl+n")
    await shows(stage, "Ask qwen3-32b anything.")
    assert place(stage).session is None


@chat.scenario("transcript.new", "chats.new")
async def _new_without_ctrl(stage: Staged) -> None:
    document = place(stage).document
    for part in (document, place(stage).query_one("#chat-list")):
        part.focus()
        await stage.press("n")
        await shows(stage, "Ask qwen3-32b anything.")
        assert place(stage).session is None
    document.focus()
    await shows(stage, "tab chat list")
    assert "fold all" not in stage.text()  # of an empty chat nothing is offered that does nothing


@chat.scenario("chat.chats")
async def _chats(stage: Staged) -> None:
    place(stage).action_new()
    await stage.press("ctrl+o")
    await shows(stage, "2 messages")
    await stage.press("enter")
    await shows(stage, "print(1)")
    assert place(stage).session == sessions(stage)[0]


@chat.scenario("chat.settings")
async def _settings(stage: Staged) -> None:
    await stage.press("f3")
    await shows(stage, "max tokens")
    await fill_in(stage, "temperature")
    await stage.press("enter")
    await shows(stage, "blank leaves it to the engine")
    await fill_in(stage, "0.25")
    await stage.press("enter")
    await shows(stage, "0.25")
    await stage.press("escape")
    assert sessions(stage)[0].settings["temperature"] == 0.25


@chat.scenario("chat.editor")
async def _editor(stage: Staged) -> None:
    place(stage).prompt.set_text("hello")
    with editor(stage, "s/hello/goodbye/"):
        await stage.press("f9")
    assert place(stage).prompt.text == "goodbye"
    place(stage).prompt.set_text("")


@chat.scenario("chat.find")
async def _find(stage: Staged) -> None:
    await stage.press("ctrl+f")
    await stage.type("like")
    assert place(stage).document.words == "like"
    await stage.press("escape")
    assert place(stage).document.words == ""


@chat.scenario("chat.copy-chat")
async def _copy_chat(stage: Staged) -> None:
    await command(stage, "copy the whole chat")
    assert stage.clip == f"## User\n\nthe question\n\n## Assistant\n\n{CODE}\n"


@listed.scenario("chat.artifacts")
async def _artifacts(stage: Staged) -> None:
    thought = Delta(reasoning="so:\n\n```html title=../../page\n<p>thought</p>\n```\n")
    stage.engine.script = (thought, Delta(content="\n\n```python ../main.py\nprint(2)\n```\n"), DONE)
    await ask_again(stage, "and then?")
    place(stage).prompt.focus()
    await command(stage, "code, pages and drawings")
    await shows(stage, "In thinking")
    assert "main.py" in stage.text()
    assert "page.html" in stage.text()
    await stage.press("enter")  # the newest is the first, and shown whole
    await shows(stage, "print(2)")
    await stage.press("escape")
    await shows(stage, "an artifact, or words in it")
    await fill_in(stage, "thought")
    await stage.press("ctrl+y")
    await stage.until(lambda: stage.clip == "<p>thought</p>\n", "it is copied")
    place(stage).prompt.set_text("/artifacts")
    await stage.press("enter")
    await shows(stage, "an artifact, or words in it")
    await stage.press("ctrl+s")
    await shows(stage, "Write main.py to")
    await stage.press("enter")
    await told(stage, "written to")
    (written,) = stage.studio.places.exports.glob("main-*.py")
    assert written.read_text() == "print(2)\n"
    place(stage).action_new()
    assert not place(stage).possible("artifacts")  # of an empty chat nothing is offered


@listed.scenario("chat.links")
async def _links(stage: Staged) -> None:
    stage.engine.script = (Delta(content="See [the docs](https://docs.example/x), or https://other.example/y."), DONE)
    await ask_again(stage, "where?")
    place(stage).prompt.focus()
    await stage.press("ctrl+l")
    await shows(stage, "the docs")
    await fill_in(stage, "other")
    await stage.press("enter")
    await shows(stage, "It stands in the answers.")
    await stage.press("escape")  # back to the list
    await shows(stage, "a link, or words in it")
    await stage.press("ctrl+y")  # the newest is the first
    await stage.until(lambda: stage.clip == "https://other.example/y", "it is copied")
    place(stage).prompt.set_text("/links")
    await stage.press("enter")
    await shows(stage, "a link, or words in it")
    await fill_in(stage, "docs")
    await stage.press("ctrl+g")
    await stage.until(lambda: place(stage).document.has_focus, "it is gone to")
    entry = place(stage).document.message
    assert entry is not None
    assert "docs.example" in entry.message.content
    place(stage).action_new()
    assert not place(stage).possible("links")


@chat.scenario("chat.model")
async def _model(stage: Staged) -> None:
    await stage.press("f4")
    await shows(stage, "launch gemma-3-12b")
    await fill_in(stage, "elsewhere")
    await stage.press("enter")
    await stage.until(lambda: sessions(stage)[0].settings.get("recipe") == "elsewhere", "it is kept with the chat")
    await shows(stage, "elsewhere")


# --- transcript -----------------------------------------------------------------------------------------------


def role(stage: Staged) -> str:
    """Who said the message under the cursor."""
    entry = place(stage).document.message
    assert entry is not None
    return entry.message.role


@transcript.scenario("transcript.up", "transcript.down")
async def _messages(stage: Staged) -> None:
    assert role(stage) == "assistant"
    for up, down in (("up", "down"), ("k", "j")):
        await stage.press(up)
        assert role(stage) == "user"
        await stage.press(down)
        assert role(stage) == "assistant"


@transcript.scenario("transcript.fold")
async def _fold(stage: Staged) -> None:
    await stage.press("enter")
    await shows(stage, "of two lines")
    await stage.press("enter")
    await hides(stage, "of two lines")


@transcript.scenario("transcript.copy")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    assert stage.clip == CODE


@transcript.scenario("transcript.export")
async def _export(stage: Staged) -> None:
    await stage.press("x")
    await shows(stage, "write this chat as")
    await stage.press("enter")
    await shows(stage, "Write this chat to")
    await stage.press("enter")
    await told(stage, "written to")
    (written,) = stage.studio.places.exports.glob("*.md")
    assert CODE.strip() in written.read_text()


@transcript.scenario("transcript.request")
async def _request(stage: Staged) -> None:
    await stage.press("t")
    await shows(stage, "Request lab")
    assert '"content": "the question"' in stage.text()
    await stage.press("escape")
    await hides(stage, "Request lab")


@transcript.scenario("transcript.copy-code")
async def _copy_code(stage: Staged) -> None:
    await stage.press("Y")
    assert stage.clip == "print(1)\n"


@transcript.scenario("transcript.regenerate", "transcript.previous", "transcript.next")
async def _again(stage: Staged) -> None:
    first, asked = branch(stage)[-1], len(stage.engine.asked)
    await stage.press("r")
    await over(stage, asked + 1)
    await shows(stage, "‹ 2 of 2 ›")
    second = branch(stage)[-1]
    assert second.id != first.id
    for back, onward in (("h", "l"), ("left", "right")):
        await stage.press(back)
        await shows(stage, "‹ 1 of 2 ›")
        assert branch(stage)[-1].id == first.id
        await stage.press(onward)
        await shows(stage, "‹ 2 of 2 ›")
        assert branch(stage)[-1].id == second.id


@transcript.scenario("transcript.edit")
async def _edit(stage: Staged) -> None:
    asked = len(stage.engine.asked)
    await stage.press("up", "e")
    await shows(stage, "editing an earlier question")
    assert place(stage).prompt.text == "the question"
    place(stage).prompt.set_text("another question")
    await stage.press("enter")
    await over(stage, asked + 1)
    assert branch(stage)[0].content == "another question"
    assert stage.engine.asked[-1].messages[-1]["content"] == "another question"
    place(stage).document.focus()
    await stage.press("up")
    await shows(stage, "‹ 2 of 2 ›")  # the question before is not lost
    await stage.press("left")
    await stage.until(lambda: branch(stage)[0].content == "the question", "the question before")


@transcript.scenario("transcript.continue")
async def _continue(stage: Staged) -> None:
    stage.engine.script = (Delta(content="half"), CUT)
    place(stage).action_new()
    await ask(stage, "the question")
    await shows(stage, "cut at 5 tokens")
    stage.engine.script = (Delta(content=" and whole"), DONE)
    place(stage).document.focus()
    await stage.press("c")
    await shows(stage, "half and whole")
    await stage.until(lambda: branch(stage)[-1].content == "half and whole", "it is kept as one answer")


@chat.scenario("chat.import")
async def _import(stage: Staged) -> None:
    kept, folder = len(sessions(stage)), stage.studio.places.data / "exports"
    folder.mkdir(exist_ok=True)
    talk = [{"role": "user", "content": "What flies?"}, {"role": "assistant", "content": "A bird."}]
    for name in ("one", "two"):
        document = {"title": f"Talk {name}", "messages": [*talk, {"role": "user", "content": name}]}
        (folder / f"{name}.json").write_text(json.dumps(document))
    place(stage).document.focus()
    await stage.press("I")
    await shows(stage, "a file with chats")
    await fill_in(stage, f"{folder}/one.json")
    await shows(stage, "this file")
    await stage.press("enter")
    await shows(stage, "Import from one.json?")
    await shows(stage, "1 new chat, 3 messages: Talk one")
    await stage.press("escape")
    assert len(sessions(stage)) == kept
    place(stage).prompt.set_text(f"/import {folder}/one.json")
    place(stage).prompt.focus()
    await stage.press("enter")
    await shows(stage, "Import from one.json?")
    await stage.press("enter")
    await stage.until(lambda: len(sessions(stage)) == kept + 1, "it is here")
    await shows(stage, "A bird.")
    place(stage).document.focus()
    await stage.press("I")
    await fill_in(stage, f"{folder}/")
    await shows(stage, "all 2 files ending in .json")
    await stage.press("enter")
    await shows(stage, "Import from 2 files?")
    await shows(stage, "1 chat here already, with nothing new")
    await stage.press("i")
    await stage.until(lambda: len(sessions(stage)) == kept + 2, "the other one too")
    await stage.settle()
    for one in sessions(stage):
        if one.title.startswith("Talk"):
            stage.studio.chat.sessions.trash(one.id)


@transcript.scenario("transcript.continue")
async def _continue_where_nothing_was_said(stage: Staged) -> None:
    stage.engine.script = (Delta(reasoning="hm"), CUT)
    place(stage).action_new()
    await ask(stage, "the question")
    stage.engine.script = (Delta(content="said after all"), DONE)
    place(stage).document.focus()
    await stage.press("c")
    await shows(stage, "said after all")
    await stage.until(lambda: branch(stage)[-1].content == "said after all", "another answer beside it")
    await shows(stage, "‹ 2 of 2 ›")


@transcript.scenario("transcript.tree")
async def _tree(stage: Staged) -> None:
    asked = len(stage.engine.asked)
    await stage.press("r")
    await over(stage, asked + 1)
    await shows(stage, "‹ 2 of 2 ›")
    first, second = [one.id for one in branch(stage)], branch(stage)[-1].id
    await stage.press("v")
    await shows(stage, "3 messages   2 branches")
    await shows(stage, "├")
    await stage.press("k", "left")  # to the first answer, whose branch has nothing to fold
    await stage.press("enter")
    await shows(stage, "‹ 1 of 2 ›")
    assert branch(stage)[-1].id != second
    assert branch(stage)[0].id == first[0]
    await stage.press("v")
    await shows(stage, "go there")
    await stage.press("right_square_bracket", "enter")
    await shows(stage, "‹ 2 of 2 ›")
    assert branch(stage)[-1].id == second


@transcript.scenario("transcript.delete")
async def _take_away(stage: Staged) -> None:
    for key in ("d", "delete"):
        before = [one.id for one in branch(stage)]
        await stage.press(key)  # the answer alone goes at once
        await told(stage, "1 message is taken away. u brings it back.")
        assert [one.id for one in branch(stage)] == before[:-1]
        await stage.press("u")
        await told(stage, "1 message is here again")
        await stage.until(lambda: "print(1)" in stage.text(), "it is shown again")
        assert [one.id for one in branch(stage)] == before  # noqa: B023, RUF100
    await ask_again(stage, "and then?")
    await stage.press("g", "d")
    await shows(stage, "With it go 3 messages below it")
    await stage.press("escape")
    assert len(branch(stage)) == 4
    await stage.press("d")
    await shows(stage, "take them away")
    await stage.press("d")
    await told(stage, "4 messages are taken away")
    assert branch(stage) == []


@transcript.scenario("transcript.pin", "chat.bookmarks")
async def _bookmark(stage: Staged) -> None:
    marked = branch(stage)[-1]
    await stage.press("p")
    await told(stage, "Bookmarked")
    assert stage.studio.chats.marks.bookmarks()[0].id == marked.id
    place(stage).action_new()
    await command(stage, "bookmarked messages of all chats")
    await shows(stage, "a bookmarked message")
    await stage.press("enter")
    await shows(stage, "the question")
    await stage.until(lambda: place(stage).session is not None, "its chat is open")
    place(stage).document.focus()
    await stage.press("p")
    await told(stage, "No longer bookmarked")
    assert stage.studio.chats.marks.bookmarks() == []


@transcript.scenario("transcript.editor")
async def _read_in_editor(stage: Staged) -> None:
    await stage.press("E")
    await told(stage, "An editor cannot be opened on this terminal.")


@listed.scenario("chats.pin", "chats.tags")
async def _pin_and_tag(stage: Staged) -> None:
    place(stage).query_one("#chat-list").focus()
    here = place(stage).session
    assert here is not None
    await stage.press("p")
    await shows(stage, "Pinned")
    assert stage.studio.chats.get(here.id).pinned_at is not None
    await stage.press("p")
    await hides(stage, "Pinned")
    await stage.press("number_sign")
    await shows(stage, "Tags of this chat")
    await stage.type("#Night, work")
    await stage.press("enter")
    await stage.until(lambda: stage.studio.chats.get(here.id).tags == ("night", "work"), "it has its tags")
    await stage.press("ctrl+o")
    await stage.type("night")
    await shows(stage, "1 of 1")
    await stage.press("escape")


@listed.scenario("chat.tab", "chat.next-tab", "chat.previous-tab", "chats.tab")
async def _tabs(stage: Staged) -> None:
    first = place(stage).chat.id
    place(stage).prompt.focus()
    await stage.press("f11")
    await told(stage, "Kept in a tab")
    await stage.press("ctrl+n")
    await shows(stage, "▌New chat")
    await stage.press("ctrl+pageup")
    await stage.until(lambda: place(stage).chat.id == first, "the tab before")
    await stage.press("ctrl+pagedown")
    await stage.until(lambda: place(stage).state.left_off.tabs == [first], "the one tab that is kept")
    place(stage).query_one("#chat-list").focus()
    place(stage).query_one("#chat-list", ChatList).choose(first or "")
    await stage.press("T")
    await stage.until(lambda: place(stage).state.left_off.tabs == [], "none is kept")


@transcript.scenario("transcript.fork")
async def _fork(stage: Staged) -> None:
    origin = place(stage).session
    assert origin is not None
    await stage.press("F")
    await told(stage, "This is a copy up to here")
    copied = place(stage).session
    assert copied is not None
    assert copied.id != origin.id
    assert copied.title == "the question (fork)"
    assert [message.content for message in branch(stage)] == ["the question", CODE]


@long.scenario("transcript.page-up", "transcript.page-down")
async def _pages(stage: Staged) -> None:
    assert "paragraph 199 " in stage.text()
    await stage.press("pageup")
    await hides(stage, "paragraph 199 ")
    assert "lines below" in stage.text()
    await stage.press("pagedown")
    await shows(stage, "paragraph 199 ")


@long.scenario("prompt.page-up", "prompt.page-down")
async def _pages_while_writing(stage: Staged) -> None:
    place(stage).prompt.focus()
    await shows(stage, "paragraph 199 ")
    await stage.press("pageup")
    await hides(stage, "paragraph 199 ")
    await stage.press("pagedown")
    await shows(stage, "paragraph 199 ")
    assert place(stage).prompt.has_focus


@long.scenario("transcript.first", "transcript.last")
async def _ends(stage: Staged) -> None:
    for first, last in (("home", "end"), ("g", "G")):
        await stage.press(first)
        await shows(stage, "paragraph 0 ")
        await stage.press(last)
        await shows(stage, "paragraph 199 ")
        assert place(stage).document.following


@long.scenario("transcript.find", "transcript.next-stop", "transcript.previous-stop")
async def _hits(stage: Staged) -> None:
    await stage.press("slash")
    await stage.type("of 20")
    await stage.press("enter")
    assert place(stage).document.has_focus
    for key, number in (("[", 140), ("[", 100), ("]", 140), ("[", 100), ("[", 60), ("[", 20)):
        await stage.press({"[": "left_square_bracket", "]": "right_square_bracket"}[key])
        await shows(stage, f"paragraph {number} of 20")
    await stage.press("escape")


@long.scenario("transcript.fold-all")
async def _fold_all(stage: Staged) -> None:
    opened = place(stage).document._open_thoughts
    await stage.press("z")
    assert place(stage).document._open_thoughts is not opened


@transcript.scenario("transcript.next-stop", "transcript.previous-stop")
async def _questions(stage: Staged) -> None:
    await ask_again(stage, "the second question")
    document = place(stage).document
    for key, number in (("[", 2), ("[", 0), ("]", 2), ("[", 0)):
        await stage.press({"[": "left_square_bracket", "]": "right_square_bracket"}[key])
        assert document.current == number


# --- the list of chats ----------------------------------------------------------------------------------------


@listed.scenario("chats.open")
async def _open(stage: Staged) -> None:
    (first, *_) = reversed(sessions(stage))
    place(stage).action_new()
    listed_chats = place(stage).query_one("#chat-list", ChatList)
    listed_chats.focus()
    listed_chats.choose(first.id)
    await stage.press("enter")
    await stage.until(lambda: place(stage).chat.id == first.id, "it is open")


@listed.scenario("chats.rename")
async def _rename(stage: Staged) -> None:
    for number, key in enumerate(("e", "f9")):
        if key == "f9":  # among all chats, where letters are looked for
            await stage.press("ctrl+o")
            await shows(stage, "2 messages")
        else:
            place(stage).query_one("#chat-list").focus()
        await stage.press(key)
        await shows(stage, "Rename the chat")
        await fill_in(stage, f"a better name {number}")
        await stage.press("enter")
        await stage.until(lambda: f"a better name {number}" in [one.title for one in sessions(stage)], "renamed")  # noqa: B023, RUF100
        await stage.press("escape")


@listed.scenario("chats.delete")
async def _delete(stage: Staged) -> None:
    for key in ("d", "delete", "ctrl+d"):
        await afresh(stage)
        before = sessions(stage)
        if key == "d":
            place(stage).query_one("#chat-list").focus()
        else:
            await stage.press("ctrl+o")
            await shows(stage, "2 messages")
        await stage.press(key)
        await shows(stage, "put it into the trash")
        await stage.press("d")
        await stage.until(lambda: len(sessions(stage)) == len(before) - 1, "gone")  # noqa: B023, RUF100
        (gone,) = {one.id for one in before} - {one.id for one in sessions(stage)}
        assert gone in {one.id for one in stage.studio.chat.sessions.list(trash=True)}
        await told(stage, "is deleted. u brings it back")
        await stage.press("escape")
        place(stage).document.focus()
        await stage.press("u")
        await stage.until(lambda: gone in {one.id for one in sessions(stage)}, "it is back")  # noqa: B023, RUF100
