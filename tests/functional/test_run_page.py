"""The page of a run: it opens over any screen, says all there is to know, and goes back to where one was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.acting import Scene, asked, at, cursor, shows
from tests.functional.stage import Staged, staged
from vllm_studio_tui.runs.read import DISMISSED

READY, FAILED = "qwen3-32b-1", "llama-3.3-70b-1"


async def the_ready_run(stage: Staged) -> None:
    stage.app.open_run(READY)
    await at(stage, "run", "qwen3-32b")


async def the_failed_run(stage: Staged) -> None:
    stage.app.open_run(FAILED)
    await at(stage, "run", "llama-3.3-70b")


ready = Scene("ready", place="dashboard", begin=the_ready_run)
failed = Scene("failed", place="dashboard", begin=the_failed_run)
SCENES = (ready, failed)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@ready.scenario("run.stop")
async def _stop(stage: Staged) -> None:
    await stage.press("s")
    await shows(stage, "Stop qwen3-32b?")
    await stage.press("s")
    await asked(stage, ("stop", "qwen3-32b"))


@ready.scenario("run.chat")
async def _chat(stage: Staged) -> None:
    await stage.press("c")
    await at(stage, "chat", "qwen3-32b")


@ready.scenario("run.log")
async def _log(stage: Staged) -> None:
    await stage.press("L")
    await at(stage, "logs", "qwen3-32b  ● ready")


@ready.scenario("run.edit")
async def _edit(stage: Staged) -> None:
    await stage.press("e")
    await at(stage, "recipes", "qwen3-32b")
    await stage.press("escape")


@ready.scenario("run.copy")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    assert stage.clip == "http://127.0.0.1:8000/v1"


@failed.scenario("run.again")
async def _again(stage: Staged) -> None:
    await stage.press("r")
    await asked(stage, ("launch", "llama-3.3-70b"))


@failed.scenario("run.dismiss")
async def _dismiss(stage: Staged) -> None:
    run = stage.app.current.commands.run_of(FAILED)
    assert run is not None
    await stage.press("d")
    await stage.until((run.folder / DISMISSED).exists, "it is put aside")


# --- there and back -------------------------------------------------------------------------------------------


async def test_escape_goes_back_to_the_screen_the_row_and_the_focus(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await cursor(stage, "#ledger", FAILED)
        await stage.press("enter")
        await at(stage, "run", "18416")
        assert "1 Dashboard" in stage.lines()[0]  # the header keeps the screen that one came from
        await stage.press("escape")
        await at(stage, "dashboard", "RUNS")
        assert stage.app.current.one("#ledger").key == FAILED

        await stage.press("3", "tab")  # the transcript has the focus, not the prompt
        focused = stage.app.focused
        assert focused is not None
        stage.app.open_run(READY)
        await at(stage, "run", "qwen3-32b")
        stage.app.open_run(FAILED)  # from one run to another: back is still the chat
        await at(stage, "run", "18416")
        await stage.press("escape")
        await stage.settle()
        assert (stage.app.place_name, stage.app.focused) == ("chat", focused)
        await stage.press("alt+4")
        stage.app.open_run(READY)
        await at(stage, "run", "qwen3-32b")
        await stage.press("2")  # a page is left by a screen's key as any screen is
        assert stage.app.place_name == "recipes"
