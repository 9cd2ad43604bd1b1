"""Copies text to the terminal's clipboard and to a file, and says whether it arrived, where that can be known."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.kit.sanitize import clean, strip_ansi
from vllm_studio_tui.probes.clipboard import QUERY, KnownTerminals, TmuxClipboard, osc52
from vllm_studio_tui.tui.terminal.late_answers import CLIPBOARD

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.tui.terminal.profile import Profile

#: Bytes of text; terminals drop longer sequences (xterm: about 100 kB in base64).
LIMIT = 74_000
#: Seconds in which a terminal that answers has answered, over a slow line too.
PATIENCE = 1.0


class Copier(Protocol):
    """What copying needs of an app."""

    studio: StudioApi
    profile: Profile

    def write_terminal(self, sequence: str) -> bool:
        """Write a control sequence, and return whether there is a terminal."""
        ...

    def tell(self, text: str, severity: str = "information") -> None: ...

    def spawn(self, work: Coroutine[Any, Any, Any], *, group: str = "commands") -> Any: ...


def copy(app: Copier, text: str) -> None:
    """Copy `text` without its control characters, and tell in words what became of it."""
    data = clean(strip_ansi(text)).encode("utf-8", "replace")
    places = app.studio.places
    path = private_dir(places.state) / "clip.txt"
    size = numbers.size(len(data))
    try:
        write_atomic(path, data)
        kept = f"also in {path}"
    except OSError as error:
        kept = f"it could not be kept in {path}: {error.strerror}"
    tmux = TmuxClipboard.of(os.environ) if app.profile.terminal.inside == "tmux" else None
    if not app.write_terminal(""):
        app.tell(f"no terminal, {kept}")
    elif tmux is not None:
        app.spawn(_copy_by_tmux(app, tmux, data, size, kept), group="copy")
    elif len(data) > LIMIT:
        app.tell(f"too large for a terminal's clipboard ({size}), {kept}")
    else:
        # Textual writes OSC 52 without the passthrough that tmux and screen need.
        app.write_terminal(osc52(data, app.profile.terminal.inside))
        if KnownTerminals(places.state).answers(os.environ):
            app.spawn(_ask_back(app, data, size, kept), group="copy")
        else:
            app.tell(f"sent to the terminal's clipboard ({size}), {kept}")


async def _copy_by_tmux(app: Copier, tmux: TmuxClipboard, data: bytes, size: str, kept: str) -> None:
    held = await asyncio.to_thread(tmux.copy, data)
    if not held:
        if len(data) <= LIMIT:
            app.write_terminal(osc52(data, "tmux"))
        app.tell(f"tmux did not take it; sent to the terminal's clipboard ({size}), {kept}", "warning")
        return
    passed = await asyncio.to_thread(tmux.passes_on)
    if passed is False:
        app.tell(
            f"copied into tmux ({size}); your terminal does not get it: vllm-studio doctor --copy, {kept}", "warning"
        )
    else:
        app.tell(f"copied: tmux has it{' and gave it to your terminal' if passed else ''} ({size}), {kept}")


async def _ask_back(app: Copier, data: bytes, size: str, kept: str) -> None:
    answer = CLIPBOARD.expect()
    app.write_terminal(QUERY)
    try:
        holds = await asyncio.wait_for(answer, PATIENCE)
    except TimeoutError:
        app.tell(f"sent to the terminal's clipboard ({size}), it did not say whether it has it, {kept}")
        return
    if holds.replace(b"\r\n", b"\n") == data:
        app.tell(f"copied: your terminal has it ({size}), {kept}")
    else:
        app.tell(f"not copied: your terminal's clipboard holds something else ({size}), {kept}", "warning")
