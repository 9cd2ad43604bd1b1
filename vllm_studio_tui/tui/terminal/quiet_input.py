"""Waits for what is typed, where Textual looks for it ten times a second: a tenth of what an idle monitor costs.

Sequences that come in two reads, and an Escape that may begin one, are told apart by time: for a while after each read
it is looked as often as Textual does.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import threading
import time
from types import SimpleNamespace
from typing import Any

from vllm_studio_tui.tui.terminal import late_answers

#: Seconds more than anything that was read waits for what follows it.
MORE = 1.0


class WakingEvent(threading.Event):
    """An event that ends a wait for input when it is set.

    Attributes:
        told: A file descriptor that can be read while it is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told, self._tell = os.pipe()
        os.set_blocking(self.told, False)
        os.set_blocking(self._tell, False)

    def set(self) -> None:
        super().set()
        with contextlib.suppress(BlockingIOError):  # it has been told often enough
            os.write(self._tell, b"\0")

    def clear(self) -> None:
        super().clear()
        with contextlib.suppress(BlockingIOError):
            while os.read(self.told, 4096):
                pass

    def close(self) -> None:
        os.close(self.told)
        os.close(self._tell)


class PatientSelector(selectors.SelectSelector):
    """Waits as long as it takes once nothing has come for a while; the event of this thread ends that too."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = time.monotonic()
        self._event: WakingEvent | None = getattr(_THIS_THREAD, "event", None)
        if self._event is not None:
            self.register(self._event.told, selectors.EVENT_READ)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what can be read, and nothing when the time is over or the event was set."""
        if self._event is None:
            return super().select(timeout)
        follows = max(late_answers.PATIENCE, late_answers.CLIPBOARD_EXPECTED) + MORE
        found = super().select(timeout if time.monotonic() - self._heard < follows else None)
        found = [(key, mask) for key, mask in found if key.fd != self._event.told]
        if found:
            self._heard = time.monotonic()
            if any(is_gone(key.fd) for key, _ in found):
                raise TerminalGone
        return found


class TerminalGone(Exception):
    """The terminal was closed: it can always be read, and there is never anything in it."""


def is_gone(terminal: int) -> bool:
    """Return whether a terminal was closed at its other end. A pipe at its end is none."""
    asked = select.poll()
    asked.register(terminal, select.POLLIN)
    return any(event & select.POLLERR and event & select.POLLHUP for _, event in asked.poll(0))


#: Has the event that ends the waiting of the thread that reads the terminal.
_THIS_THREAD = threading.local()


def install() -> None:
    """Have Textual's thread wait by `PatientSelector`, in whichever driver was given an event by `prepare`."""
    from textual.drivers import linux_driver

    ours = SimpleNamespace(SelectSelector=PatientSelector, EVENT_READ=selectors.EVENT_READ)
    if "selectors" in vars(linux_driver):
        vars(linux_driver)["selectors"] = ours


def prepare(driver: Any) -> None:
    """Give a driver, before its thread begins, an event that wakes the thread."""
    if type(getattr(driver, "exit_event", None)) is threading.Event:
        driver.exit_event = WakingEvent()


def begin(driver: Any) -> None:
    """Have the thread that is running now be woken by the event of its driver."""
    event = getattr(driver, "exit_event", None)
    _THIS_THREAD.event = event if isinstance(event, WakingEvent) else None
