"""What is typed and not sent is kept, within bounds, whatever the file holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vllm_studio_tui.domain.chat import Attached
from vllm_studio_tui.domain.draft import Draft, joined
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat import drafts
from vllm_studio_tui.services.chat.attachments import reading
from vllm_studio_tui.services.chat.attachments.looking import FileLook
from vllm_studio_tui.services.chat.attachments.reading import named, pasted
from vllm_studio_tui.services.chat.drafts import LeftOff, load_left_off, save_left_off


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


def with_paste(text: str, name: str = "pasted text 1") -> Draft:
    return Draft("what is it?", (pasted(text, name),))


def test_a_draft_is_kept_with_what_was_pasted(places: Places) -> None:
    left = LeftOff(drafts={"a": Draft("alone"), "": with_paste("x\n" * 90)}, stash=[with_paste("y")])
    assert save_left_off(places, left)
    found = load_left_off(places)
    assert (found.drafts, found.stash) == (left.drafts, left.stash)
    assert json.loads((places.state / "desk.json").read_text())["drafts"]["a"] == "alone"


def test_the_oldest_pastes_go_where_all_are_too_long(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "PASTED", 100)
    left = LeftOff(drafts={"old": with_paste("x" * 60), "new": with_paste("y" * 60)})
    save_left_off(places, left)
    found = load_left_off(places)
    assert found.drafts == {"old": Draft("what is it?"), "new": with_paste("y" * 60)}


@pytest.mark.parametrize(
    "written",
    ['{"drafts": {"a": {"text": 3, "pasted": [{"name": 1, "text": "t"}, 4, {"text": 5}]}}, "stash": [{}, 7]}',
     '{"drafts": {"a": {"pasted": {"text": "t"}}}, "stash": [{"pasted": "x"}]}'],
)  # fmt: skip
def test_a_file_of_another_shape_is_read_as_far_as_it_goes(places: Places, written: str) -> None:
    places.state.mkdir(parents=True)
    (places.state / "desk.json").write_text(written)
    assert isinstance(load_left_off(places).draft("a"), Draft)


def test_questions_become_one_with_all_that_goes_with_them() -> None:
    first, second = with_paste("x"), with_paste("y", "pasted text 2")
    assert joined(first, Draft(" "), second, first).text == "what is it?\n\nwhat is it?\n\nwhat is it?"
    assert [one.file.name for one in joined(first, second, first).attached] == ["pasted text 1", "pasted text 2"]
    assert not Draft(" \n") and Draft(attached=(pasted("x"),)).title == "pasted"
    assert isinstance(first.attached[0], Attached)


def test_words_that_name_files_are_told_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    (tmp_path / "b c.md").write_text("b")
    text = 'see (@a.md), @"b c.md"! and @a.md. but @none.md and me@a.md'
    assert [word for word, _ in named(text, tmp_path)] == ["@a.md", '@"b c.md"', "@a.md", "@none.md"]


def test_a_file_is_looked_at_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    theirs = reading.read

    def counted(path: str) -> Attached:
        read.append(path)
        return theirs(path)

    monkeypatch.setattr(reading, "read", counted)
    (tmp_path / "a.md").write_text("a")
    look = FileLook()
    (found,) = look.at("@a.md and @a.md", tmp_path)
    assert (found.word, found.file.tokens, found.file.text, found.problem) == ("@a.md", 1, "", "")
    look.at("@a.md", tmp_path)
    assert len(read) == 1
    (tmp_path / "a.md").write_bytes(bytes(range(256)))
    (found,) = look.at("@a.md", tmp_path)
    assert (len(read), found.problem) == (2, "It holds bytes that are no text.")
    (tmp_path / "a.md").unlink()
    assert look.at("@a.md", tmp_path) == []
