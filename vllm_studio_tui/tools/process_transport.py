"""An MCP server as a child process, over its standard streams: bounded in every direction, and ended with its children.

The SDK's own transport keeps a line of any length and logs each bad one; a hostile server would take the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.paths import private_dir

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.shared.message import SessionMessage

    Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

#: Bytes of one message.
MAX_MESSAGE = 8 * 1024 * 1024
#: Messages, requests among them, and bytes of them, that may come for one request of ours.
MAX_MESSAGES = 5000
MAX_QUESTIONS = 100
MAX_BYTES = 64 * 1024 * 1024
#: Lines that are no messages, as of servers that print to their standard output.
MAX_NOISE = 1000
#: Bytes that are kept of its standard error, and of its end in memory.
MAX_LOG = 1024 * 1024
MAX_WORDS = 2048
#: Seconds that it may take to end by itself, and then after SIGTERM.
GRACE = 1.0
#: What it inherits; anything else it is given by name.
INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TMPDIR")


class Limits:
    """Counts what comes from a server since it was last asked something.

    Attributes:
        fault: Why nothing more is taken from it; empty as long as it behaves.
        status: With which HTTP status it refused the last request; None where it did not.
    """

    def __init__(self) -> None:
        self.fault = ""
        self.status: int | None = None
        self._messages = self._questions = self._bytes = self._noise = 0

    def asked(self) -> None:
        """Begin anew: a request was sent."""
        self.status = None
        self._messages = self._questions = self._bytes = 0

    def came(self, message: Any, size: int) -> bool:
        """Count a message; return whether it is still taken."""
        from mcp_types import JSONRPCRequest

        self._messages += 1
        self._questions += isinstance(message, JSONRPCRequest)
        self._bytes += size
        if self._questions > MAX_QUESTIONS:
            self.fault = f"it flooded: more than {MAX_QUESTIONS} requests came for one of ours"
        elif self._messages > MAX_MESSAGES:
            self.fault = f"it flooded: more than {MAX_MESSAGES} messages came for one request"
        elif self._bytes > MAX_BYTES:
            self.fault = f"it flooded: more than {numbers.size(MAX_BYTES)} came for one request"
        return not self.fault

    def noise(self) -> bool:
        """Count a line that is no message; return whether more are borne."""
        self._noise += 1
        if self._noise > MAX_NOISE:
            self.fault = f"it is no MCP server: {MAX_NOISE} lines of its output are no messages"
        return not self.fault


class ProcessTransport(AbstractAsyncContextManager["Streams"]):
    """A `mcp.client._transport.Transport`.

    Args:
        command: The program, found already, and its arguments.
        env: Its whole environment.
        log: Where its standard error is written; the file of an earlier start is replaced.

    Attributes:
        ended: Set once it has ended or was cut off.
        exit_code: How it ended by itself, negative: by which signal; None where it did not, or not yet.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: str | None, log: Path) -> None:
        self.ended = asyncio.Event()
        self.exit_code: int | None = None
        self.limits = Limits()
        self._command, self._env, self._cwd, self._log = list(command), dict(env), cwd, log
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: list[Any] = []
        self._words: deque[bytes] = deque()
        self._ending = False

    @property
    def last_words(self) -> str:
        """Return the end of what it wrote to its standard error."""
        return b"".join(self._words)[-MAX_WORDS:].decode("utf-8", "replace").strip()

    async def __aenter__(self) -> Streams:
        import anyio

        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,  # so that it can be ended with its children, and gets no key of the terminal
        )
        incoming, read = anyio.create_memory_object_stream["SessionMessage | Exception"](0)
        write, outgoing = anyio.create_memory_object_stream["SessionMessage"](0)
        self._streams = [incoming, read, write, outgoing]
        self._tasks = [
            asyncio.create_task(work) for work in (self._hear(incoming), self._say(outgoing), self._keep_words())
        ]
        return read, write

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import anyio

        with anyio.CancelScope(shield=True):
            await self._end()

    async def _end(self) -> None:
        process = self._process
        assert process is not None
        self._ending = True
        self._tasks[1].cancel()
        if process.stdin is not None:
            process.stdin.close()
        if not await _ended(process, GRACE):
            children = _children(process.pid)
            _signal_group(process.pid, signal.SIGTERM)
            if not await _ended(process, GRACE):
                _signal_group(process.pid, signal.SIGKILL)
            for child in children:
                with contextlib.suppress(Exception):  # gone, or no longer ours
                    child.kill()
            await _ended(process, GRACE)
        _signal_group(process.pid, signal.SIGKILL)  # what it left behind
        self.ended.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        transport = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()  # a child that escaped may hold the pipes open
        for stream in self._streams:
            stream.close()

    # --- its streams ------------------------------------------------------------------------------------

    async def _hear(self, incoming: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Take messages until it ends or misbehaves."""
        import anyio

        assert self._process is not None
        assert self._process.stdout is not None
        line = bytearray()
        try:
            while not self.limits.fault and (piece := await self._process.stdout.read(65536)):
                *whole, rest = piece.split(b"\n")
                for one in whole:
                    line += one
                    await self._take(bytes(line), incoming)
                    line.clear()
                line += rest
                if len(line) > MAX_MESSAGE:
                    self.limits.fault = f"it sent a message of more than {numbers.size(MAX_MESSAGE)}"
            # Its pipes close a moment before it has ended; who waits for an answer is told how it did.
            if not self.limits.fault and not self._ending and await _ended(self._process, GRACE):
                self.exit_code = self._process.returncode
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self.ended.set()
            incoming.close()

    async def _take(self, line: bytes, incoming: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        from mcp.shared.message import SessionMessage
        from mcp_types import jsonrpc_message_adapter

        if self.limits.fault or not line.strip():
            return
        if len(line) > MAX_MESSAGE:
            self.limits.fault = f"it sent a message of more than {numbers.size(MAX_MESSAGE)}"
            return
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self.limits.noise()
            return
        if self.limits.came(message, len(line)):
            await incoming.send(SessionMessage(message))

    async def _say(self, outgoing: MemoryObjectReceiveStream[SessionMessage]) -> None:
        from mcp_types import JSONRPCRequest

        assert self._process is not None
        assert self._process.stdin is not None
        try:
            async for one in outgoing:
                if isinstance(one.message, JSONRPCRequest):
                    self.limits.asked()
                text = one.message.model_dump_json(by_alias=True, exclude_unset=True)
                self._process.stdin.write(text.encode("utf-8", "replace") + b"\n")
                await self._process.stdin.drain()
        except OSError:
            pass
        finally:
            outgoing.close()

    async def _keep_words(self) -> None:
        """Write its standard error to the log up to a bound, and read on: a full pipe would hold it up."""
        assert self._process is not None
        assert self._process.stderr is not None
        left = MAX_LOG
        with contextlib.ExitStack() as stack:
            file = None
            with contextlib.suppress(OSError):
                private_dir(self._log.parent)
                fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                file = stack.enter_context(os.fdopen(fd, "wb", buffering=0))
            with contextlib.suppress(OSError):
                while piece := await self._process.stderr.read(16384):
                    self._words.append(piece[-MAX_WORDS:])
                    if len(self._words) > 16:
                        self._words.popleft()
                    if file is None or left <= 0:
                        continue
                    cut = piece[:left]
                    left -= len(cut)
                    if left <= 0:
                        cut += f"\n[cut: no more than {numbers.size(MAX_LOG)} is kept]\n".encode()
                    with contextlib.suppress(OSError):
                        file.write(cut)


def environment(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: what it needs to run at all, and what it is given."""
    return {**{name: environ[name] for name in INHERITED if name in environ}, **given}


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Wait for the end of a process; `wait` would wait for its pipes too, which a child may hold."""
    deadline = asyncio.get_running_loop().time() + seconds
    while process.returncode is None:
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _children(pid: int) -> list[Any]:
    """Return the processes below one, also those that left its group."""
    import psutil

    try:
        found: list[Any] = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return found
