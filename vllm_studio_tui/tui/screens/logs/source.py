"""Opening a log, and reading what comes to it: of one elsewhere without ever waiting for it where it is drawn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.timer import Timer

from vllm_studio_tui.runs.log_pieces import NotHere
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.tui.document.log_block import Notice
from vllm_studio_tui.tui.screens.logs.facts import LogFacts
from vllm_studio_tui.tui.screens.logs.study import LogStudy

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.run_logs.run_log import RunLog
    from vllm_studio_tui.tui.paint.ink import Ink

#: Seconds between two reads of a log that is followed.
EVERY = 0.2
#: The same of one elsewhere; and until it is tried again after it could not be read.
EVERY_FAR = 0.4
AGAIN = 1.5
#: Parts of a log elsewhere that one thing may wait for, one after the other.
TRIES = 20


class LogSource(LogStudy):
    """Opens and follows a log."""

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(get_ink, id=id)
        self._opened: Callable[[], RunLog] | None = None
        self._timer: Timer | None = None
        self._polling = self._all_open = False
        self._next_poll = 0.0

    @property
    def path(self) -> Path | None:
        return self._log.file.path if self._log is not None else None

    @property
    def host(self) -> str | None:
        """The machine that the log lies on; None: this one."""
        return self._log.host if self._log is not None else None

    # --- for subclasses ---------------------------------------------------------------------------------

    def begin(self, log: RunLog, window: LogWindow) -> None:
        """Show a log that was opened."""

    def follow(self) -> None:
        """Show what was added."""

    # --- opening ----------------------------------------------------------------------------------------

    def open(self, run: RunView, opened: Callable[[], RunLog]) -> None:
        """Show the log of a run at its end, all of it: a filter belongs to the run before.

        Args:
            opened: Opens the log.

        Raises:
            OSError: The file cannot be opened.
        """
        log = opened()
        self.close_file()
        self._run, self._opened, self._log = run, opened, log
        self.words, self.hits, self.filter = "", None, Filter()
        self._sources = []
        self.facts, self._all_open = LogFacts(), False
        self.following = True
        self.lost = ""
        log.never_wait_here()
        if log.host is None:
            self.begin(log, log.window())
        else:
            self.blocks = [Notice(f"Reading the log on {log.host} …")]
            self._next_poll = 0.0
            self._poll()
        if self._timer is None:
            self._timer = self.set_interval(EVERY, self._poll)

    def close_file(self) -> None:
        """Close the file of the log."""
        if self._log is not None:
            self._log.file.close()
        self._log = self._window = self.index = self.hits = None
        self.blocks = []

    def on_unmount(self) -> None:
        self.close_file()

    def _poll(self) -> None:
        """Read new lines while the log is followed, and look through what nobody has counted yet."""
        log = self._log
        if log is None or not self.is_on_screen or not self.size.height:
            return
        if log.host is None:
            self.follow()
            return
        if not self._polling and time.monotonic() >= self._next_poll:
            self._polling = True
            self.run_worker(self._poll_far(log), group="log-far")
        self._study_more()

    async def _poll_far(self, log: RunLog) -> None:
        """Find out what came to a log elsewhere, or open it at last, and show that."""
        try:
            if self._window is None:
                window = await asyncio.to_thread(log.window)
                if log is self._log:
                    self.begin(log, window)
                    self._heard()
            else:
                await asyncio.to_thread(log.file.refresh)
                if log is self._log:
                    self._heard()
                    self.reading(self.follow)
        except OSError as error:
            if log is self._log:
                self.away(error)
        finally:
            self._polling = False
            self._next_poll = max(self._next_poll, time.monotonic() + EVERY_FAR)

    def _heard(self) -> None:
        if self.lost:
            self.lost = ""
            self.post_message(self.Status())

    def away(self, error: OSError) -> None:
        words = error.strerror or str(error)
        self._next_poll = time.monotonic() + AGAIN
        if self._window is None and self._log is not None:
            self.blocks = [Notice(f"The log on {self._log.host} cannot be read: {words}")]
            self.redraw()
        if words != self.lost:
            self.lost = words
            self.post_message(self.Status())

    def reading(self, work: Callable[[], object], tries: int = TRIES) -> bool:
        """Do what reads the log; return whether it is done.

        Where a part of a log elsewhere is not here yet, it is done when that has come.
        """
        try:
            work()
        except NotHere as missing:
            log = self._log
            if log is not None and tries > 0:
                self.run_worker(self._bring(log, missing, work, tries - 1), group="log-far-read")
            return False
        return True

    async def _bring(self, log: RunLog, missing: NotHere, work: Callable[[], object], tries: int) -> None:
        try:
            await asyncio.to_thread(log.bring, missing)
        except OSError as error:
            self.away(error)
            return
        if log is self._log:
            self.reading(work, tries)
