"""A benchmark from the screen, measured for real: its own process asks the simulated engine, whose times are known."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from tests.functional.acting import at, told
from tests.functional.stage import Staged, staged
from tests.process.test_bench import simulated
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.tui.screens.bench.place import BenchPlace

PREFILL, SPEED = 0.2, 40.0


async def set_up(stage: Staged, url: str, **values: str) -> None:
    """Fill in the set-up of a benchmark of this address, and start it."""
    stage.launcher.__dict__["target"] = lambda **_: Target(url, "sim", backend="vllm", recipe_id="elsewhere")
    stage.app.open_page("measure", '{"recipe": "elsewhere"}')
    await at(stage, "measure", "WHAT COMES OF IT")
    await stage.until(lambda: "The first of this recipe" in stage.text(), "the earlier results are read")
    for name, text in values.items():
        stage.app.current.query_one(f"#measure-{name}", Input).value = text
    await stage.settle()
    stage.app.current.query_one("#measure-kind", Input).focus()
    await stage.press("ctrl+r")
    await at(stage, "bench", "SET-UP")


async def follow(stage: Staged, words: str) -> None:
    """Look as a sampler would, until the screen says something."""

    def seen() -> bool:
        stage.app.benches.look()
        return words in stage.text()

    await stage.until(seen, f"{words!r} on the screen")


async def test_a_benchmark_is_made_and_shown_from_its_set_up_to_its_figures(tmp_path: Path) -> None:
    with simulated(PREFILL, SPEED) as url:
        async with staged(tmp_path) as stage:
            await set_up(stage, url, loads="1 2", prompt="16", answer="9", length="2 requests", warmup="0")
            await follow(stage, "NOW")
            await stage.press("1")
            await follow(stage, "bench")  # in the header, while another screen is in front
            await stage.press("0")
            await follow(stage, "2 steps")
            await told(stage, "is done: 2 steps")
            place = stage.app.current
            assert isinstance(place, BenchPlace)
            await stage.until(lambda: place._known.shown is not None and place._known.shown.state == "done", "its end")
            shown = place._known.shown
            assert shown is not None
            assert [one.concurrency for one in shown.steps] == [1, 2]
            assert all(one.ttft.p50 == pytest.approx(PREFILL, abs=0.15) for one in shown.steps)
            await stage.until(lambda: stage.text().count("●") >= 3, "a point for each step")
            assert "64 users or more" not in stage.text()
            assert "2 users or more" in stage.text(), "both met 500 ms and 25 tok/s"


async def test_what_is_stopped_keeps_what_was_measured(tmp_path: Path) -> None:
    with simulated(PREFILL, SPEED) as url:
        async with staged(tmp_path) as stage:
            await set_up(stage, url, loads="1 64", prompt="16", answer="9", length="60 s", warmup="0")
            await follow(stage, "step 1 of 2")
            await stage.press("s")
            await stage.until(lambda: "Stop the benchmark?" in stage.text(), "the question")
            await stage.press("s")
            await told(stage, "is stopped")
            await follow(stage, "stopped, ")
            assert stage.studio.bench.under_way() is None
