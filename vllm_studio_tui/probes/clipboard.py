"""The clipboard of the terminal: set with OSC 52 or through tmux, and read back where the terminal allows it.

A terminal takes OSC 52 in silence whether it obeys or not. Three can be asked whether the text arrived: tmux, by its
own commands; the terminal outside of tmux, which tmux asks (`refresh-client -l`); and a terminal that answers itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.probes.terminal import raw_answer, wrapped

#: Asks for the clipboard (xterm control sequences, "OSC 52").
QUERY = "\x1b]52;c;?\x07"
#: A whole answer, and the beginning of one whose end has not come.
REPLY = re.compile(r"\x1b\]52;[a-z0-7]{0,12};([A-Za-z0-9+/=]{0,400000})(?:\x07|\x1b\\)")
REPLY_BEGINNING = re.compile(r"\x1b(?:\](?:5(?:2(?:;[a-z0-7]{0,12}(?:;[A-Za-z0-9+/=]{0,400000}\x1b?)?)?)?)?)?\Z")
#: Seconds that one command of tmux may take.
TMUX_TIMEOUT = 1.0
#: Terminals that are remembered.
KNOWN_MOST = 50


def osc52(data: bytes, inside: str) -> str:
    """Return the sequence that sets the clipboard (xterm control sequences, "OSC 52"), wrapped for tmux or screen."""
    sequence = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    # tmux reads the plain sequence where set-clipboard is on, the wrapped one where passthrough is allowed.
    return (sequence if inside == "tmux" else "") + wrapped(sequence, inside)


def read_reply(payload: str) -> bytes:
    """Return the text of an answer's base64; what is no base64 is empty."""
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return b""


class TmuxClipboard:
    """The clipboard through the commands of the tmux that this program is in.

    They work with tmux's own defaults, `set-clipboard external` and no passthrough, which keep OSC 52 of a program to
    themselves.

    Args:
        run: Runs a command with a text for its input, and returns what it prints; None when it fails.
    """

    def __init__(self, run: Callable[[Sequence[str], bytes], bytes | None]) -> None:
        self._run = run

    @staticmethod
    def of(environ: Mapping[str, str]) -> TmuxClipboard | None:
        """Return that of this environment; None where there is no tmux to talk to, as on the far side of an ssh."""
        program = shutil.which("tmux", path=environ.get("PATH")) if environ.get("TMUX") else None
        if program is None:
            return None

        def run(arguments: Sequence[str], given: bytes) -> bytes | None:
            try:
                done = subprocess.run(
                    [program, *arguments],
                    input=given,
                    capture_output=True,
                    timeout=TMUX_TIMEOUT,
                    env=dict(environ),
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                return None
            return done.stdout[:4_000_000] if done.returncode == 0 else None

        return TmuxClipboard(run)

    def copy(self, data: bytes) -> bool:
        """Give a text to tmux and to the terminal outside, and return whether tmux holds it now."""
        return self._run(["load-buffer", "-w", "-"], data) is not None and self._run(["show-buffer"], b"") == data

    def passes_on(self) -> bool | None:
        """Return whether the terminal outside is one that tmux gives the clipboard to; None: nobody is attached."""
        said = self._run(["display-message", "-p", "#{client_termfeatures}"], b"")
        return "clipboard" in said.decode("latin-1").strip().split(",") if said and said.strip() else None

    def read_outside(self, patience: float) -> bytes | None:
        """Return what the terminal outside says that its clipboard holds, waiting some seconds; None: nothing came.

        tmux keeps the answer as a new buffer, which is taken away again.
        """
        before = self._buffers()
        if before is None or self._run(["refresh-client", "-l"], b"") is None:
            return None
        end = time.monotonic() + patience
        while time.monotonic() < end:
            for name in sorted((self._buffers() or set()) - before):
                held = self._run(["show-buffer", "-b", name], b"")
                self._run(["delete-buffer", "-b", name], b"")
                return held
            time.sleep(0.05)
        return None

    def drop_newest(self) -> None:
        """Take the newest buffer away: what `ctrl+b ]` would paste."""
        self._run(["delete-buffer"], b"")

    def _buffers(self) -> set[str] | None:
        said = self._run(["list-buffers", "-F", "#{buffer_name}"], b"")
        return set(said.decode("utf-8", "replace").split()) if said is not None else None


def terminal_key(environ: Mapping[str, str]) -> str:
    """Return what tells this terminal from others, as far as its variables say."""
    names = ("TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "LC_TERMINAL", "VTE_VERSION")
    parts = [environ.get(name, "")[:60] for name in names]
    return "|".join([*parts, "screen" if environ.get("STY") else "", "ssh" if environ.get("SSH_CONNECTION") else ""])


class KnownTerminals:
    """Remembers which terminals answer what their clipboard holds, without asking the person each time.

    Only `doctor --copy` finds out: some terminals ask the person for permission, which a copy should not bring about.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / "clipboard.json"

    def answers(self, environ: Mapping[str, str]) -> bool:
        """Return whether this terminal is known to answer."""
        return self._read().get(terminal_key(environ)) is True

    def remember(self, environ: Mapping[str, str], answers: bool) -> None:
        """Keep what was found.

        Raises:
            OSError: It cannot be kept.
        """
        known = self._read()
        known.pop(terminal_key(environ), None)
        known[terminal_key(environ)] = answers
        kept = dict(list(known.items())[-KNOWN_MOST:])
        write_atomic(private_dir(self._path.parent) / self._path.name, json.dumps(kept).encode())

    def _read(self) -> dict[str, bool]:
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(100_000))
        except (OSError, ValueError, RecursionError):
            return {}
        return {str(key): value is True for key, value in found.items()} if isinstance(found, dict) else {}


def ask_clipboard(source: int, target: int, patience: float) -> bytes | None:
    """Ask the terminal what its clipboard holds; None when it did not say within `patience` seconds.

    Raises:
        OSError: There is no terminal to ask, or it is somebody else's now.
    """
    came = raw_answer(source, target, QUERY.encode(), lambda text: REPLY.search(text) is not None, patience)
    found = REPLY.search(came.decode("latin-1"))
    return read_reply(found[1]) if found else None


def set_clipboard(target: int, data: bytes, inside: str) -> None:
    """Write the sequence that sets the clipboard to a terminal."""
    left = osc52(data, inside).encode()
    while left:
        left = left[os.write(target, left) :]
