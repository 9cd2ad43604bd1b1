"""Keep the samples of a history: of several programs on one home one writes, and another goes on when it ends.

It reads what is in memory once a minute, in a thread of its own: a tick does nothing more for it, and a disk that hangs
or is full costs nothing before half an hour is over.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.sample import FOREIGN
from vllm_studio_tui.kit.paths import Places, private_dir
from vllm_studio_tui.probes.gpu.nvml import simulated
from vllm_studio_tui.services.watching.history import FINE_SECONDS, History

if TYPE_CHECKING:
    from pathlib import Path

    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.store.sample_writer import SampleWriter

#: Seconds from one writing to the next.
EVERY = 60.0
#: Seconds of a step that is kept.
STEP = 10
MEBIBYTE = 1024 * 1024
#: Samples of fewer seconds are not worth a file.
LEAST = 5.0
_log = logging.getLogger(__name__)


def samples_file(places: Places) -> Path:
    """Return where the samples of this machine are kept; those of simulated GPUs lie beside them."""
    return places.samples.with_name("simulated.db") if simulated() else places.samples


def recipes_of(runs: Iterable[RunView]) -> dict[str, str]:
    """Return the recipe of each of these runs."""
    return {run.run_id: run.recipe_id for run in runs if run.recipe_id}


class SampleKeeper:
    """Writes the samples of a history to `samples_file`.

    Args:
        recipes: Returns the recipe of each run that is known.
        size: Returns how many MiB it may take; 0: nothing is kept.

    Attributes:
        size: Returns how many MiB it may take.
        trouble: Why nothing can be kept at the moment, in words; None while it can, or another program does it.
    """

    def __init__(
        self,
        places: Places,
        history: History,
        recipes: Callable[[], Mapping[str, str]],
        *,
        size: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
        every: float = EVERY,
    ) -> None:
        self._path = samples_file(places)
        self._places = places
        self._history = history
        self._recipes = recipes
        self.size = size or self._size_of_settings
        self._clock = clock
        self._every = every
        self._lock: int | None = None
        self._writer: SampleWriter | None = None
        self._since = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.trouble: str | None = None

    @property
    def writing(self) -> bool:
        """Return whether this is the one that writes."""
        return self._writer is not None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="samples-kept", daemon=True)
            self._thread.start()

    def close(self, patience: float = 2.0) -> None:
        """Write what is not written yet and let another program write; a disk that hangs is not waited for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(patience)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.keep()
        reach = self._history.reach
        if self._writer is not None or (reach is not None and self._clock() - reach > LEAST):
            self.keep(last=True)
        self._end()

    def keep(self, *, last: bool = False) -> None:
        """Write what has come since the last time, if nobody else does. Never raises.

        Args:
            last: Also the step that is not over.
        """
        try:
            if self._begin():
                self._write(last=last)
                self.trouble = None
        except (StudioError, OSError) as error:
            words = ". ".join(part for part in (str(error), getattr(error, "cause", "")) if part)
            if words != self.trouble:
                _log.warning("samples are not kept: %s", words)
            self.trouble = words
        except Exception:  # noqa: BLE001, RUF100  # whatever it is, the sampler and the screens go on
            _log.exception("samples are not kept")
            self.trouble = "a fault, see the log"

    def _begin(self) -> bool:
        """Return whether this program writes; become the one if there is none."""
        if self._writer is not None:
            return True
        size = self.size()
        if size <= 0 or (self._lock is None and not self._take_lock()):
            return False
        from vllm_studio_tui.store.sample_writer import SampleWriter

        self._writer = SampleWriter(self._path, size * MEBIBYTE)
        # What the program before did not come to write is in the memory of this one, if it watched too.
        self._since = min(self._writer.written_until, self._clock())
        return True

    def _take_lock(self) -> bool:
        import fcntl

        private_dir(self._path.parent)
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._lock = handle
        return True

    def _write(self, *, last: bool) -> None:
        assert self._writer is not None
        now = self._clock()
        until = now if last else math.floor(now / STEP) * STEP
        since = max(min(self._since, now), now - FINE_SECONDS)
        steps = {
            name: made
            for name, samples in self._history.newest(since).items()
            # The number of a process is another one's tomorrow.
            if not name.startswith(f"run/{FOREIGN}") and (made := _steps([one for one in samples if one[0] < until]))
        }
        if steps:
            self._writer.write(steps, self._recipes(), until)
        self._since = until - 1e-6  # the samples after it, this moment's too

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None

    def _size_of_settings(self) -> int:
        from vllm_studio_tui.config.settings import load_settings

        settings = load_settings(self._places, os.environ, {})
        return settings.samples_mb


def _steps(samples: list[tuple[float, float | None]]) -> dict[int, tuple[float, float, float]]:
    """Return mean, least and largest of each step of 10 s, by its begin."""
    shares: dict[int, list[float]] = {}
    for at, value in samples:
        if value is not None:
            shares.setdefault(int(at // STEP) * STEP, []).append(value)
    return {begin: (math.fsum(some) / len(some), min(some), max(some)) for begin, some in shares.items()}
