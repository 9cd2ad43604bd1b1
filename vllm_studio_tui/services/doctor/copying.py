"""The doctor on copying: a text goes the whole way to the clipboard of the terminal and is read back there."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from vllm_studio_tui.domain.check import Check, fail, ok, warn
from vllm_studio_tui.probes.clipboard import KnownTerminals, TmuxClipboard
from vllm_studio_tui.probes.terminal import look_at_terminal
from vllm_studio_tui.services.doctor.context import Ground

#: Seconds for an answer; some terminals ask the person first.
PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class Line:
    """The line to a terminal.

    Attributes:
        ask: Asks it what its clipboard holds, waiting some seconds; None: it did not say.
        put: Sets its clipboard, through the multiplexer that is named.
    """

    ask: Callable[[float], bytes | None]
    put: Callable[[bytes, str], None]


def check_copying(ground: Ground, line: Line) -> Check:
    """Copy a text, read it back, and put back what was there, as far as the terminal tells what that was.

    A terminal that answers is remembered, so that each copy of the screens can be verified there.

    Raises:
        OSError: The terminal is gone.
    """
    text = f"vllm-studio copied this: {secrets.token_hex(4)}".encode()
    inside = look_at_terminal(ground.environ, ground.answers).inside
    if inside == "tmux" and (tmux := TmuxClipboard.of(ground.environ)) is not None:
        return _through_tmux(tmux, text)
    if inside == "screen":
        line.put(text, inside)
        return warn("sent through screen, which lets no answer through", _paste_it(text))
    before = line.ask(PATIENCE)
    line.put(text, inside)
    after = line.ask(PATIENCE) if before is not None else None
    KnownTerminals(ground.places.state).remember(ground.environ, after is not None)
    if before is not None and after is not None:
        line.put(before, inside)
    where = "over ssh, " if ground.environ.get("SSH_CONNECTION") else ""
    if after == text:
        return ok(f"{where}read back from the terminal: each copy will be verified")
    if after is not None:
        return fail(
            f"{where}the terminal answers, and its clipboard does not hold what was copied",
            "Allow programs to write the clipboard (OSC 52) in the settings of the terminal.",
        )
    return warn(f"{where}sent; the terminal does not tell what its clipboard holds", _paste_it(text))


def _through_tmux(tmux: TmuxClipboard, text: bytes) -> Check:
    before = tmux.read_outside(PATIENCE)
    if not tmux.copy(text):
        return fail("tmux does not take it (load-buffer -w)", "It needs tmux 3.2 or later, and a server that answers.")
    passes = tmux.passes_on()
    if passes is None:
        return warn("tmux holds it; no terminal is attached", _paste_it(text))
    if not passes:
        return fail(
            "tmux holds it and does not pass it on to the terminal",
            "tmux set -as terminal-features ',*:clipboard', then detach and attach.",
        )
    if before is None:
        return warn("tmux gave it to the terminal, which does not tell what its clipboard holds", _paste_it(text))
    after = tmux.read_outside(PATIENCE)
    tmux.drop_newest()
    if before != text:
        tmux.copy(before)
        tmux.drop_newest()
    if after == text:
        return ok("read back from the terminal outside of tmux")
    return fail(
        "tmux gave it to the terminal, whose clipboard does not hold it",
        "Allow programs to write the clipboard (OSC 52) in the settings of the terminal.",
    )


def _paste_it(text: bytes) -> str:
    return f"Paste somewhere: it should say “{text.decode()}”. If not, allow OSC 52 in the terminal's settings."
