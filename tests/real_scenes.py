"""What real engines told of themselves, second by second, while they got slow for a known reason.

Each file of `fixtures/why/` has the scrapes of one engine: lines of `[second, text of /metrics]`. They are read by the
probe, kept by the history and looked at as a face would do it.
"""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.timeline import Timeline
from vllm_studio_tui.services.watching.why.gather import scene_at
from vllm_studio_tui.services.watching.why.scene import EngineFacts, Scene

FOLDER = Path(__file__).parent / "fixtures" / "why"
BEGIN, RUN = 1_795_800_000.0, "run-1"


@cache
def scrapes(name: str) -> tuple[tuple[float, str], ...]:
    """Return the seconds and texts of a capture."""
    lines = lzma.decompress((FOLDER / f"{name}.xz").read_bytes()).decode().splitlines()
    return tuple((at, text) for at, text in map(json.loads, lines))


@cache
def told(name: str, backend: str = "vllm") -> tuple[tuple[float, EngineMetrics], ...]:
    """Return what the probe makes of each scrape."""
    probe = EngineProbe(backend, window=60.0)
    return tuple((at, probe.observe(text, at)) for at, text in scrapes(name))


def real_scene(name: str, second: float, facts: EngineFacts, *, later: float = 5.0) -> Scene:
    """Return the scene around a second of a capture, as it was seen so many seconds later."""
    history, now = History(2.0), BEGIN + second + later
    for at, metrics in told(name):
        if BEGIN + at > now:
            break
        history.record(Tick(BEGIN + at, GpuReport(BEGIN + at), Host(), {RUN: metrics}))
    timeline = Timeline(lambda: history, clock=lambda: now)
    run = cast(RunView, cast(Any, SimpleNamespace(run_id=RUN)))
    return scene_at(timeline.over, run, (), BEGIN + second, now, facts)
