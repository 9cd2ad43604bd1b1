"""Run a line that a person wrote in a shell, with bounds on how long it takes and how much of it is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass

#: Seconds that a line may take, and bytes that are kept of its beginning and of its end.
SECONDS, HEAD, TAIL = 60.0, 32 * 1024, 32 * 1024
SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True)
class ShellResult:
    """What a line printed, and how it ended.

    Attributes:
        output: What it printed on both streams, as text; the middle of a long one is left out.
        code: Its exit code, negative for a signal; None: it was ended because it took too long.
        left_out: Bytes that are not in `output`.
    """

    output: str
    code: int | None
    seconds: float
    left_out: int = 0

    @property
    def words(self) -> str:
        """How it ended, in a few words; empty where it ended well and nothing is left out."""
        ended = (
            "" if self.code == 0 else f"ended after {self.seconds:.0f} s" if self.code is None else f"exit {self.code}"
        )
        cut = f"{self.left_out} bytes in the middle left out" if self.left_out else ""
        return ", ".join(filter(None, (ended, cut)))


async def run_line(line: str, *, folder: str | None = None, seconds: float = SECONDS) -> ShellResult:
    """Run a line in the shell, without any input. It is ended with all that it started when this is cancelled.

    Raises:
        OSError: There is no shell, or no such folder.
        ValueError: The line holds what no command line can.
    """
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        SHELL,
        "-c",
        line,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,
    )
    assert process.stdout is not None
    kept = _Kept()
    over = False
    try:
        async with asyncio.timeout(seconds):
            while piece := await process.stdout.read(64 * 1024):
                kept.add(piece)
            await process.wait()
    except TimeoutError:
        over = True
    finally:
        _end(process.pid)  # also what it left in the background: nobody would see it
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await process.wait()
    return ShellResult(kept.text(), None if over else process.returncode, time.monotonic() - began, kept.left_out)


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class _Kept:
    """The beginning and the end of what comes."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self.left_out = 0

    def add(self, piece: bytes) -> None:
        room = HEAD - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:] if room < len(piece) else b""
        if (over := len(self._tail) - TAIL) > 0:
            del self._tail[:over]
            self.left_out += over

    def text(self) -> str:
        between = f"\n... {self.left_out} bytes left out ...\n".encode() if self.left_out else b""
        return bytes(self._head + between + self._tail).decode(errors="replace")
