"""Samples of a studio elsewhere; while it does not answer, the last one goes on with its age."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.remote.client import Client
from vllm_studio_tui.remote.samples import SampleReader
from vllm_studio_tui.remote.wording import in_words
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Seconds from one try to connect again to the next, while they fail.
TRIES = (0.5, 1.0, 2.0, 5.0)
_log = logging.getLogger(__name__)


class RemoteSampler:
    """Publishes the samples that a studio elsewhere takes.

    Args:
        reconnect: Makes the way there anew; blocking, raises StudioError.

    Attributes:
        lost: Why no samples come, and what to do, in words; None while they do.
    """

    def __init__(self, client: Client, bus: Bus, reconnect: Callable[[], None], *, every: float = 1.0) -> None:
        self._client = client
        self._bus = bus
        self._reconnect = reconnect
        self._every = every
        self._paced = threading.Event()
        self._wake = threading.Event()
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._heard_at = 0.0
        self._failed = 0  # tries since the last sample
        self._last: Snapshot | None = None
        self.history = History(every)
        self.latest: Snapshot | None = None
        self.lost: str | None = None

    def start(self) -> None:
        """Begin; the first sample comes as soon as the studio there has one."""
        if not self._threads:
            for work, name in ((self._read, "samples"), (self._age, "samples-age")):
                thread = threading.Thread(target=work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def set_pace(self, every: float) -> None:
        """Have a sample every so many seconds from now on."""
        if every != self._every:
            self._every = every
            self.history.set_pace(every)
            self._paced.set()

    def wake(self) -> None:
        """Try to connect again now, where there is no connection. Samples come at their own pace."""
        self._wake.set()

    def close(self) -> None:
        """End; a read that waits for a byte ends by itself."""
        self._stopped = True
        self._wake.set()

    def _read(self) -> None:
        while not self._stopped:
            try:
                if self._failed:
                    self._reconnect()
                self._read_stream()
                self._failed = 0
            except (StudioError, OSError) as error:
                if self._stopped:
                    return
                said = [error.title, error.advice] if isinstance(error, StudioError) else [str(error)]
                self.lost = ". ".join(words.rstrip(".") for words in said if words) + "."
                _log.info("samples: %s", self.lost)
                self._wake.wait(TRIES[min(self._failed, len(TRIES) - 1)])
                self._wake.clear()
                self._failed += 1

    def _read_stream(self) -> None:
        reader = SampleReader()
        self._paced.clear()
        for document in self._client.samples(self._every):
            if self._stopped or self._paced.is_set():
                return
            if document is not None:
                with in_words(self._client.address):
                    snapshot = reader.snapshot(document)
                self.history.record(snapshot.tick, silent=snapshot.ages)
                self._last = self.latest = snapshot
                self._failed = 0
            self._heard_at, self.lost = time.monotonic(), None
            if document is not None:
                self._bus.publish(snapshot)

    def _age(self) -> None:
        """Publish the last sample with its age while none come."""
        while not self._stopped:
            time.sleep(1.0)
            last, silent = self._last, time.monotonic() - self._heard_at
            if last is None or self._stopped or (self.lost is None and silent < 4.0):
                continue
            age = last.ages
            gpus = replace(last.tick.gpus, stale=(last.tick.gpus.stale or 0.0) + silent)
            engines = {run_id: age.get(run_id, 0.0) + silent for run_id in last.tick.engines}
            aged = replace(last, tick=replace(last.tick, gpus=gpus), ages=engines, stale=silent)
            if self._last is last:
                self.latest = aged
                self._bus.publish(aged)
