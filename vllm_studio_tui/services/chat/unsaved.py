"""Answers whose end is not in the database yet: kept in memory and in a recovery file, and saved again until it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.errors import NotSaved, StoreError, StudioError
from vllm_studio_tui.services.chat.events import AnswerSaved, Publisher
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.finished_answers import Ending, keep_ending
from vllm_studio_tui.store.recovery import forget_recovery, write_recovery

_log = logging.getLogger(__name__)

#: Seconds until an ending is tried again: the first time, and at most.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
#: Seconds that one try waits for others that are writing; what else reads the database waits with it.
PATIENCE = 0.3


class Unsaved:
    """Ends of answers on their way into the database.

    Args:
        folders: Where recovery files go, the first one that can be written.
    """

    def __init__(
        self,
        db: Database,
        folders: Sequence[Path],
        bus: Publisher | None = None,
        *,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._db = db
        self._folders = tuple(folders)
        self._bus = bus
        self._first_pause = first_pause
        self._lock = threading.Lock()
        self._waiting: dict[str, Ending] = {}
        self._reasons: dict[str, StudioError] = {}
        self._paths: dict[str, Path | None] = {}
        self._closed = threading.Event()
        self._worker: threading.Thread | None = None

    # --- keeping ----------------------------------------------------------------------------------------

    def take(self, ending: Ending) -> None:
        """Remember an ending until it is saved. Does not block."""
        with self._lock:
            self._waiting[ending.key] = ending

    def save(self, ending: Ending) -> NotSaved | None:
        """Save an ending; where that fails it is tried again in the background, and the error returned. Blocking."""
        if self._db.read_only:  # known before anything was asked: only a count is lost
            self._saved(ending)
            return None
        try:
            keep_ending(self._db, ending)
        except StoreError as error:
            path = self._failed(ending, error)
            self._start()
            return NotSaved(error, str(path) if path is not None else None)
        self._saved(ending)
        return None

    def checkpoint(self, ending: Ending, error: StoreError) -> None:
        """Write what has come of a running answer to its recovery file, as the database does not take it. Blocking."""
        self._paths[ending.key] = write_recovery(self._folders, ending)
        self._reasons[ending.key] = error

    def caught_up(self, key: str) -> None:
        """Delete the recovery file of an answer: the database has taken all that has come. Blocking."""
        if self._paths.pop(key, None) is not None:
            forget_recovery(self._folders, key)
        self._reasons.pop(key, None)

    def _failed(self, ending: Ending, error: StoreError) -> Path | None:
        _log.info("the end of an answer is not saved yet: %s", error)
        path = write_recovery(self._folders, ending)
        with self._lock:
            if ending.key in self._waiting:
                # Its calls are not made: nobody would end them.
                self._waiting[ending.key] = replace(ending, results=())
                self._reasons[ending.key], self._paths[ending.key] = error, path
        return path

    def _saved(self, ending: Ending) -> None:
        with self._lock:
            self._waiting.pop(ending.key, None)
        self.caught_up(ending.key)

    # --- trying again -----------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._lock:
            if self._worker is None and not self._closed.is_set():
                self._worker = threading.Thread(target=self._work, name="unsaved-answers", daemon=True)
                self._worker.start()

    def _work(self) -> None:
        pause = self._first_pause
        while not self._closed.wait(pause):
            left = [self._try(one) for one in self._failures()]
            with self._lock:
                if not self._reasons.keys() & self._waiting.keys():
                    self._worker = None
                    return
            pause = self._first_pause if not all(left) else min(pause * 2, LONGEST_PAUSE)

    def _failures(self) -> list[Ending]:
        """Return the endings that could not be saved; the others are being saved for the first time."""
        with self._lock:
            return [one for key, one in self._waiting.items() if key in self._reasons]

    def _try(self, ending: Ending) -> StoreError | None:
        try:
            keep_ending(self._db, ending, patience=PATIENCE)
        except StoreError as error:
            with self._lock:
                self._reasons[ending.key] = error
            if self._paths.get(ending.key) is None:  # there may be room for a file by now
                self._paths[ending.key] = write_recovery(self._folders, ending)
            return error
        self._saved(ending)
        if self._bus is not None:
            message = ending.message
            ids = (message.session_id, message.id) if message is not None else (None, None)
            self._bus.publish(AnswerSaved(*ids))
        return None

    def close(self) -> list[Path]:
        """Try a last time; return the recovery files of what is left. Blocking."""
        self._closed.set()
        if self._worker is not None:
            self._worker.join(PATIENCE + 1.0)
        with self._lock:
            waiting = list(self._waiting.values())
        left = [self._paths.get(ending.key) for ending in waiting if self._try(ending) is not None]
        return [path for path in left if path is not None]

    # --- reading ----------------------------------------------------------------------------------------

    def over(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages with what the database does not hold of them yet."""
        with self._lock:
            whole = {
                one.message.id: replace(one.message, unsaved=self._reasons[key].title)
                for key, one in self._waiting.items()
                if one.message is not None and key in self._reasons
            }
        return [whole.get(one.id, one) for one in messages]

    def reasons(self) -> list[str]:
        """Return why each answer that waits is not saved yet."""
        with self._lock:
            return [self._reasons[key].title for key in self._waiting if key in self._reasons]
