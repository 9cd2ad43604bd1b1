"""A program in a pty of its own, and the screen that it draws there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

from tests.ports import free_port

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "ctrl+c": "\x03",
    "ctrl+z": "\x1a",
    "ctrl+p": "\x10",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "alt+1": "\x1b1",
    "alt+3": "\x1b3",
    "f1": "\x1bOP",
    "f3": "\x1bOR",
}


class Terminal:
    """Runs a program in a pty.

    Attributes:
        raw: Every byte that it wrote.

    Args:
        emulate: Keep a screen; without one only the bytes are kept, which costs less.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: dict[str, str],
        *,
        columns: int = 120,
        rows: int = 36,
        emulate: bool = True,
    ) -> None:
        self._emulate = emulate
        self.raw = bytearray()
        self._hung_up = False
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._fd, child = pty.openpty()
        self._resize(columns, rows)
        self.process = subprocess.Popen(
            argv, stdin=child, stdout=child, stderr=child, env=environ, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(child)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int, *, tell: bool = True) -> None:
        """Change the size; tell the program once more than the kernel does, unless told not to."""
        with self._lock:
            self.screen.resize(rows, columns)
        self._resize(columns, rows)
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def _read(self) -> None:
        while True:
            try:
                while not select.select([self._fd], [], [], 0.2)[0]:
                    if self._hung_up:
                        return
                piece = os.read(self._fd, 65536)
            except OSError:
                return
            if not piece:
                return
            with self._lock:
                self.raw += piece
                if not self._emulate:
                    continue
                # The emulator does not know every sequence there is.
                with contextlib.suppress(Exception):
                    self._stream.feed(piece)

    def send(self, *keys: str) -> None:
        """Press keys by name, or type text."""
        for key in keys:
            os.write(self._fd, KEYS.get(key, key).encode())

    def text(self) -> str:
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display)

    def until(self, condition: Callable[[str], bool] | str, seconds: float = 60.0) -> str:
        """Wait until the screen shows something; its text."""
        deadline = time.monotonic() + seconds
        while True:
            text = self.text()
            if condition in text if isinstance(condition, str) else condition(text):
                return text
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: {condition}\n{text}")
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {condition}\n{text}")
            time.sleep(0.03)

    def until_quiet(self, quiet: float, seconds: float = 60.0) -> int:
        """Wait until nothing was written for a while; return how many bytes were until then."""
        deadline = time.monotonic() + seconds
        since, before = time.monotonic(), len(self.raw)
        while time.monotonic() - since < quiet:
            if time.monotonic() > deadline:
                raise AssertionError(f"not quiet within {seconds:g} s: {bytes(self.raw[-300:])!r}")
            time.sleep(0.05)
            if len(self.raw) != before:
                since, before = time.monotonic(), len(self.raw)
        return before

    def wait(self, seconds: float = 40.0) -> int:
        """The exit code, once its last words are here."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def hang_up(self) -> None:
        """Close the window: what is written to the terminal from now on fails, and its session is told."""
        self._hung_up = True
        self._reader.join(5)
        os.close(self._fd)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self._reader.join(2)
        if not self._hung_up:
            os.close(self._fd)


def of_an_empty_home(text: str) -> bool:
    """Whether a screen shows what an empty home does: first that nothing runs, then the question what to run."""
    return "Nothing runs yet." in text or "What do you want to run?" in text


def studio(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "vllm_studio_tui", *arguments]


def patient(least: float | None = None) -> list[str]:
    """The studio as it is with a terminal that is slow to answer, however long this machine lets it wait.

    Args:
        least: Seconds that the first answer is waited for; None: as always.
    """
    program = (
        "import sys; from vllm_studio_tui.tui.terminal import late_answers, profile;"
        "late_answers.EXPECTED, late_answers.PATIENCE = 600.0, 60.0;"
        f"profile.LEAST = {least} or profile.LEAST; from vllm_studio_tui.__main__ import main; sys.exit(main())"
    )
    return [sys.executable, "-c", program]


def environment(home: Path, **more: str) -> dict[str, str]:
    others = ("VLLM_STUDIO", "NO_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    ours = {"VLLM_STUDIO_INFERENCE_PORT": str(free_port())}  # that of no other worker's test
    ours |= {"VLLM_STUDIO_HOME": str(home), "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    return {**kept, **ours, **more}
