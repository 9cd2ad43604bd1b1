"""A thread with an event loop of its own, in which tools work: whatever one does, the loop of a face goes on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.daemon_threads import DaemonThreads

T = TypeVar("T")
#: Seconds that what works in the thread may take to end when the thread is closed.
CLOSING = 10.0


class ToolThread:
    """Starts with the first work that it is given; once closed it takes none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begin work; cancelling what is returned cancels it.

        Raises:
            StudioError: It is closed: who still looks for tools then, in another thread, must not start any.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._running())
        except StudioError:
            work.close()
            raise

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work and return what it returns. Blocking."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work for another event loop; who is cancelled there cancels it."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """End what works, and the thread. Blocking, for a few seconds at most."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            self._closed = True
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(CLOSING + 2)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise StudioError("the tools are closed", cause="This program is ending.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # What a tool waits for in a thread may never end, such as a look-up of a name.
                self._loop.set_default_executor(DaemonThreads())
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="tools", daemon=True)
                self._thread.start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        with contextlib.suppress(Exception):
            loop.run_until_complete(asyncio.wait(left, timeout=CLOSING) if left else asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
