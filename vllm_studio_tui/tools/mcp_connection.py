"""One MCP server that is spoken to. It is entered and left in one task; calls come from others."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tool_server import ServerReport, ToolServer
from vllm_studio_tui.domain.tools import Tool, ToolResult
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tools.mcp_library import quiet
from vllm_studio_tui.tools.names import is_chosen
from vllm_studio_tui.tools.process_transport import Limits, ProcessTransport, environment
from vllm_studio_tui.tools.results import result_of
from vllm_studio_tui.tools.variables import filled

if TYPE_CHECKING:
    from anyio import CancelScope
    from mcp.client.session import ClientSession

#: Seconds until a server has to have told its tools; some are downloaded at their first start.
START = 60.0
#: Seconds that one answer on the way there may take.
ANSWER = 20.0
#: Seconds for which one that failed is not started again.
AGAIN = 10.0
#: Seconds without a call after which it is let go.
IDLE = 600.0
#: Calls of one server at a time.
AT_ONCE = 8
#: Pages of its list of tools.
PAGES = 20


class Connection:
    """A server, started or reached when it is first needed, and again after it ended.

    Args:
        log: Where its standard error goes.
        environ: Where its variables are looked up.
    """

    def __init__(self, server: ToolServer, log: Path, environ: Mapping[str, str]) -> None:
        self.server = server
        self.name = server.name
        self.report = ServerReport(server.name)
        self._log, self._environ = log, environ
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[ClientSession] | None = None
        self._leave = asyncio.Event()
        self._limits = Limits()
        self._process: ProcessTransport | None = None
        self._error: StudioError | None = None
        self._failed_at = -math.inf
        self._used_at = 0.0
        self._calling = 0
        self._changed = False
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._starting = asyncio.Lock()
        self._entering: CancelScope | None = None

    @property
    def error(self) -> StudioError | None:
        """Return why it could not be used the last time that it was needed."""
        return self._error

    @property
    def coming(self) -> bool:
        """Whether it is being started or reached."""
        return self._ready is not None and not self._ready.done()

    async def tools(self) -> Sequence[Tool]:
        """Return its tools.

        Raises:
            StudioError: It cannot be started or reached, or is no MCP server.
        """
        session = await self._session()
        if self._changed:
            self._changed = False
            await self._learn(session)
        return self._offered()

    def _offered(self) -> list[Tool]:
        chosen = self.server.tools
        return [one for one in self.report.tools if not chosen or one.title in chosen or is_chosen(one, chosen)]

    @property
    def known(self) -> Sequence[Tool] | None:
        """Return its tools as it told them last, without starting it; None: it was not asked yet."""
        return self._offered() if self.report.seconds else None

    async def call(self, title: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Make a call. Raises nothing but cancellation."""
        began = time.monotonic()
        try:
            session = await self._session()
        except StudioError as error:
            return result_of(str(error), seconds=time.monotonic() - began, is_error=True)
        self._calling += 1
        try:
            async with self._slots, asyncio.timeout(self.server.timeout):
                return await self._call(session, title, arguments, began)
        except TimeoutError:
            words = f"{self.name} did not answer within {numbers.duration(self.server.timeout)}; the call was given up"
        except Exception as error:  # noqa: BLE001 - whatever a server makes of its library
            words = self._trouble(error)
        finally:
            self._calling -= 1
            self._used_at = asyncio.get_running_loop().time()
        return result_of(words, seconds=time.monotonic() - began, is_error=True)

    async def close(self) -> None:
        """Leave the server; one that was started is ended, also before it has said anything."""
        self._leave.set()
        if self._entering is not None:
            self._entering.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    # --- its life ---------------------------------------------------------------------------------------

    async def _session(self) -> ClientSession:
        async with self._starting:
            if self._task is None or self._task.done() or self._ended():
                if self._error is not None and asyncio.get_running_loop().time() - self._failed_at < AGAIN:
                    raise self._error
                await self.close()
                self._leave, self._limits, self._process = asyncio.Event(), Limits(), None
                self._ready = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._live(self._ready, self._leave))
            assert self._ready is not None
            ready = self._ready
        return await asyncio.shield(ready)

    def _ended(self) -> bool:
        ready = self._ready is not None and self._ready.done()
        return ready and (bool(self._limits.fault) or (self._process is not None and self._process.ended.is_set()))

    async def _live(self, ready: asyncio.Future[ClientSession], leave: asyncio.Event) -> None:
        """Be connected until there is no more need. All of the library is entered and left here."""
        import anyio

        quiet()
        failed: BaseException | None = None
        try:
            with anyio.move_on_after(START) as start:
                self._entering = start
                if leave.is_set():  # it was let go before this began
                    start.cancel()
                async with contextlib.AsyncExitStack() as stack:
                    session = await self._enter(stack)
                    self._error = None
                    self._used_at = asyncio.get_running_loop().time()
                    start.deadline, self._entering = math.inf, None
                    ready.set_result(session)
                    await self._wait(leave)
            if start.cancelled_caught and not ready.done():
                failed = _let_go(self.name) if leave.is_set() else TimeoutError()
        except Exception as error:  # noqa: BLE001 - whatever a server makes of its library
            failed = error
        except BaseException:
            if not ready.done():
                ready.cancel()
            raise
        self._entering = None
        if not ready.done():
            self._failed_at = asyncio.get_running_loop().time()
            self._error = self._as_error(failed)
            ready.set_exception(self._error)
            ready.exception()  # whoever waited may be gone

    async def _enter(self, stack: contextlib.AsyncExitStack) -> ClientSession:
        from mcp import Client
        from mcp_types import Implementation

        from vllm_studio_tui import __version__

        began = time.monotonic()
        transport = await self._transport(stack)
        client = await stack.enter_async_context(
            Client(
                transport,
                mode="legacy" if self.server.legacy else "auto",
                read_timeout_seconds=ANSWER,
                client_info=Implementation(name="vllm-studio", version=__version__),
                cache=None,
                message_handler=self._heard,
            )
        )
        tools, dropped = await self._list(client.session)
        info = client.server_info
        self.report = ServerReport(
            self.name,
            clean_line(info.name, limit=80) if info is not None else "",
            clean_line(info.version, limit=40) if info is not None else "",
            client.protocol_version,
            clean_line(client.instructions or "", limit=2000),
            time.monotonic() - began,
            tools,
            dropped,
        )
        return client.session

    async def _list(self, session: ClientSession) -> tuple[tuple[Tool, ...], int]:
        """Return its tools, and how many of them cannot be offered."""
        from mcp_types import PaginatedRequestParams

        from vllm_studio_tui.tools.mcp_results import tools_of

        found, cursor = [], None
        for _ in range(PAGES):
            page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        tools, dropped = tools_of(self.name, found)
        return tuple(tools), dropped

    async def _learn(self, session: ClientSession) -> None:
        """Ask for its tools again, as it said that they changed; those that are known stay where it does not answer."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ANSWER):
                tools, dropped = await self._list(session)
            self.report = replace(self.report, tools=tools, dropped=dropped)

    async def _heard(self, message: Any) -> None:
        """Take a message that nobody asked for."""
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._changed = True

    async def _transport(self, stack: contextlib.AsyncExitStack) -> Any:
        """Return how it is spoken to.

        Raises:
            StudioError: Something of its entry is missing here.
        """
        server = self.server
        if server.kind == "stdio":
            self._process = self._as_process()
            self._limits = self._process.limits
            return self._process
        from vllm_studio_tui.tools import mcp_http

        headers = {name: self._fill(value) for name, value in server.headers.items()}
        url = self._fill(server.url)
        if server.kind == "sse":
            return mcp_http.Counted(mcp_http.sse_transport(url, headers, self._limits), self._limits)
        client = await stack.enter_async_context(mcp_http.http_client(headers, self._limits))
        return mcp_http.Counted(mcp_http.http_transport(url, client), self._limits)

    def _as_process(self) -> ProcessTransport:
        server = self.server
        env = {name: self._fill(value) for name, value in server.env.items()}
        whole = environment(env, self._environ)
        program = str(Path(self._fill(server.command)).expanduser())
        cwd = str(Path(self._fill(server.cwd)).expanduser()) if server.cwd else None
        found = shutil.which(program, path=whole.get("PATH"))
        if found is None:
            raise StudioError(
                f"{self.name} cannot be started",
                cause=f"There is no program {program}.",
                advice="Install it, or name it by its whole path.",
            )
        return ProcessTransport([found, *(self._fill(one) for one in server.args)], whole, cwd, self._log)

    def _fill(self, text: str) -> str:
        return filled(text, self._environ, self.name)

    async def _wait(self, leave: asyncio.Event) -> None:
        """Wait until it is let go, has ended, or was not used for long."""
        while not leave.is_set() and not self._ended():
            watched = [asyncio.create_task(leave.wait())]
            if self._process is not None:
                watched.append(asyncio.create_task(self._process.ended.wait()))
            try:
                await asyncio.wait(watched, timeout=IDLE / 10, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in watched:
                    one.cancel()
            if not self._calling and asyncio.get_running_loop().time() - self._used_at > IDLE:
                return

    # --- calls ------------------------------------------------------------------------------------------

    async def _call(self, session: ClientSession, title: str, arguments: Mapping[str, Any], began: float) -> ToolResult:
        import mcp_types as types

        from vllm_studio_tui.tools.mcp_results import result_from

        # Not `call_tool`: it holds the result to a schema of the server, whose patterns may take for ever.
        answer = await session.send_request(
            types.CallToolRequest(params=types.CallToolRequestParams(name=title, arguments=dict(arguments))),
            types.CallToolResult,
            request_read_timeout_seconds=self.server.timeout,
        )
        return result_from(answer, time.monotonic() - began)

    def _trouble(self, error: BaseException) -> str:
        """Return in words why a call failed, for the model and the person."""
        if self._ended():
            return f"{self.name} is gone: {self._cause(error)}"
        return f"{self.name} says: {_words(error)}{self._status()}"

    def _as_error(self, error: BaseException | None) -> StudioError:
        if isinstance(error, StudioError):
            return error
        title = f"{self.name} is no use as an MCP server"
        if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
            title = f"{self.name} cannot be started"
        advice = f"What it wrote: {self._log}" if self._process is not None else f"Look at {self.server.target}"
        return StudioError(title, cause=self._cause(error), advice=advice)

    def _cause(self, error: BaseException | None) -> str:
        if self._limits.fault:
            return f"It was ended: {self._limits.fault}."
        words = ""
        if self._process is not None:
            said = clean_line(self._process.last_words[-400:])
            words = f" Its last words: {said}" if said else ""
            code = self._process.exit_code
            if code is not None:
                return (f"It ended with {code}." if code >= 0 else f"It was ended by signal {-code}.") + words
        if isinstance(error, TimeoutError):
            return f"It did not tell its tools within {numbers.duration(START)}." + words
        return f"{_words(error)}{self._status()}." + words

    def _status(self) -> str:
        status = self._limits.status
        if status is None:
            return ""
        return f" (HTTP {status}: it wants another key)" if status in (401, 403) else f" (HTTP {status})"


def _let_go(name: str) -> StudioError:
    return StudioError(f"{name} was let go before it had answered", advice=f"Ask it again: vllm-studio mcp test {name}")


def _words(error: BaseException | None) -> str:
    """Return what an error says, of a group the first one."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if error is None:
        return "it is gone"
    text = clean_line(str(error).strip(), limit=600)
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return f"its answer is not what the protocol says ({error.error_count()} faults)"
    return text.rstrip(".") or type(error).__name__
