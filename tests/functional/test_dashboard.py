"""The dashboard, by keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import cursor, shows
from tests.functional.stage import recipe, staged
from vllm_studio_tui.domain.errors import HopelessLaunch, LaunchRefused
from vllm_studio_tui.studio import Studio

READY = "qwen3-32b-1"


async def test_it_shows_what_runs_how_fast_and_how_full(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        text = stage.text()
        for words in ("qwen3-32b", "ready", "1842 tok/s", "61%", "182 ms", "weights", "43%", "71.2 / 79.6 GiB", "64°C"):
            assert words in text


async def test_a_failed_run_shows_cause_advice_and_the_key_that_repairs_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.until(lambda: "fix: max_model_len 131072 -> 18416" in stage.text(), "the fix is offered")
        assert "The KV cache cannot hold one request of 131072 tokens" in stage.text()
        assert stage.app.current.one("#ledger").key == "llama-3.3-70b-1"  # trouble stands first
        await stage.press("f")
        await stage.until(lambda: "Shorten the context" in stage.text(), "the change is shown")
        assert stage.studio.recipes.get("llama-3.3-70b").max_model_len == 131072
        await stage.press("enter")  # several changes are known: the first is the best
        assert stage.calls == [("launch", "llama-3.3-70b")]
        assert stage.studio.recipes.get("llama-3.3-70b").max_model_len == 18416


async def test_what_is_found_out_late_moves_no_row(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        place: Any = stage.app.current
        for size in ((160, 45), (120, 36), (80, 24)):
            await stage.pilot.resize_terminal(*size)
            await stage.settle()
            place._facts._fixes.clear()
            place._facts._since.clear()
            place.update_place()
            await stage.settle()
            before = [row.key for row in place._ledger.rows]
            assert "f fix" not in "".join(stage.lines()[:-1])
            place._facts._fixes["llama-3.3-70b-1"] = "max_model_len 131072 -> 18416"
            place._facts._since["llama-3.3-70b-1"] = "It worked last on Wed 11 Nov 17:09; since then " + "x" * 300
            place.update_place()
            await stage.settle()
            assert "fix: max_model_len" in stage.text() and "It worked last on" in stage.text()
            assert [row.key for row in place._ledger.rows] == before


async def test_a_launch_is_two_keys_and_a_name(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await cursor(stage, "#ledger", READY)
        await stage.press("r")
        await stage.type("gemma")
        await stage.press("enter")
        assert stage.calls == [("launch", "gemma-3-12b")]


async def test_stopping_says_what_it_costs_and_enter_stops_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await cursor(stage, "#ledger", READY)
        await stage.press("s")
        assert "Stop qwen3-32b?" in stage.text()
        assert "12 running requests are cut off" in stage.text()
        await stage.press("enter")
        assert stage.calls == []
        await stage.press("escape")
        assert stage.calls == []
        await stage.press("s")
        await stage.press("s")
        assert stage.calls == [("stop", "qwen3-32b")]


async def test_a_launch_that_is_in_the_way_of_another_asks(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.launcher.refuse = LaunchRefused(
            "GPU 0 is taken", cause="qwen3-32b claims it.", advice="Stop it.", can_share_gpus=True
        )
        await cursor(stage, "#ledger", READY)
        await stage.press("r")
        await stage.type("gemma")
        await stage.press("enter")
        assert "GPU 0 is taken" in stage.text()
        assert "share the GPUs" in stage.text()
        await stage.press("escape")
        assert stage.calls == []
        # Not by its words: the name of a recipe may hold them.
        stage.launcher.refuse = LaunchRefused("my-GPU already runs", advice="Use --force.", in_the_way=True)
        await cursor(stage, "#ledger", READY)
        await stage.press("r")
        await stage.type("gemma")
        await stage.press("enter")
        assert "share the GPUs" not in stage.text()
        assert "--force" not in stage.text()  # there are no flags here: the answers say what can be done
        await stage.press("s")
        assert stage.calls == [("launch", "gemma-3-12b")]


async def test_nothing_is_offered_to_be_stopped_where_nothing_is_in_the_way(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.launcher.refuse = LaunchRefused("vLLM cannot be found", cause="Looked for: vllm.", advice="Install it.")
        await cursor(stage, "#ledger", READY)
        await stage.press("r")
        await stage.type("gemma")
        await stage.press("enter")
        assert "vLLM cannot be found" in stage.text()
        assert "stop what is in the way" not in stage.text()
        await stage.press("enter")
        await stage.until(lambda: stage.app.place_name == "recipes", "the recipe is edited")
        assert stage.calls == []


async def test_to_insist_is_offered_only_where_there_is_something_to_start(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        refused = HopelessLaunch("gemma-3-12b would not start", cause="Looked for: vllm.", advice="Install it.")
        for certain in (False, True):
            refused.certain, stage.launcher.refuse = certain, refused
            await cursor(stage, "#ledger", READY)
            await stage.press("r")
            await stage.type("gemma")
            await stage.press("enter")
            await stage.until(lambda: "would not start" in stage.text(), "it is refused")
            assert ("launch it anyway" in stage.text()) is not certain
            assert "Install it." in stage.text()
            await stage.press("escape")
        assert stage.calls == []


async def test_read_only_changes_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, read_only=True) as stage:
        assert "read-only" in stage.text()
        for key in ("r", "s", "f", "n", "d", "e", "t"):
            await stage.press(key)
            assert len(stage.app.screen_stack) == 1
        assert stage.calls == []


async def test_the_cursor_stays_on_its_run(tmp_path: Path) -> None:
    from dataclasses import replace

    async with staged(tmp_path) as stage:
        await stage.press("down")
        canvas = stage.app.current.one("#ledger")
        assert canvas.key == "deepseek-r1-70b-1"
        shown = stage.studio.sampler.latest
        assert shown is not None
        stage.studio.sampler.show(replace(shown, runs=tuple(reversed(shown.runs))))  # type: ignore[attr-defined]
        await stage.settle()
        assert canvas.key == "deepseek-r1-70b-1"


@pytest.mark.parametrize(
    ("key", "place"),
    [("2", "recipes"), ("3", "chat"), ("4", "monitor"), ("5", "usage"), ("6", "logs"), ("alt+4", "monitor")],
)
async def test_every_screen_is_one_key_away(tmp_path: Path, key: str, place: str) -> None:
    async with staged(tmp_path) as stage:
        await stage.press(key)
        assert stage.app.place_name == place
        await stage.press("alt+1")
        assert stage.app.place_name == "dashboard"


async def test_nothing_changed_nothing_is_drawn(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        canvas = stage.app.current.one("#ledger")
        drawn: list[object] = []

        def refresh(*regions: object, **options: object) -> object:
            drawn.append(regions)
            return canvas

        canvas.refresh = refresh
        stage.studio.sampler.show(stage.studio.sampler.latest)  # type: ignore[attr-defined]
        await stage.settle()
        assert drawn == []


async def test_a_recipe_that_another_program_made_is_seen_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        elsewhere = Studio(stage.studio.places)
        try:
            elsewhere.recipes.create(recipe("made-elsewhere"))
        finally:
            elsewhere.close()
        stage.studio.sampler.show(stage.studio.sampler.latest)  # type: ignore[attr-defined]
        await shows(stage, "made-elsewhere")


async def test_the_footer_follows_the_rows_that_are_there(tmp_path: Path) -> None:
    """A ledger that is drawn after the footer, as when a window gets small, leaves no keys in it that do nothing."""
    async with staged(tmp_path) as stage:
        await stage.until(lambda: "tab part" in stage.lines()[-1], "there are several")
        ledger: Any = stage.app.current.one("#ledger")
        rows = ledger._painter
        ledger._painter = lambda width, height: [row for row in rows(width, height) if ":" not in (row.key or "")]
        ledger.repaint()
        await stage.settle()
        assert "tab part" not in stage.lines()[-1]
