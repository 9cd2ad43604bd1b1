"""The highest speeds that each model's engine really held for ten seconds, kept as its peaks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.store.database import Database

#: Seconds from one time that they are written to the next.
EVERY = 30.0
#: What is faster is a fault of whoever counted.
MOST = 1e8
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Best:
    """Tokens per second; None: nothing yet."""

    generation: float | None = None
    prompt: float | None = None


class PeakWatch:
    """Follows the samples; what beats all before of this program is offered to the database, by a thread of its own.

    Args:
        db: Opened by the thread that writes, when there is something to write.
    """

    def __init__(self, db: Callable[[], Database], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._best: dict[str, _Best] = {}
        self._new: set[str] = set()
        self._guard = threading.Lock()
        self._next_at = 0.0
        self._writing: threading.Thread | None = None

    def look(self, snapshot: Snapshot) -> None:
        """Take a sample. Never waits."""
        for run in snapshot.runs:
            engine = snapshot.engine(run.run_id)
            reached = engine.reached if engine is not None and run.run_id not in snapshot.ages else None
            if reached is None or run.model is None:
                continue
            with self._guard:
                best = self._best.setdefault(run.model, _Best())
                for name, speed in (
                    ("generation", reached.generation_tokens_per_second),
                    ("prompt", reached.prompt_computed_per_second),
                ):
                    if speed is not None and max(getattr(best, name) or 0.0, 1e-9) < speed < MOST:
                        setattr(best, name, speed)
                        self._new.add(run.model)
        busy = self._writing is not None and self._writing.is_alive()
        if self._new and not busy and self._clock() >= self._next_at:
            self._next_at = self._clock() + EVERY
            self._writing = threading.Thread(target=self._write, name="peaks", daemon=True)
            self._writing.start()

    def close(self) -> None:
        """Write what is not written yet."""
        if self._writing is not None:
            self._writing.join(3.0)
        if self._new:
            self._write()

    def _write(self) -> None:
        from vllm_studio_tui.store.peaks import PeakRows

        with self._guard:
            new = {model: (self._best[model].generation, self._best[model].prompt) for model in self._new}
            self._new.clear()
        try:
            rows = PeakRows(self._db())
            for model, (generation, prompt) in new.items():
                rows.offer(model, generation_tps=generation, prefill_tps=prompt)
        except StudioError as error:
            _log.info("peaks are not kept: %s", error)
            with self._guard:
                self._new.update(new)
