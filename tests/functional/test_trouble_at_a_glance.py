"""A small pane beside a run that fails, restarts, stalls, and a GPU that gets hot: the trouble stands first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import NOW, Staged, run_view, snapshot, staged
from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.services.watching.snapshot import Snapshot


def well(folder: Path) -> Snapshot:
    """One run that answers, on four GPUs."""
    made = snapshot(folder)
    return replace(made, runs=made.runs[:1], every=made.runs[:1])


def with_state(folder: Path, shown: Snapshot, state: State, **facts: Any) -> Snapshot:
    run = run_view(folder / "again", "qwen3-32b", state, gpus=("0", "1"), started_at=NOW - 7200, **facts)
    return replace(shown, runs=(run,), every=(run,))


def failed(folder: Path, shown: Snapshot) -> Snapshot:
    return with_state(folder, shown, State.FAILED, ended_at=NOW - 40, title="CUDA out of memory")


def restarts(folder: Path, shown: Snapshot) -> Snapshot:
    return with_state(folder, shown, State.BACKOFF, next_start_at=NOW + 38, title="exit code 137")


def silent(folder: Path, shown: Snapshot) -> Snapshot:
    """Its keeper has not noticed yet."""
    return replace(shown, ages={shown.runs[0].run_id: 14.0})


def unhealthy(folder: Path, shown: Snapshot) -> Snapshot:
    return with_state(
        folder, shown, State.UNHEALTHY, ready_at=NOW - 7000, heard_at=NOW - 20, heard="/health does not answer"
    )


def hot(folder: Path, shown: Snapshot) -> Snapshot:
    return replace(shown, alerts=(Alert("hot", "GPU 1", NOW - 70, words="over 85 °C for 60 s", value=91.0),))


SCENES: dict[str, tuple[Callable[[Path, Snapshot], Snapshot], str, tuple[str, ...]]] = {
    "fails": (failed, "✕", ("qwen3-32b", "CUDA out of memory")),
    "restarts": (restarts, "↻", ("qwen3-32b", "exit code 137", "in ")),
    "stalls, its keeper does not know": (silent, "▲", ("qwen3-32b", "no answer", "14 s")),
    "stalls": (unhealthy, "▲", ("qwen3-32b", "does not an")),
    "a hot GPU": (hot, "▲", ("GPU 1", "over 85 °C")),
}


async def shown_at(stage: Staged, scene: Callable[[Path, Snapshot], Snapshot], folder: Path) -> list[str]:
    sampler: Any = stage.studio.sampler
    before = sampler.latest
    sampler.show(scene(folder, before))
    await stage.settle()
    await stage.until(lambda: stage.app.snapshot is sampler.latest, "it has arrived")
    await stage.settle()
    lines = stage.lines()
    sampler.show(before)
    await stage.until(lambda: stage.app.snapshot is before, "all is well again")
    await stage.settle()
    return lines


@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
async def test_at_40x6_the_first_row_is_the_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ascii_only: bool
) -> None:
    from vllm_studio_tui.runs.state_marks import STATES

    plain = {unicode: plain for unicode, plain, _ in STATES.values()}
    monkeypatch.setattr("time.time", lambda: NOW)
    async with staged(tmp_path, place="monitor", size=(40, 6), shown=well, ascii_only=ascii_only) as stage:
        assert stage.lines()[0].startswith("* qwen" if ascii_only else "● qwen")
        for name, (scene, mark, words) in SCENES.items():
            first = (await shown_at(stage, scene, tmp_path / "scene"))[0]
            assert first[0] == (plain[mark] if ascii_only else mark), (name, first)
            for word in words:
                assert word[:10] in first.replace(" C", " °C") if ascii_only else word[:10] in first, (name, first)


async def test_at_60x15_the_first_row_of_a_run_is_the_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    async with staged(tmp_path, place="monitor", size=(60, 15), shown=well) as stage:
        for name in ("fails", "restarts", "stalls"):
            scene, mark, words = SCENES[name]
            lines = await shown_at(stage, scene, tmp_path / "scene")
            assert mark in lines[0] and mark in lines[1], (name, lines)
            assert words[1][:12] in "\n".join(lines[1:4]), (name, lines)
            assert "TIME" in "\n".join(lines) and "events" in "\n".join(lines)


@pytest.mark.parametrize("size", [(160, 45), (120, 30), (80, 24), (60, 15), (40, 6)])
async def test_the_monitor_names_an_alert_in_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path, size=size, place="monitor") as stage:
        lines = await shown_at(stage, hot, tmp_path)
        assert any("over 85 °C" in line for line in lines), lines
