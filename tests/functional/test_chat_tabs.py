"""Chats that are kept open in tabs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.functional.stage import Staged, staged
from tests.functional.test_chat import DONE, ask, idle, place
from tests.functional.test_tool_cards import RUN, SAR, chatting
from tests.unit.tool_box import calls
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.drafts import TABS, load_left_off
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.screens.chat.tabs import Tab, tab_row

SHORT = (Delta(content="an answer"), DONE)
LONG = (Delta(content="\n\n".join(f"paragraph {number:03}" for number in range(120))), DONE)


def three(studio: Studio) -> None:
    """Three chats; the last one is used last."""
    for title in ("apples", "pears", "plums"):
        studio.chat.new_session(title)


def ids(stage: Staged) -> dict[str, str]:
    return {session.title: session.id for session in stage.studio.chat.sessions.list()}


def tabs_line(stage: Staged) -> str:
    """Return the row of tabs; empty where there is none."""
    canvas = place(stage).query_one("#chat-tabs")
    return stage.lines()[canvas.region.y] if canvas.display else ""


async def kept(stage: Staged, *titles: str) -> None:
    """Open these chats and keep each in a tab."""
    for title in titles:
        await place(stage).open(ids(stage)[title])
        await stage.press("f11")
        await stage.settle()


async def test_one_chat_alone_takes_no_row_for_tabs(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", size=(80, 24), prepare=three) as stage:
        await kept(stage, "apples")
        assert tabs_line(stage) == ""
        await place(stage).open(ids(stage)["pears"])
        await stage.until(lambda: "apples" in tabs_line(stage) and "pears" in tabs_line(stage), "two tabs")
        await place(stage).open(ids(stage)["plums"])
        await stage.until(lambda: "plums" in tabs_line(stage), "what is opened next stands behind the kept one")
        assert "pears" not in tabs_line(stage), "instead of what was merely looked at"
        assert "apples" in tabs_line(stage)


async def test_keys_go_round_the_tabs_and_each_has_its_draft_and_its_place(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", size=(100, 30), prepare=three, script=LONG) as stage:
        await place(stage).open(ids(stage)["apples"])
        await ask(stage, "tell me much")
        await kept(stage, "apples", "pears")
        await stage.type("half a thought")
        await stage.press("ctrl+pagedown")
        await stage.until(lambda: place(stage).chat.id == ids(stage)["apples"], "round to the first")
        assert place(stage).prompt.text == ""
        place(stage).document.scroll_lines(-60)
        await stage.until(lambda: "paragraph 119" not in stage.text(), "one reads above the end")
        before = [line for line in stage.lines() if "paragraph" in line]
        await stage.press("ctrl+pageup")
        await stage.until(lambda: place(stage).prompt.text == "half a thought", "the draft of the other")
        await stage.press("ctrl+pageup")
        await stage.until(lambda: place(stage).chat.id == ids(stage)["apples"], "back")
        await stage.settle()
        assert [line for line in stage.lines() if "paragraph" in line] == before


async def test_a_tab_tells_that_an_answer_comes_and_that_it_was_not_seen(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    script = (Delta(content="it begins"), go_on.wait, Delta(content=" and ends"), DONE)
    async with staged(tmp_path, place="chat", size=(100, 30), prepare=three, script=script) as stage:
        await kept(stage, "apples", "pears")
        await stage.type("go")
        await stage.press("enter")
        await stage.until(lambda: "it begins" in stage.text(), "it streams")
        await stage.press("ctrl+pageup")
        await stage.until(lambda: place(stage).chat.id == ids(stage)["apples"], "the other tab")
        spin = stage.app.ink.glyphs.state("loading")[0]
        await stage.until(lambda: f"{spin} pears" in tabs_line(stage), "an answer comes there")
        go_on.set()
        await stage.until(lambda: not place(stage).answers.running, "it is over")
        await stage.until(lambda: f"{stage.app.ink.glyphs.bullet} pears" in tabs_line(stage), "nobody saw it yet")
        await stage.press("ctrl+pageup")
        await stage.until(lambda: "it begins and ends" in stage.text(), "now it is seen")
        assert stage.app.ink.glyphs.bullet not in tabs_line(stage)


async def test_a_tab_tells_that_a_call_waits_for_a_person(tmp_path: Path) -> None:
    async with chatting(tmp_path, calls(SAR), SHORT) as (stage, _, _rounds):
        await stage.type("how busy is it?")
        await stage.press("enter")
        await stage.until(lambda: place(stage).asking.consent.waiting is not None, f"{RUN.name} waits")
        await stage.press("f11", "ctrl+n")
        await stage.until(lambda: "New chat" in tabs_line(stage), "another tab")
        warning = stage.app.ink.glyphs.warning
        await stage.until(lambda: f"{warning} how busy" in tabs_line(stage), "it is said that it waits")
        await stage.press("ctrl+pageup")
        await stage.until(lambda: place(stage).asking.consent.waiting is not None, "it can be answered there")
        place(stage).asking.answers.stop(place(stage).chat.id or "")
        await stage.until(lambda: idle(stage), "over")


async def test_tabs_come_back_with_the_studio_and_go_with_their_chats(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", prepare=three) as stage:
        await kept(stage, "apples", "pears")
        pears = ids(stage)["pears"]
        await place(stage).leaving()
    assert len(load_left_off(Places.under(tmp_path)).tabs) == 2
    async with staged(tmp_path, place="chat", recipes=()) as stage:
        await stage.until(lambda: "apples" in tabs_line(stage) and "pears" in tabs_line(stage), "both are there")
        stage.studio.chat.sessions.trash(pears)
        await place(stage).reload_list()
        await place(stage).open(ids(stage)["plums"])
        await stage.until(lambda: "plums" in tabs_line(stage), "tabs")
        assert "pears" not in tabs_line(stage)
        stage.studio.chat.sessions.restore(pears)
        await place(stage).reload_list()
        await stage.until(lambda: "pears" in tabs_line(stage), "it is brought back, and so is its tab")


async def test_letting_go_of_a_tab_keeps_its_chat_in_front(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", prepare=three) as stage:
        await kept(stage, "apples", "pears")
        await stage.press("f11")
        await stage.settle()
        assert place(stage).chat.id == ids(stage)["pears"]
        await place(stage).open(ids(stage)["plums"])
        await stage.until(lambda: "plums" in tabs_line(stage), "tabs")
        assert "pears" not in tabs_line(stage)
        await stage.press("ctrl+o")
        await stage.until(lambda: "Tabs" in stage.text(), "the list of chats has them first")
        await stage.press("escape")


async def test_the_smallest_window_tells_which_tab_it_is(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", size=(40, 6), prepare=three) as stage:
        await kept(stage, "apples", "pears")
        assert tabs_line(stage) == ""
        await stage.until(lambda: "2/2 pears" in stage.text(), "the head tells")


async def test_a_chat_that_does_not_exist_yet_and_one_tab_too_many_are_told(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", prepare=three) as stage:
        await stage.press("f11")
        await stage.until(lambda: "from its first question on" in stage.text(), "it is said")
        place(stage).state.left_off.tabs = [f"chat {number}" for number in range(TABS)]
        await place(stage).open(ids(stage)["plums"])
        await stage.press("f11")
        await stage.until(lambda: f"{TABS} tabs are the most" in stage.text(), "it is said")


@given(
    st.lists(st.tuples(st.text(max_size=60), st.booleans(), st.sampled_from(["", "waits", "writing", "unseen"])),
             min_size=1, max_size=13),
    st.integers(0, 12),
    st.integers(20, 200),
    st.booleans(),
)  # fmt: skip
def test_any_tabs_fit_into_any_width_with_the_one_in_front_among_them(
    made: list[tuple[str, bool, str]], front: int, width: int, ascii_only: bool
) -> None:
    tabs = [Tab(str(at), title, kept, mark) for at, (title, kept, mark) in enumerate(made)]
    glyphs = ASCII if ascii_only else UNICODE
    row = tab_row(tabs, str(front), glyphs, width)
    assert len(row.text()) <= width
    if front < len(tabs):
        assert any(text == glyphs.cursor for _, text, _ in row.pieces)
    assert all(start < end <= width for start, end, _ in row.links)
