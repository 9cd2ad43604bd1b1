"""Pictures that the terminal itself draws, on a real pty: what it is asked, what it is given, and how it is left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pictures import picture
from tests.terminal.conftest import Opener
from tests.terminal.pty_screen import of_an_empty_home
from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.attachments import reading
from vllm_studio_tui.services.chat.drafts import LeftOff, save_left_off
from vllm_studio_tui.studio import Studio

QUESTION = b"\x1b[>q\x1b_Gi=31,"
KITTY = ("\x1bP>|kitty(0.41.1)\x1b\\", "\x1b_Gi=31;OK\x1b\\\x1b[6;20;10t\x1b[?62;52;c\x1b[0n")


@pytest.fixture
def with_picture(home: Path) -> Path:
    """A home with a chat that has a picture, left open."""
    (home / "red.png").write_bytes(picture("png", (120, 80), colour=(200, 0, 0)))
    found = reading.read(str(home / "red.png"))
    places = Places.under(home)
    studio = Studio(places)
    chat = studio.chat
    session = chat.sessions.create("A picture").id
    images = (found.image,) if found.image is not None else ()
    asked = chat.messages.append(Message("", session, "user", "what is it?", images=images, files=(found.file,)))
    chat.sessions.set_leaf(session, asked.id)
    studio.close()
    save_left_off(places, LeftOff(session=session))
    return home


def test_a_terminal_that_draws_pictures_is_given_one_once_and_left_without(
    with_picture: Path, terminal: Opener
) -> None:
    one = terminal("--screen", "chat")
    one.until("red.png")
    one.until(lambda _: QUESTION in one.raw)
    one.send("h", *KITTY, "i")  # typed before and after the answers
    one.until(lambda _: b"a=T,U=1" in one.raw)
    text = one.until("hi")
    assert "31;OK" not in text and "kitty" not in text
    one.until(lambda _: "\U0010eeee\u0305\u0305".encode() in one.raw)
    one.send("alt+1")
    one.until(of_an_empty_home)
    one.send("q")
    assert one.wait() == 0, one.raw[-3000:]
    raw = bytes(one.raw)
    (number,) = re.findall(rb"a=T,U=1,q=2,f=100,t=d,i=(\d+),c=12,r=4,", raw)
    gone = raw.index(b"\x1b_Ga=d,d=I,q=2,i=" + number)
    assert gone < raw.rindex(b"\x1b[?1049l")


def test_a_terminal_that_says_nothing_of_pictures_gets_characters(with_picture: Path, terminal: Opener) -> None:
    one = terminal("--screen", "chat")
    one.until(lambda _: QUESTION in one.raw)
    one.send("\x1b[?62;22c\x1b[0n")
    one.until("▀")
    one.send("alt+1")
    one.until(of_an_empty_home)
    one.send("q")
    assert one.wait() == 0
    assert b"a=T,U=1" not in one.raw and b"a=d," not in one.raw


def test_without_pictures_nothing_is_asked(with_picture: Path, terminal: Opener) -> None:
    one = terminal("--screen", "chat", VLLM_STUDIO_PICTURES="off")
    one.until("red.png")
    one.send("x")
    one.until("x")
    assert "▀" not in one.text()
    one.send("alt+1")
    one.until(of_an_empty_home)
    one.send("q")
    assert one.wait() == 0
    assert QUESTION not in one.raw
