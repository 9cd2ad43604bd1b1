"""What becomes of requests, on its way from the event loop to those who write it down: no request waits for a disk.

A note is first a line of a file in memory, which outlives a kill of this process (`journal.memory_folder`). A thread
takes all that has come in the meantime to the request log, and empties the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.serving.few_refusals import FewRefusals
from vllm_studio_tui.services.serving.journal import JournalFile, line_of_known, request_of

Observer = Callable[[CompletedRequest], None]

#: Seconds in which notes are gathered: waking a thread for each takes as long as a fifth of a request.
GATHER = 0.05
#: Notes that may wait while a disk hangs; later ones are lost, and counted.
MOST_WAITING = 20_000
#: Seconds that somebody waits, at most, who wants to know what has ended.
PATIENCE = 1.0

_log = logging.getLogger(__name__)


class RequestNotes:
    """A thread that tells what it is told, in that order.

    `note` and `told` are for an event loop: they wait for no disk.

    Args:
        folder: Where files are memory; None: there is no such place, and a kill loses what came in the last moment.
        begin: Keeps a request that is under way.
        forget: Is told the id of each that has ended and is not to be remembered: it is under way no more.
        count: Is told of every request that has ended.
        kept: Are told of those that are to be remembered: of refusals that come in crowds, a few.

    Attributes:
        lost: How many could not be told any more, because too many waited.
    """

    def __init__(
        self,
        folder: Path | None,
        begin: Observer,
        forget: Callable[[str], None],
        count: Observer,
        kept: Sequence[Observer],
    ) -> None:
        self._folder = folder
        self._begin = begin
        self._forget = forget
        self._count = count
        self._kept = kept
        self._few = FewRefusals()
        self._lock = threading.Lock()
        self._some, self._hurry = threading.Event(), threading.Event()
        #: Whose they are, whether it has ended, and what is known of it.
        self._notes: list[tuple[str, bool, bytes]] = []
        self._under_way = 0
        self._ending = False
        self.lost = 0
        #: One takes notes while the thread tells what is in the other.
        self._file, self._other = self._new_file(), self._new_file()
        self._thread = threading.Thread(target=self._run, name="request-notes", daemon=True)
        self._thread.start()

    def note(self, known: Mapping[str, Any]) -> None:
        """Note what is known of a request, by the names of `CompletedRequest`. Quick.

        While its `finish` is `streaming` it is under way; with any other it has ended, and all are told of it.
        """
        line = line_of_known(known)
        # The thread holds this lock for a moment only, never while it writes to a disk.
        with self._lock:
            if len(self._notes) >= MOST_WAITING:
                self.lost += 1
                return
            if self._file is not None:
                self._file.append(line)
            self._notes.append((str(known["id"]), known["finish"] != "streaming", line))
            if len(self._notes) == 1:
                self._some.set()

    @property
    def hurried(self) -> bool:
        """Return whether so many wait that there is room for requests of models alone."""
        return len(self._notes) > MOST_WAITING // 10

    async def told(self, *, patience: float = PATIENCE) -> bool:
        """Wait until all that was noted is told, and return whether it is."""
        until = time.monotonic() + patience
        self._hurry.set()
        while self._waits():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.002)
        return True

    def drain(self, seconds: float) -> bool:
        """Do as `told`, blocking."""
        until = time.monotonic() + seconds
        self._hurry.set()
        while self._waits():
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True

    def close(self, seconds: float = 30.0) -> None:
        """Tell what waits, and end. Blocking."""
        self._ending = True
        self._hurry.set()
        self._some.set()
        self._thread.join(timeout=seconds)
        for file in (self._file, self._other):
            if file is not None:
                file.close(remove=not self._waits())
        if self._folder is not None:
            with contextlib.suppress(OSError):  # somebody else serves this home
                self._folder.rmdir()

    def _waits(self) -> int:
        with self._lock:
            return len(self._notes) + self._under_way

    # --- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            came = self._some.wait(self._few.next_due())
            self._keep_due()
            if not came:
                continue
            if not self._ending:
                self._hurry.wait(GATHER)
            self._hurry.clear()
            with self._lock:
                notes, self._notes = self._notes, []
                self._under_way = len(notes)
                self._file, self._other = self._other, self._file
                self._some.clear()
            ended = {request_id for request_id, over, _ in notes if over}
            for request_id, over, line in notes:
                # Of a request that has ended in the meantime, nobody needs to know that it was under way.
                if over or request_id not in ended:
                    self._tell(line)
            if self._other is not None:
                self._other.clear()
            if self._other is None or not self._other.is_there():
                self._other = self._new_file()
            with self._lock:
                self._under_way = 0
                over = self._ending and not self._notes
                if self._ending:
                    self._some.set()
            if over:
                self._keep_due(end=True)
                return

    def _keep_due(self, *, end: bool = False) -> None:
        for row in self._few.due(end=end):
            for observer in self._kept:
                try:
                    observer(row)
                except Exception:  # noqa: BLE001, RUF100
                    _log.exception("a row of refusals is not written down")

    def _tell(self, line: bytes) -> None:
        try:
            request = request_of(line)
            if request is None:
                raise ValueError("no request")  # noqa: TRY301, RUF100
            if request.finish == "streaming":
                self._begin(request)
                return
            self._count(request)
            row = self._few.row(request)
            if row is None:
                self._forget(request.id)
                return
            for observer in self._kept:
                observer(row)
        except Exception:  # noqa: BLE001, RUF100
            _log.exception("a request is not written down")

    def _new_file(self) -> JournalFile | None:
        if self._folder is None:
            return None
        try:
            return JournalFile.make(self._folder)
        except OSError as error:
            _log.warning("requests cannot be noted in %s: %s", self._folder, error)
            return None
