"""The way to a host without a studio: one ssh, whose shell there is asked again and again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.remote.address import Address, read_address
from vllm_studio_tui.remote.agentless.engines import command_words
from vllm_studio_tui.remote.agentless.frames import Frame, Frames, TooMuch
from vllm_studio_tui.remote.agentless.script import LOADER, script_of
from vllm_studio_tui.remote.agentless.view import RARELY, HostView
from vllm_studio_tui.remote.host_state import Answered
from vllm_studio_tui.remote.ssh import ALIVE, cannot_connect, destination, end_group

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host

#: Seconds for an answer, and for the first one, to which ssh connects; seconds from one to the next question.
ANSWER, FIRST, EVERY = 30.0, 50.0, 3.0
#: Seconds that ssh is given to end.
GRACE = 3.0


class AgentlessLink:
    """A connection to a host without a studio. On one event loop.

    Args:
        name: What the person calls the host.
    """

    def __init__(self, name: str, host: Host, environ: Mapping[str, str] = os.environ) -> None:
        self.name = name
        self._host = host
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._frames = Frames("")
        self._view: HostView | None = None
        self._serial = 0
        self._words: deque[str] = deque(maxlen=20)
        self._listening: asyncio.Task[None] | None = None

    @property
    def patience(self) -> float:
        """Return the seconds that the next answer may take, the way there included."""
        return ANSWER if self._process is not None else FIRST

    @property
    def every(self) -> float:
        """Return the seconds from one question to the next."""
        return EVERY

    @property
    def last_words(self) -> str:
        """Return what ssh said last, or what there gives no answer."""
        if self._frames.at:
            return f"The last it began is: {clean(self._frames.at, limit=60)}."
        return "\n".join(list(self._words)[-4:])

    async def ask(self) -> Answered:
        """Return what the host is like; the connection is made where there is none.

        Raises:
            StudioError: It cannot be reached, or its shell answers with something else.
        """
        first = self._process is None
        try:
            if first:
                await self._connect()
            found = await self._ask()
            if first and self._view is not None and self._view.asks():
                found = await self._ask()  # now it is known which engines there are
        except TooMuch as error:
            raise StudioError(f"the answer of {self.name} cannot be understood", cause=str(error)) from None
        except OSError as error:
            raise StudioError(f"{self.name} cannot be asked", cause=f"{error.strerror or error}.") from None
        return found

    async def close(self) -> None:
        """End ssh, and with it what it runs there."""
        process, self._process = self._process, None
        listening, self._listening = self._listening, None
        if process is not None:
            with contextlib.suppress(OSError, RuntimeError):
                if process.stdin is not None:
                    process.stdin.close()
            await end_group(process, GRACE)
        if listening is not None:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await listening

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        address = self._address()
        if shutil.which("ssh") is None:
            raise StudioError("there is no ssh on this machine", advice="Install OpenSSH's client.")
        kinds = await loop.run_in_executor(None, _kinds)
        nonce = secrets.token_hex(8)
        self._frames, self._view, self._serial = Frames(nonce), HostView(kinds), 0
        self._words.clear()
        process = self._process = await asyncio.create_subprocess_exec(
            *("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"),
            *("-o", "ClearAllForwardings=yes", *ALIVE, *destination(address), LOADER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # ^C is for us; we end it, and all in its group
        )
        self._listening = asyncio.create_task(self._listen(process))
        await self._send(script_of(nonce, command_words(kinds)))

    def _address(self) -> Address:
        found = read_address(self._host.connect, self._environ)
        return Address(found.scheme, found.host, found.user, found.port, "", None, self.name)

    async def _ask(self) -> Answered:
        assert self._view is not None
        self._serial += 1
        full = int(self._serial % RARELY == 1)
        started = time.monotonic()
        await self._send(" ".join([str(self._serial), str(full), *self._view.asks()]).encode() + b"\n")
        frame = await self._frame()
        self._words.clear()
        return Answered(self._view.take(frame), time.monotonic() - started)

    async def _send(self, data: bytes) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what it said before it ended tells why
            process.stdin.write(data)
            await process.stdin.drain()

    async def _frame(self) -> Frame:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        while True:
            data = await process.stdout.read(65536)
            if not data:
                raise await self._ended(process)
            for frame in self._frames.feed(data):
                if frame.serial == self._serial:
                    return frame

    async def _ended(self, process: asyncio.subprocess.Process) -> StudioError:
        code: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                code = await process.wait()
                if self._listening is not None:
                    await asyncio.shield(self._listening)  # what it said last
        words = self.last_words or clean(self._frames.noise.strip(), limit=300)
        if code == 255:
            return cannot_connect(self.name, self._address().host, words)
        if self._serial > 1:
            return StudioError(f"the connection to {self.name} has ended", cause=words)
        advice = f"See what `ssh {self._address().host} 'exec sh -c date'` says: a shell is all that is needed there."
        return StudioError(
            f"{self.name} runs no shell over ssh", cause=words or f"It ended with {code}.", advice=advice
        )

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        left = b""
        while data := await process.stderr.read(4096):
            *lines, left = (left + data)[-8192:].split(b"\n")
            self._hear(lines)
        self._hear([left])

    def _hear(self, lines: list[bytes]) -> None:
        for line in lines:
            text = clean(line.decode("utf-8", "replace").strip())
            if text:
                self._words.append(text[:300])


def _kinds() -> list[Backend]:
    from vllm_studio_tui.backends.registry import backends

    return list(backends().values())


if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend
