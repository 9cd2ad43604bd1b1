"""Keys as terminals on Linux send them, and what the screens are told."""

from __future__ import annotations

import pytest
from textual import events
from textual._xterm_parser import XTermParser

from vllm_studio_tui.tui.terminal import textual_patches


@pytest.mark.parametrize(
    ("sent", "key"),
    [("\x1b\r", "alt+enter"), ("\r", "enter"), ("\n", "ctrl+j"), ("\x1b[13;3u", "alt+enter")],
)
def test_alt_and_enter_is_not_enter(sent: str, key: str) -> None:
    textual_patches.alt_enter()
    told = [event.key for event in XTermParser().feed(sent) if isinstance(event, events.Key)]
    assert told == [key]
