"""The screens on terminals that can do more or less, and answer soon, late or never."""

from __future__ import annotations

import re
import time

import pytest

from tests.terminal.conftest import Opener
from tests.terminal.pty_screen import of_an_empty_home, patient

LIGHT, ATTRIBUTES = "\x1b]11;rgb:ffff/ffff/ffff\x1b\\", "\x1b[?62;1;2;6;9;15;16;17;18;21;22;28;29c"
PAPER = b"48;2;251;250;246"  # the page of the light theme


def test_a_light_terminal_that_answers_gets_the_light_theme_and_no_answer_is_typed(terminal: Opener) -> None:
    one = terminal(program=patient(60.0))
    one.until(lambda _: b"\x1b]11;?" in one.raw)
    one.send("2", LIGHT, ATTRIBUTES)  # a key came before the answer
    one.until("RECIPES")
    assert PAPER in one.raw
    one.send("1", "q")
    assert one.wait() == 0, one.raw[-3000:]


def test_an_answer_that_comes_late_is_dropped(terminal: Opener) -> None:
    one = terminal("--screen", "chat", program=patient())
    one.until("No model is up")
    for piece in (LIGHT[:9], LIGHT[9:], ATTRIBUTES[:5], ATTRIBUTES[5:]):
        one.send(piece)
        time.sleep(0.05)  # in pieces, as over a slow line
    one.send("hello")
    text = one.until("hello")
    assert "11;" not in text
    assert "62;" not in text
    assert PAPER not in one.raw
    one.send("alt+1")
    one.until(of_an_empty_home)
    one.send("q")
    assert one.wait() == 0


@pytest.mark.parametrize(("term", "plain"), [("xterm", False), ("linux", True)])
def test_sixteen_colours_are_the_terminals_own(terminal: Opener, term: str, plain: bool) -> None:
    one = terminal(TERM=term, COLORTERM="")
    one.until(of_an_empty_home)
    assert not re.search(rb"\x1b\[[0-9;]*[34]8;[25];", bytes(one.raw))
    assert b"\x1b[" in one.raw
    assert one.text().isascii() is plain
    one.send("q")
    assert one.wait() == 0


def test_without_the_mouse_none_is_asked_for(terminal: Opener) -> None:
    one = terminal("--no-mouse")
    one.until(of_an_empty_home)
    assert b"\x1b[?1000h" not in one.raw
    assert b"\x1b[?1003h" not in one.raw
    one.send("q")
    assert one.wait() == 0
