"""An engine that pretends to run a known model on simulated GPUs: it loads, holds them, serves people and logs it.

What began in the past (`--since`) is caught up with: its log is that of all the time since, and its counters too.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import zlib
from collections.abc import Iterable
from dataclasses import replace

from vllm_studio_tui.kit.process import start_ticks
from vllm_studio_tui.simulation import gpus, holders, marks
from vllm_studio_tui.simulation.holders import Holder
from vllm_studio_tui.simulation.kinds import GIB
from vllm_studio_tui.simulation.loading_log import Start, lines
from vllm_studio_tui.simulation.models import Layout, model_of, pace_of
from vllm_studio_tui.simulation.serving_log import request, served
from vllm_studio_tui.simulation.startup_log import log
from vllm_studio_tui.simulation.traffic import Traffic

#: Seconds from one look at what is to be logged to the next.
PACE = 2.0


class Pretence:
    """One run of a pretended model.

    Args:
        options: `pretend` names the model; see `simulation.engine`.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._style = options.style
        self._asking = 0
        self._lock = threading.Lock()
        visible = _visible(options.ranks)
        here = [one for one in visible if one < _count()][: options.ranks]
        began = time.time() if options.since is None else options.since
        model, cache = model_of(options.pretend), 0.5 if options.small_cache else 1.0
        layout = Layout(model, options.ranks, options.gpu_share, cache, pace_of(began))
        self.start = Start(
            layout,
            options.pretend,
            options.model,
            options.port,
            os.getpid(),
            options.max_context or model.context,
            began,
            max((_held_by_others(one) for one in here), default=0.0),
            options.ranks - len(here),
        )
        self._holder = Holder(
            options.model,
            options.pretend,
            tuple(here),
            began,
            sum(layout.loading_seconds().values()),
            os.getpid(),
            start_ticks(os.getpid()),
            os.environ.get("VLLM_STUDIO_RUN", ""),
            options.gpu_share,
            layout.cache_bytes,
            options.traffic,
        )

    @property
    def context(self) -> int:
        return self.start.context

    @property
    def traffic(self) -> Traffic:
        return self._holder.served

    def load(self) -> int | None:
        """Write the log of the start, each line when it is due; return the exit code if it fails."""
        if self.start.failure not in ("gpus", "memory"):
            holders.save(self._holder)
        for at, line in lines(self._style, self.start):
            wait = self.start.began + at - time.time()
            if wait > 0:
                time.sleep(wait)
            log(line)
        if self.start.failure is None:
            return None
        self.end()
        return 1

    def serve(self) -> None:
        """Write the log of serving from now on, and of what was served before."""
        threading.Thread(target=self._log, daemon=True).start()

    def asked(self, change: int) -> None:
        """Note that a person's own request begins (1) or ends (-1)."""
        with self._lock:
            now, before = time.time(), self._asking
            self._asking += change
            if change > 0:
                log(request(self._style, os.getpid(), now, zlib.crc32(os.urandom(4))))
            if (before > 0) == (self._asking > 0):
                return
            if self._asking > 0:
                self._holder = replace(self._holder, asking=now)
            else:
                asked = self._holder.asked + now - (self._holder.asking or now)
                self._holder = replace(self._holder, asked=asked, asking=None)
            holders.save(self._holder)

    def end(self) -> None:
        """Let go of the GPUs."""
        with self._lock:
            self._holder = replace(self._holder, ended=time.time())
            holders.save(self._holder)

    def _log(self) -> None:
        since = self.traffic.ready
        while True:
            now = time.time()
            _write(line for _, line in served(self._style, self.traffic, os.getpid(), since, now))
            since = now
            time.sleep(PACE)


def _write(written: Iterable[str]) -> None:
    whole = "".join(f"{line}\n" for line in written)
    if whole:
        sys.stdout.write(whole)
        sys.stdout.flush()


def _count() -> int:
    """Return how many GPUs there are."""
    text = os.environ.get(marks.GPUS, "").strip()
    return gpus.scenario(text).count if text else gpus.MAX_GPUS


def _visible(ranks: int) -> list[int]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return list(range(ranks))
    return [int(one) for one in named.split(",") if one.strip().isdigit()]


def _held_by_others(gpu: int) -> float:
    """Return the GiB that other living engines hold on a GPU."""
    now, me = time.time(), os.getpid()
    return sum(one.memory(now) for one, _ in gpus.HOLDERS.on(gpu) if one.ended is None and one.pid != me) / GIB
