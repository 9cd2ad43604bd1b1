"""What wakes the keeper before its time: signals, the end of the engine, an answer to a probe."""

from __future__ import annotations

import os
import selectors
import signal


class Wake:
    """Waits for signals and descriptors. `wait` returns how often TERM or INT came; HUP is ignored."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def listen(self) -> None:
        """Handle signals from now on."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self.watch(self._read)

    def watch(self, descriptor: int) -> None:
        """Wake when it can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ)

    def forget(self, descriptor: int) -> None:
        """Wake for it no longer; that it is not watched is no error."""
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def wait(self, seconds: float) -> int:
        """Sleep, but not through what is watched; how many signals to stop have come."""
        self._selector.select(seconds)
        try:
            received = os.read(self._read, 512)
        except BlockingIOError:
            return 0
        return sum(number in (signal.SIGTERM, signal.SIGINT) for number in received)
