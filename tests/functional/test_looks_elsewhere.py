"""Runs that run elsewhere, on the dashboard and on their pages, as they were when somebody looked at them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import NOW, Staged, run_view, staged
from tests.functional.stage import snapshot as of_this_machine
from tests.functional.test_colours import Legend, painted
from tests.functional.test_snapshots import HERE, compare, drawn
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.snapshot import Snapshot

PARTS = [
    {"name": "rank 0", "where": "gpu-a", "state": "ready", "words": "", "run_id": ""},
    {"name": "rank 1", "where": "gpu-b", "state": "lost", "words": "no answer for 12 s", "run_id": ""},
]


def far(folder: Path, name: str, state: State, kind: str, **facts: Any) -> RunView:
    run = run_view(folder, name, state, **facts)
    assert run.spec is not None
    return dataclasses.replace(run, spec=dataclasses.replace(run.spec, follow={"kind": kind}))


def elsewhere(folder: Path) -> Snapshot:
    """One that waits in a queue, one with trouble although it answers, one that loads, one that failed."""
    waiting = far(
        folder, "llama-405b", State.STARTING, "slurm", port=8003, started_at=NOW - 7300, handle="slurm:123",
        job_state="PENDING", stage="waiting in SLURM: Resources, starts about 18:40",
    )  # fmt: skip
    warned = far(
        folder, "qwen3-32b", State.READY, "ranks", started_at=NOW - 7200, ready_at=NOW - 7110, handle="ranks:x",
        job_state="ready", trouble="no answer from gpu-b for 12 s", parts=PARTS, marks={"weights": 12.0},
    )  # fmt: skip
    loading = far(
        folder, "glm-4.6", State.LOADING, "ray-serve", port=8001, started_at=NOW - 100, stage="weights", progress=0.43,
        marks={"weights": 30.0}, handle="ray-serve:glm", job_state="DEPLOYING",
        parts=[{"name": "engine r1", "where": "10.0.0.2", "state": "STARTING", "words": "", "run_id": ""}],
    )  # fmt: skip
    failed = far(
        folder, "kimi-k2", State.FAILED, "slurm", port=8002, started_at=NOW - 800, ended_at=NOW - 688,
        reason="node_fail", title="node n2 failed", advice="Launch it again.", handle="slurm:120",
        job_state="NODE_FAIL", parts=[PARTS[0], {**PARTS[1], "where": "n2", "state": "NODE_FAIL"}],
    )  # fmt: skip
    runs = (warned, loading, failed, waiting)
    before = of_this_machine(folder)
    return dataclasses.replace(before, runs=runs, every=runs)


async def scenes(stage: Staged, draw: Any) -> str:
    await stage.until(lambda: "waiting in SLURM" in stage.text(), "the runs")
    parts = [await draw("dashboard")]
    for run_id, words in (("llama-405b-1", "PENDING"), ("qwen3-32b-1", "rank 1"), ("kimi-k2-1", "NODE_FAIL")):
        await stage.pilot.resize_terminal(160, 45)
        stage.app.open_run(run_id)
        await stage.until(lambda words=words: words in stage.text(), run_id)  # type: ignore[misc]
        await stage.quiet()
        parts.append(await draw(run_id))
    return "\n".join(parts)


@pytest.mark.parametrize("looks", ["unicode", "ascii"])
async def test_runs_elsewhere_look_as_they_did(tmp_path: Path, looks: str) -> None:
    async with staged(tmp_path, place="dashboard", shown=elsewhere, ascii_only=looks == "ascii") as stage:
        text = await scenes(stage, lambda name: drawn(stage, name))
    compare(HERE / f"elsewhere-{looks}.txt", text)


@pytest.mark.parametrize("theme", ["slate", "paper", "nocolour"])
async def test_runs_elsewhere_have_the_colours_they_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    colourless = theme == "nocolour"
    if colourless:
        monkeypatch.setenv("NO_COLOR", "1")
    async with staged(tmp_path, place="dashboard", shown=elsewhere, theme_name=None if colourless else theme) as stage:
        legend = Legend("" if colourless else f"on {stage.app.looks.themes[theme].colours['bg']}")
        text = await scenes(stage, lambda name: painted(stage, name, legend, colourless=colourless))
    compare(HERE / "colours" / f"elsewhere-{theme}.txt", f"{text}\n== legend\n{legend}")
