"""What every action of the monitor, of usage and of the logs does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.acting import Scene, asked, at, cursor, fill_in, hides, shows, told
from tests.functional.stage import NOW, Staged, snapshot, staged
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.logs.place import Log, LogsPlace

READY, FAILED = "qwen3-32b-1", "llama-3.3-70b-1"


def with_a_long_log(folder: Path) -> Snapshot:
    """The log of the ready run is longer than any screen."""
    made = snapshot(folder)
    log = made.runs[0].log
    log.write_text(log.read_text() + "".join(f"INFO line {number} of {number % 100:02}\n" for number in range(500)))
    return made


def used(studio: Studio) -> None:
    """Two models: one that writes much and has the most tokens, one that reads more."""
    rows = RequestRows(studio.db)
    for model, prompt, completion in (("talks", 100, 900), ("reads", 500, 10)):
        rows.record(
            CompletedRequest(
                NOW - 60, "chat", "stop", id=model, model=model, prompt_tokens=prompt, completion_tokens=completion
            )
        )


async def the_long_log(stage: Staged) -> None:
    """From its end, all levels."""
    place = stage.app.current
    assert isinstance(place, LogsPlace)
    place.log_view.level = "all"
    await place.open_run(READY)


async def the_failed_run(stage: Staged) -> None:
    place = stage.app.current
    assert isinstance(place, LogsPlace)
    place.log_view.level = "all"
    await place.open_run(FAILED)


monitor = Scene("monitor", place="monitor")
usage = Scene("usage", place="usage", prepare=used)
logs = Scene("logs", place="logs", begin=the_long_log, shown=with_a_long_log)
failed = Scene("failed", place="logs", begin=the_failed_run)
SCENES = (monitor, usage, logs, failed)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


# --- monitor --------------------------------------------------------------------------------------------------


@monitor.scenario("monitor.earlier", "monitor.later")
async def _moment(stage: Staged) -> None:
    assert "14:31:" not in stage.text()
    for earlier, later in (("left", "right"), ("h", "l")):
        await stage.press(earlier, earlier)
        await shows(stage, "14:31:")
        await stage.press(later, later)
        await hides(stage, "14:31:")


@monitor.scenario("monitor.open")
async def _open_from_the_monitor(stage: Staged) -> None:
    await cursor(stage, "#monitor-canvas", "run:qwen3-32b-1")
    await stage.press("enter")
    await stage.until(lambda: stage.app.place_name == "run", "the page of the run")
    await stage.press("escape")
    await at(stage, "monitor", "ENGINES")


@monitor.scenario("monitor.zoom-in", "monitor.zoom-out")
async def _zoom(stage: Staged) -> None:
    await shows(stage, "TIME  15m")
    await stage.press("plus")
    await shows(stage, "TIME  5m")
    await stage.press("equals_sign")
    await shows(stage, "TIME  2m")
    await stage.press("minus", "minus")
    await shows(stage, "TIME  15m")


@monitor.scenario("monitor.hold")
async def _hold(stage: Staged) -> None:
    await stage.press("space")
    await shows(stage, "held at 14:32")
    await stage.press("space")
    await hides(stage, "held at")


@monitor.scenario("monitor.view")
async def _table(stage: Staged) -> None:
    await stage.press("v")
    await shows(stage, "VLLM::Worker")
    await hides(stage, "TIME  15m")
    await stage.press("v")
    await hides(stage, "VLLM::Worker")


# --- usage ----------------------------------------------------------------------------------------------------


@usage.scenario("usage.zoom-in", "usage.zoom-out")
async def _days(stage: Staged) -> None:
    await shows(stage, "Nov 10 to Nov 23")
    await stage.press("plus")
    await shows(stage, "Nov 17 to Nov 23")
    await stage.press("minus")
    await shows(stage, "Nov 10 to Nov 23")
    await stage.press("equals_sign")
    await shows(stage, "Nov 17 to Nov 23")
    await stage.press("minus")
    await shows(stage, "Nov 10 to Nov 23")


@usage.scenario("usage.view")
async def _by(stage: Staged) -> None:
    for words in ("BY RECIPE", "BY DAY", "BY CHAT", "BY MODEL"):
        await stage.press("v")
        await shows(stage, words)


async def test_usage_is_ordered_by_what_was_read_and_back(tmp_path: Path) -> None:
    def first() -> str:
        """The first model of the table."""
        lines = [line.strip("▌ ").split(" ")[0] for line in stage.lines()]
        return next((word for word in lines if word in ("talks", "reads")), "")

    async with staged(tmp_path, place="usage", prepare=used) as stage:
        await stage.until(lambda: first() == "talks", "what has most tokens stands first")
        await stage.press("o", "o", "o")
        await stage.until(lambda: first() == "reads" and "read▾" in stage.text(), "what has read most stands first")
        await stage.press("O")
        await stage.until(lambda: first() == "talks" and "read▴" in stage.text(), "what has read least stands first")


@usage.scenario("usage.previous-stop", "usage.next-stop", "usage.earlier", "usage.later")
async def _day(stage: Staged) -> None:
    for back, forth in (("left_square_bracket", "right_square_bracket"), ("left", "right"), ("h", "l")):
        await stage.press(back)
        await shows(stage, "2026-11-23   esc all days")
        await stage.press(back)
        await shows(stage, "2026-11-22   esc all days")
        await stage.press(forth)
        await shows(stage, "2026-11-23   esc all days")
        await stage.press(forth)
        await hides(stage, "esc all days")


@usage.scenario("usage.open")
async def _open(stage: Staged) -> None:
    await stage.press("v", "v")
    await shows(stage, "BY DAY")
    await stage.press("enter")
    await shows(stage, "2026-11-23   esc all days")
    await shows(stage, "BY MODEL")
    await stage.press("escape")
    await hides(stage, "esc all days")


@usage.scenario("usage.export")
async def _export(stage: Staged) -> None:
    await stage.press("x")
    await shows(stage, "Write usage to")
    await stage.press("enter")
    await told(stage, "written to")
    (written,) = stage.studio.places.exports.glob("usage-*.csv")
    head, *rows = written.read_text().splitlines()
    assert head.startswith("model,tokens,")
    assert {row.split(",")[0] for row in rows} == {"talks", "reads"}


# --- logs -----------------------------------------------------------------------------------------------------


def view(stage: Staged) -> Log:
    place = stage.app.current
    assert isinstance(place, LogsPlace)
    return place.log_view


@logs.scenario("list.up", "list.down")
async def _lines(stage: Staged) -> None:
    for up, down in (("up", "down"), ("k", "j")):
        await shows(stage, "line 499 ")
        await stage.press(up)
        await hides(stage, "line 499 ")
        await shows(stage, "line 498 ")
        await stage.press(down)
        await shows(stage, "line 499 ")


@logs.scenario("list.page-up", "list.page-down")
async def _pages(stage: Staged) -> None:
    await stage.press("pageup")
    await hides(stage, "line 480 ")
    await shows(stage, "line 450 ")
    await stage.press("pagedown")
    await shows(stage, "line 499 ")


@logs.scenario("list.first", "list.last")
async def _ends(stage: Staged) -> None:
    for first, last in (("home", "end"), ("g", "G")):
        await stage.press(first)
        await shows(stage, "Initializing a V1 LLM engine")
        await stage.press(last)
        await shows(stage, "line 499 ")


@logs.scenario("logs.run")
async def _run(stage: Staged) -> None:
    for key in ("enter", "r"):
        await the_long_log(stage)
        await stage.press(key)
        await fill_in(stage, "deepseek")
        await stage.press("enter")
        await shows(stage, "deepseek-r1-70b  ◐ loading")


@logs.scenario("logs.first-error")
async def _first_error(stage: Staged) -> None:
    assert "EngineCore failed to start" not in stage.text()
    await stage.press("E")
    await shows(stage, "EngineCore failed to start")


@logs.scenario("logs.level")
async def _level(stage: Staged) -> None:
    await stage.press("v")
    await shows(stage, "warning and up")
    await hides(stage, "line 499 ")
    assert "a setting is odd" in stage.text()
    await stage.press("v")
    await hides(stage, "a setting is odd")
    assert "EngineCore failed to start" in stage.text()
    await stage.press("v")
    await shows(stage, "line 499 ")


@logs.scenario("logs.find", "logs.find-next", "logs.find-previous")
async def _find(stage: Staged) -> None:
    await stage.press("slash")
    await stage.type("of 50")
    await stage.press("enter")
    await shows(stage, "line 450 of 50")
    for key, number in (("N", 350), ("N", 250), ("n", 350), ("n", 450)):
        await stage.press(key)
        await shows(stage, f"line {number} of 50")


@logs.scenario("logs.follow")
async def _follow(stage: Staged) -> None:
    await stage.press("g")
    await shows(stage, "following off")
    await stage.press("f")
    await shows(stage, "line 499 ")
    assert view(stage).following


@logs.scenario("logs.copy")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    assert stage.clip.splitlines() == [f"INFO line {number} of {number % 100:02}" for number in range(450, 500)]


@failed.scenario("logs.fold")
async def _fold(stage: Staged) -> None:
    await hides(stage, 'File "core.py", line 833')
    await stage.press("z")
    await shows(stage, 'File "core.py", line 833')
    await stage.press("z")
    await hides(stage, 'File "core.py", line 833')


@failed.scenario("logs.fix")
async def _fix(stage: Staged) -> None:
    await stage.press("f")
    await shows(stage, "Shorten the context")
    await stage.press("enter")
    await asked(stage, ("launch", "llama-3.3-70b"))
    assert stage.studio.recipes.get("llama-3.3-70b").max_model_len == 18416
