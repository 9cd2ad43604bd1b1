"""The clipboard's answers among the keys, whatever the pieces they come in, and what is remembered of terminals."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.drivers import linux_driver

from vllm_studio_tui.probes.clipboard import KnownTerminals, TmuxClipboard, read_reply, terminal_key
from vllm_studio_tui.tui.terminal import late_answers


@pytest.fixture(scope="module")
def parsers() -> Iterator[Any]:
    before = vars(linux_driver)["XTermParser"]
    late_answers.install(None)
    yield vars(linux_driver)["XTermParser"]
    vars(linux_driver)["XTermParser"] = before


def typed(parser: Any, pieces: list[str]) -> str:
    found = [event for piece in pieces if piece for event in parser.feed(piece)]
    return "".join(event.character or "" for event in found if isinstance(event, events.Key))


@given(st.text(max_size=60), st.lists(st.integers(0, 120), max_size=6), st.sampled_from(["\x07", "\x1b\\"]))
def test_an_answer_in_any_pieces_is_no_key_and_reaches_who_asked(
    parsers: Any, text: str, cuts: list[int], end: str
) -> None:
    held = text.encode("utf-8", "replace")
    whole = f"a\x1b]52;c;{base64.b64encode(held).decode()}{end}b"
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:stop] for start, stop in itertools.pairwise(edges)]

    async def ask() -> bytes:
        answer = late_answers.CLIPBOARD.expect()
        assert typed(parsers(), pieces) == "ab"
        return await asyncio.wait_for(answer, 5)

    assert asyncio.run(ask()) == held


def test_an_answer_that_nobody_waits_for_any_more_is_no_key_either(parsers: Any) -> None:
    async def give_up() -> None:
        late_answers.CLIPBOARD.expect().cancel()

    asyncio.run(give_up())
    assert typed(parsers(), ["x\x1b]52;c;", "cm0gLXJmIC8K\x07", "y"]) == "xy"


@given(st.text())
def test_whatever_stands_for_base64_is_read(text: str) -> None:
    assert isinstance(read_reply(text), bytes)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1, "b": "yes"}', "{", "[" * 50_000, "\udcff"])
def test_a_broken_memory_of_terminals_knows_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "clipboard.json").write_text(text, errors="surrogateescape")
    known = KnownTerminals(tmp_path)
    assert not known.answers({"TERM": "xterm"})
    known.remember({"TERM": "xterm"}, True)
    assert known.answers({"TERM": "xterm"})
    assert not known.answers({"TERM": "xterm", "SSH_CONNECTION": "1 2 3 4"}), "what is between may not let it through"
    known.remember({"TERM": "xterm"}, False)
    assert not known.answers({"TERM": "xterm"})


def test_the_memory_of_terminals_is_bounded(tmp_path: Path) -> None:
    known = KnownTerminals(tmp_path)
    for number in range(80):
        known.remember({"TERM": f"x{number}"}, True)
    assert known.answers({"TERM": "x79"})
    assert not known.answers({"TERM": "x0"})
    assert len(terminal_key({"TERM": "x" * 10_000})) < 400


def test_a_tmux_that_fails_holds_nothing() -> None:
    silent = TmuxClipboard(lambda arguments, given: None)
    assert not silent.copy(b"x")
    assert silent.passes_on() is None
    assert silent.read_outside(0.0) is None
    assert TmuxClipboard.of({}) is None
