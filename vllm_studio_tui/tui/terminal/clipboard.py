"""Copies text to the terminal's clipboard with OSC 52, through tmux and screen too, and to a file."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.kit.sanitize import clean, strip_ansi

if TYPE_CHECKING:
    from textual.app import App

#: Bytes of text; terminals drop longer sequences (xterm: about 100 kB in base64).
LIMIT = 74_000


def copy(app: App[int], text: str, places: Places) -> str:
    """Copy `text` without its control characters, and return in words what was done."""
    data = clean(strip_ansi(text)).encode("utf-8", "replace")
    path = private_dir(places.state) / "clip.txt"
    size = numbers.size(len(data))
    try:
        write_atomic(path, data)
        kept = f"also in {path}"
    except OSError as error:
        kept = f"it could not be kept in {path}: {error.strerror}"
    if len(data) > LIMIT:
        return f"too large for a terminal's clipboard ({size}), {kept}"
    driver = app._driver  # Textual writes OSC 52 without the passthrough that tmux needs
    if driver is None:
        return f"no terminal, {kept}"
    driver.write(osc52(data, os.environ))
    return f"sent to the terminal's clipboard ({size}), {kept}"


def osc52(data: bytes, environ: os._Environ[str] | dict[str, str]) -> str:
    """Return the sequence that sets the clipboard (xterm control sequences, "OSC 52"), wrapped for tmux or screen.

    tmux passes on the content of its DCS passthrough, in which every ESC is doubled; screen takes at most 76 bytes at
    a time.
    """
    encoded = base64.b64encode(data).decode()
    sequence = f"\x1b]52;c;{encoded}\x07"
    if environ.get("TMUX"):
        inner = sequence.replace("\x1b", "\x1b\x1b")
        # tmux reads the plain sequence where set-clipboard is on, the wrapped one where passthrough is allowed.
        return f"{sequence}\x1bPtmux;{inner}\x1b\\"
    if environ.get("TERM", "").startswith("screen"):
        pieces = [sequence[index : index + 76] for index in range(0, len(sequence), 76)]
        return "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
    return sequence
