"""Several hosts, asked beside each other: what each says of itself, and since when one does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.host_overview import SEEN
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.kit.daemon_threads import DaemonThreads
from vllm_studio_tui.remote.host_link import HostLink
from vllm_studio_tui.remote.host_state import Answered, HostState

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host

#: Seconds from a failed try to the next one, while they fail.
TRIES = (2.0, 5.0, 10.0, 30.0)
#: Seconds that closing connections may take at the end.
GRACE = 5.0
#: How often a host is asked again for its speeds, and seconds before each time.
AGAIN, PAUSE = 4, 0.8


class Link(Protocol):
    """A way to a host: to its studio, or to its shell where there is none."""

    name: str

    @property
    def patience(self) -> float: ...
    @property
    def every(self) -> float: ...
    @property
    def last_words(self) -> str: ...
    async def ask(self) -> Answered: ...
    async def close(self) -> None: ...


def link_to(name: str, host: Host, environ: Mapping[str, str]) -> Link:
    """Return the way to a host of the settings."""
    if host.agentless and not host.problem:
        from vllm_studio_tui.remote.agentless.link import AgentlessLink  # few have such hosts

        return AgentlessLink(name, host, environ)
    return HostLink(name, host, environ)


def late(link: Link, seconds: float) -> StudioError:
    """Return the error of a host that did not answer in time."""
    own = isinstance(link, HostLink)
    return StudioError(
        f"{link.name} gave no answer within {seconds:g} s",
        cause=link.last_words,
        advice="See whether the machine is there" + (", and what its `vllm-studio serve` does." if own else "."),
    )


async def _ask(link: Link, state: HostState, seconds: float, *, speeds: bool = False) -> HostState:
    """Return the state of a host after one question. Nothing that it does makes this raise.

    Args:
        speeds: Ask again, while there is time, where its first samples cannot know how fast its engines are.
    """
    loop = asyncio.get_running_loop()
    ends, answered = loop.time() + seconds, False
    try:
        async with asyncio.timeout_at(ends):
            state, answered = state.answered(await link.ask()), True
            for _ in range(AGAIN if speeds else 0):
                if not _waits_for_speeds(state) or loop.time() + PAUSE >= ends:
                    break
                await asyncio.sleep(PAUSE)
                state = state.answered(await link.ask())
    except TimeoutError:
        return state if answered else state.lost(late(link, seconds))  # the time was up while more was asked
    except StudioError as error:
        return state.lost(error)
    except Exception as error:  # noqa: BLE001, RUF100
        return state.lost(StudioError(f"{link.name} cannot be asked", cause=f"{type(error).__name__}: {error}"[:300]))
    return state


def _waits_for_speeds(state: HostState) -> bool:
    found = state.overview
    if found is None or found.tokens_per_second is not None:
        return False
    return bool(found.in_state(*ANSWERING)) or any(run.running is not None for run in found.in_state(SEEN))


async def _close(link: Link) -> None:
    """End a connection; one that takes longer ends in a thread that nobody waits for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await link.close()


def ask_once(hosts: Mapping[str, Host], timeout: float, environ: Mapping[str, str] = os.environ) -> list[HostState]:
    """Ask each host once, all at the same time. Blocking.

    Args:
        timeout: Seconds until a host counts as one that does not answer.
    """

    async def one(name: str, host: Host) -> HostState:
        link = link_to(name, host, environ)
        try:
            return await _ask(link, HostState(name, host), timeout, speeds=True)
        finally:
            await _close(link)

    async def every() -> list[HostState]:
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
        return await asyncio.gather(*(one(name, host) for name, host in hosts.items()))

    return asyncio.run(every())


class HostWatch:
    """Asks hosts again and again, in a thread with an event loop of its own; connections stay open meanwhile.

    Args:
        changed: Called in that thread after each answer, and after each question without one.
        pace: Seconds from one question to the next, at least.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        changed: Callable[[], None],
        environ: Mapping[str, str] = os.environ,
        *,
        pace: float = 0.0,
    ) -> None:
        self._pace = pace
        self._hosts = dict(hosts)
        self._changed = changed
        self._environ = environ
        self._states = {name: HostState(name, host) for name, host in self._hosts.items()}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def states(self) -> list[HostState]:
        """Return what is known, in the order of the settings."""
        return list(self._states.values())

    @property
    def ended(self) -> bool:
        """Return whether nothing of it goes on, after it was stopped."""
        return self._stopped.is_set() and (self._thread is None or not self._thread.is_alive())

    def start(self) -> None:
        """Begin to ask."""
        if self._thread is None and self._hosts:
            self._thread = threading.Thread(target=self._run, name="hosts", daemon=True)
            self._thread.start()

    def keep(self, states: Mapping[str, HostState]) -> None:
        """Take over what was known of these hosts before, where they are still reached the same way."""
        for name, state in states.items():
            if name in self._states and self._states[name].host == state.host:
                self._states[name] = state

    def retry(self, name: str) -> None:
        """Ask a host now, where the next question is only due later."""
        loop, wake = self._loop, self._wake.get(name)
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(wake.set)

    def close(self, wait: float = 0.0) -> None:
        """Stop asking, and end the connections.

        Args:
            wait: Seconds to wait until they have ended.
        """
        told, loop = self._stopped.is_set(), self._loop
        self._stopped.set()
        if loop is not None and not told:  # told twice, it would break off the ending of its connections
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._cancel)
        if wait and self._thread is not None:
            self._thread.join(wait)

    def _cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    def _run(self) -> None:
        asyncio.run(self._follow_all())

    async def _follow_all(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(DaemonThreads())
        self._wake = {name: asyncio.Event() for name in self._hosts}
        self._tasks = {name: asyncio.create_task(self._follow(name, host)) for name, host in self._hosts.items()}
        if self._stopped.is_set():
            self._cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, name: str, host: Host) -> None:
        link, failed, wake = link_to(name, host, self._environ), 0, self._wake[name]
        try:
            while True:
                state = await _ask(link, self._states[name], link.patience)
                self._states[name] = state
                self._changed()
                failed = 0 if state.error is None else failed + 1
                if state.error is not None:
                    # What is broken about a connection is not found out by using it again.
                    await _close(link)
                    link = link_to(name, host, self._environ)
                rest = max(self._pace, link.every) if not failed else TRIES[min(failed, len(TRIES)) - 1]
                if isinstance(state.error, UsageError):
                    rest = TRIES[-1]  # it is a mistake in the settings, or a key that is not there
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), rest)
                wake.clear()
        finally:
            await _close(link)
