"""What engines work on now, whoever asked: from their own counters, read in threads that nobody waits for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.runs.read import RunView

#: Seconds between two questions to one engine.
EVERY = 1.0
#: After so many seconds without an answer it is not known what an engine works on.
FORGET = 10.0


@dataclass(slots=True)
class _Engine:
    probe: EngineProbe
    attempt: int
    asked: Future[EngineMetrics] | None = None
    asked_at: float = -FORGET
    last: EngineMetrics | None = None
    last_at: float = 0.0


class EngineUse:
    """Asks engines for their counters."""

    def __init__(self) -> None:
        self._engines: dict[str, _Engine] = {}
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Ask nobody any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, runs: Iterable[RunView]) -> None:
        """Ask these engines, unless they were asked just now; forget all others."""
        here = {one.run_id: one for one in runs if one.spec is not None}
        for gone in self._engines.keys() - here.keys():
            del self._engines[gone]
        now = time.monotonic()
        for run_id, run in here.items():
            engine = self._engines.get(run_id)
            if engine is None or engine.attempt != run.status.attempt:
                engine = self._engines[run_id] = _Engine(probe_of(run), run.status.attempt)
            if engine.asked is None and now - engine.asked_at >= EVERY:
                self._pool = self._pool or ThreadPoolExecutor(4, "engines")
                engine.asked = self._pool.submit(read_use, engine.probe, run)
                engine.asked_at = now

    def of(self, run_id: str) -> tuple[int | None, tuple[int | None, ...]]:
        """Return how many requests an engine works on, None where it does not say, and what moves when it is used."""
        engine = self._engines.get(run_id)
        if engine is None:
            return None, ()
        if engine.asked is not None and engine.asked.done():
            found = None if engine.asked.cancelled() or engine.asked.exception() else engine.asked.result()
            engine.asked = None
            if found is not None and found.error is None:
                engine.last, engine.last_at = found, time.monotonic()
        if engine.last is None or time.monotonic() - engine.last_at > FORGET:
            return None, ()
        return busy(engine.last), (engine.last.requests_total, engine.last.generation_tokens_total)


def busy(metrics: EngineMetrics) -> int | None:
    """Return the requests that an engine works on or keeps waiting; None where it says neither."""
    if metrics.running is None and metrics.waiting is None:
        return None
    return (metrics.running or 0) + (metrics.waiting or 0)


def probe_of(run: RunView) -> EngineProbe:
    """Return what reads the counters of a run's engine."""
    style = run.spec.recipe.get("metrics_style") if run.spec else None  # custom engines say whose metrics they speak
    return EngineProbe(style if isinstance(style, str) and style else run.backend or "custom")


def read_use(probe: EngineProbe, run: RunView) -> EngineMetrics:
    """Ask an engine for its counters. Blocking; what went wrong is in `error`."""
    assert run.spec is not None
    key: str | None = None
    if run.spec.api_key_ref is not None:
        try:
            key = secrets.resolve(run.spec.api_key_ref, os.environ)
        except ValueError:
            key = None
    return probe.read(run.spec.base_url, key, timeout=2.0)
