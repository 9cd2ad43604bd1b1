"""The log of requests of other programs: one row each, whatever happens to the database, the disk or this process."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections import deque
from dataclasses import replace
from pathlib import Path

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.usage import SUCCESSES, CompletedRequest
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving.journal import (
    JournalFile,
    cut,
    dead_journals,
    journal_folder,
    line_of,
    line_of_forgotten,
    memory_folder,
    read_forgotten,
    read_journal,
    tidy_memory,
)
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import lease
from vllm_studio_tui.store.peaks import PEAK_TOKENS, PeakRows, held_speed
from vllm_studio_tui.store.requests import RequestRows

#: Seconds that a row waits for others to be written with, and how many are written at once.
BATCH_SECONDS = 1.0
BATCH = 200
#: Rows that wait in memory while the database cannot be written.
MOST_WAITING = 5_000
#: Bytes after which a journal is begun anew.
JOURNAL_BYTES = 2 * 1024 * 1024
#: Seconds between two tries to write, the first and the longest.
RETRY_SECONDS = (0.5, 15.0)
#: Seconds that somebody waits who only wants to know how it goes.
QUICK = 0.05
#: Seconds to wait for others that write to the database.
PATIENCE = 0.5

_log = logging.getLogger(__name__)


def settle_journals(places: Places, db: Database, *, patience: float | None = None) -> int:
    """Make rows of the journals of dead processes, and return how many. Blocking.

    A journal is removed when its rows are written. Doing it twice changes nothing: a row that is over stays.

    Raises:
        StoreError: The rows cannot be written; the journals stay.
    """
    settled = 0
    if db.read_only:
        return 0
    for folder in (journal_folder(places), memory_folder(places)):
        if folder is not None:
            with dead_journals(folder) as found:
                # What was under way in an older file of a process may have been forgotten in a newer one.
                forgotten = set[str]().union(*(_forgotten(path) for path in found))
                for path in found:
                    settled += _settle(path, db, patience, forgotten)
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where it is empty: nobody serves
    return settled


def _forgotten(path: Path) -> set[str]:
    try:
        return read_forgotten(path)
    except OSError:
        return set()


def _settle(path: Path, db: Database, patience: float | None, forgotten: set[str]) -> int:
    try:
        story = read_journal(path)
    except OSError as error:
        _log.warning("a journal of requests cannot be read: %s", error)
        return 0
    rows = [*story.ended, *(one for one in story.interrupted() if one.id not in forgotten)]
    for start in range(0, len(rows), BATCH):
        RequestRows(db).record_all(rows[start : start + BATCH], None, patience=patience)
    with contextlib.suppress(OSError):
        path.unlink()
    return len(rows)


class RequestLog:
    """The log of one process that serves.

    `begin`, `forget` and `put` never raise, and wait for one write to a file: see `RequestNotes` for who must not.
    `health` waits for next to nothing. Making it, `settle` and `close` block.

    Attributes:
        owner: Under which its rows are kept: see `KeyRing`.
    """

    def __init__(self, places: Places, db: Database) -> None:
        self.owner = f"{lease()}:{uuid.uuid4().hex[:8]}"
        self._places = places
        self._db = db
        self._folder = journal_folder(places)
        self._wake = threading.Condition()
        self._rows: deque[tuple[CompletedRequest, JournalFile | None]] = deque()
        self._open: dict[str, CompletedRequest] = {}
        self._old: list[JournalFile] = []
        self._ending = False
        self._written = self._lost = self._spilled = self._unjournaled = 0
        self._error: str | None = None
        self._error_at: float | None = None
        self._health: dict[str, object] = {"lost": 0}
        self._file: JournalFile | None = self._new_file()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def begin(self, request: CompletedRequest) -> None:
        """Note a request that is under way. Quick.

        Told again with the same id, it replaces what is known: who answers, and how many tokens have come so far
        (`completion_tokens`), which is what is kept of it if this process is killed.
        """
        request = cut(request if request.finish == "streaming" else replace(request, finish="streaming"))
        with self._wake:
            self._open[request.id] = request
            self._append(request)

    def put(self, request: CompletedRequest) -> None:
        """Keep a request that has ended. Told twice, the first counts. Quick."""
        request = cut(request if request.id else replace(request, id=uuid.uuid4().hex))
        with self._wake:
            self._open.pop(request.id, None)
            journaled = self._append(request)
            file = self._file if journaled else None
            if len(self._rows) < MOST_WAITING and not self._ending:
                self._rows.append((request, file))
                if file is not None:
                    file.waiting += 1
                if len(self._rows) in (1, BATCH):
                    self._wake.notify()
            elif file is not None:
                file.needed = True
                self._spilled += 1
            else:
                self._lost += 1

    def forget(self, request_id: str) -> None:
        """Take a request back that was begun: it has ended, and is to have no row of its own. Quick."""
        with self._wake:
            if self._open.pop(request_id, None) is not None:
                self._append_lines(line_of_forgotten(request_id))

    def settle(self) -> int:
        """Make rows of the journals that dead processes left, and return how many. Blocking; does not raise."""
        tidy_memory()
        try:
            return settle_journals(self._places, self._db)
        except StoreError as error:
            self._failed(error.title)
            return 0

    def health(self) -> dict[str, object]:
        """Return how it goes. Quick.

        `waiting` rows are in memory, `journaled` ones are in the journal alone, `lost` ones nowhere.
        """
        if not self._wake.acquire(timeout=QUICK):
            return {**self._health, "degraded": True, "error": "the disk does not answer"}
        try:
            self._health = {
                "degraded": self._error is not None or self._lost > 0 or self._file is None,
                "waiting": len(self._rows),
                "journaled": self._spilled,
                "written": self._written,
                "lost": self._lost,
                "not_journaled": self._unjournaled,
                "error": self._error,
                "since": iso_time(self._error_at),
            }
        finally:
            self._wake.release()
        return dict(self._health)

    def close(self) -> None:
        """Write what waits. What cannot be written stays in the journal for whoever settles it next. Blocking."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        self._thread.join(timeout=30.0)
        with self._wake:
            files = [*self._old, *([self._file] if self._file is not None else [])]
            self._file, self._old = None, []
            for one in files:
                one.close(remove=not (one.waiting or one.needed or self._open))
        self.settle()

    # --- the journal, under the lock --------------------------------------------------------------------

    def _new_file(self) -> JournalFile | None:
        try:
            return JournalFile.make(self._folder)
        except OSError as error:
            _log.warning("requests cannot be noted in %s: %s", self._folder, error)
            return None

    def _append(self, request: CompletedRequest) -> bool:
        try:
            lines = line_of(request)
        except (TypeError, ValueError):  # a value that is no text, number or truth
            self._unjournaled += 1
            return False
        return self._append_lines(lines)

    def _append_lines(self, lines: bytes) -> bool:
        journaled = self._file is not None and self._file.append(lines)
        if not journaled:
            self._unjournaled += 1
        return journaled

    # --- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = RETRY_SECONDS[0]
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._rows or self._ending or self._spilled)
                if self._rows and not self._ending and self._error is None:
                    self._wake.wait_for(lambda: len(self._rows) >= BATCH or self._ending, timeout=BATCH_SECONDS)
                batch = [self._rows[number] for number in range(min(BATCH, len(self._rows)))]
                ending = self._ending
            try:
                written = self._write(batch)
            except Exception:  # noqa: BLE001, RUF100
                _log.exception("requests cannot be written")
                self._failed("an internal error")
                written = False
            if written:
                pause = RETRY_SECONDS[0]
                if ending and not self._rows:
                    return
                continue
            if ending:
                return
            with self._wake:
                self._wake.wait_for(lambda: self._ending, timeout=pause)
            pause = min(2 * pause, RETRY_SECONDS[1])

    def _write(self, batch: list[tuple[CompletedRequest, JournalFile | None]]) -> bool:
        """Write rows; return False where they have to wait."""
        rows = RequestRows(self._db)
        try:
            if batch:
                rows.record_all([request for request, _ in batch], self.owner, patience=PATIENCE)
            with self._wake:
                for _, file in batch:
                    self._rows.popleft()
                    if file is not None:
                        file.waiting -= 1
                self._written += len(batch)
                self._error = self._error_at = None
                done = not self._rows
            self._offer_peaks(batch)
            if done:
                self._read_back(rows)
            self._begin_anew()
        except StoreError as error:
            self._failed(error.title)
            return False
        return True

    def _offer_peaks(self, batch: list[tuple[CompletedRequest, JournalFile | None]]) -> None:
        """Keep the highest speed and the shortest wait of each model, where a row of these beats them."""
        best: dict[str, tuple[list[float], list[float]]] = {}
        for one, _ in batch:
            tokens = 0 if one.estimated else one.completion_tokens or 0
            if one.model and one.finish in SUCCESSES and tokens >= PEAK_TOKENS:
                speeds, waits = best.setdefault(one.model, ([], []))
                held = held_speed(tokens, one.tokens_per_second)
                speeds += [] if held is None else [held]
                # What it waited for others, and for its model to load, says nothing of the model.
                waited = (one.queued_seconds or 0.0) + (one.load_seconds or 0.0)
                waits += [] if one.ttft is None else [max(0.0, one.ttft - waited)]
        for model, (speeds, waits) in best.items():
            with contextlib.suppress(StoreError):
                PeakRows(self._db).offer(model, generation_tps=max(speeds, default=None), ttft=min(waits, default=None))

    def _read_back(self, rows: RequestRows) -> None:
        """Write what had no room in memory, from the journal."""
        with self._wake:
            needed = [one for one in (*self._old, self._file) if one is not None and one.needed]
            if not needed:
                return
            for one in needed:
                one.needed = False
            spilled, self._spilled = self._spilled, 0
        try:
            for one in needed:
                ended = read_journal(one.path).ended
                for start in range(0, len(ended), BATCH):
                    rows.record_all(ended[start : start + BATCH], self.owner, patience=PATIENCE)
        except (StoreError, OSError) as error:
            with self._wake:
                self._spilled += spilled
                for one in needed:
                    one.needed = True
            raise (
                error if isinstance(error, StoreError) else StoreError(f"the journal cannot be read: {error}")
            ) from None
        with self._wake:
            self._written += spilled

    def _begin_anew(self) -> None:
        """Begin another file where the last one has grown large, and remove those of which every row is written."""
        with self._wake:
            wanted = not self._ending and (self._file is None or self._file.size >= JOURNAL_BYTES)
        # Not under the lock: a file is made in the time that the disk takes, and a request would wait for it.
        new = self._new_file() if wanted else None
        if new is not None:
            with self._wake:
                # Those that are under way go along, so that an old file can be removed.
                lines = b"".join(line_of(one) for one in self._open.values())
                taken = not self._ending and (not lines or new.append(lines))
                if taken:
                    self._old += [] if self._file is None else [self._file]
                    self._file = new
            if not taken:
                new.close(remove=True)
        with self._wake:
            done = [one for one in self._old if not one.waiting and not one.needed]
            self._old = [one for one in self._old if one not in done]
        for one in done:
            one.close(remove=True)

    def _failed(self, why: str) -> None:
        with self._wake:
            self._error = why
            self._error_at = self._error_at or time.time()
