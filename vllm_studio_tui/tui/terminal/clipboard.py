"""Copies text to the terminal's clipboard with OSC 52, through tmux and screen too, and to a file."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.kit.sanitize import clean, strip_ansi
from vllm_studio_tui.tui.terminal.profile import wrapped

if TYPE_CHECKING:
    from textual.app import App

#: Bytes of text; terminals drop longer sequences (xterm: about 100 kB in base64).
LIMIT = 74_000


def copy(app: App[int], text: str, places: Places, inside: str) -> str:
    """Copy `text` without its control characters, and return in words what was done.

    Args:
        inside: The multiplexer that the sequence has to pass through: `tmux`, `screen` or empty.
    """
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
    driver.write(osc52(data, inside))
    return f"sent to the terminal's clipboard ({size}), {kept}"


def osc52(data: bytes, inside: str) -> str:
    """Return the sequence that sets the clipboard (xterm control sequences, "OSC 52"), wrapped for tmux or screen."""
    sequence = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    # tmux reads the plain sequence where set-clipboard is on, the wrapped one where passthrough is allowed.
    return (sequence if inside == "tmux" else "") + wrapped(sequence, inside)
