"""Monitor, usage and logs, by keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.stage import NOW, bare, staged
from vllm_studio_tui.backends.common.plug_ins import PlugIn
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.usage import CompletedRequest, UsageQuery, UsageReport, UsageRow
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.protocols import UsageApi
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.schema import MIGRATION_SET
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.monitor import place as monitor_place
from vllm_studio_tui.tui.screens.usage.rows import MEASURES

# --- monitor ------------------------------------------------------------------------------------------------


async def test_engines_gpus_and_lanes_share_one_screen(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        text = stage.text()
        for words in ("ENGINES", "1842", "61%", "182 ms", "4 x H100 80GB", "412 / 700 W", "1980", "qwen3-32b", "HOST",
                      "output tok/s", "KV cache", "GPU 0 1 util", "TIME  30 min", "14:02", "14:32"):  # fmt: skip
            assert words in text


async def test_charts_stand_in_groups_by_run_and_every_size_keeps_the_first_of_each(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        lines = [line.strip() for line in stage.lines()]
        start = next(index for index, line in enumerate(lines) if line.startswith("TIME"))
        wanted = ["● qwen3-32b", "output tok/s", "GPU 0 1 util", "GPU 0 1 power", "◐ deepseek-r1-70b", "GPU 2 3 util"]
        found = [next(i for i in range(start, len(lines)) if lines[i].startswith(words)) for words in wanted]
        assert found == sorted(found)
        assert "PROCESSES" in stage.text()  # there is room below the charts
    async with staged(tmp_path / "small", place="monitor", size=(80, 24)) as stage:
        text = stage.text()
        assert "output tok/s" in text and "GPU 2 3 util" in text and "events" in text
        assert "ITL p95" not in text.split("TIME", 1)[1]


async def test_the_cursor_shows_another_moment(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        before = stage.text()
        await stage.press("left", "left")
        assert stage.text() != before
        assert "14:31:" in stage.text()
        await stage.press("right", "right", "right")
        assert stage.text() == before


async def test_zoom_marks_and_processes(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        for span in ("3 h", "24 h", "7 days", "30 days", "30 days"):
            await stage.press("minus")
            await stage.until(lambda span=span: f"TIME  {span}" in stage.text(), span)  # type: ignore[misc]
        await stage.press(*["plus"] * 7)
        assert "TIME  1 min, 1 s a column" in stage.text()
        await stage.press(*["minus"] * 3, "space")
        assert "marked 14:3" in stage.text()
        await stage.press("left", "left", "left", "space")
        assert "change" in stage.text() and " and 14:3" in stage.text()
        await stage.press("escape")
        assert "marked" not in stage.text() and "change" not in stage.text()
        await stage.press("v")
        await stage.until(lambda: "PROCESSES" in stage.text() and "TIME  " not in stage.text(), "the processes")


async def test_from_event_to_event_and_back_to_the_present(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        assert "14:20 ✕ llama-3.3-70b" in stage.text()
        before = stage.text()
        await stage.press("left_square_bracket", "left_square_bracket")
        await stage.until(lambda: "14:20:32" in stage.text(), "the failure")
        await stage.press("left_square_bracket", "left_square_bracket")
        await stage.until(lambda: "12:33:30" in stage.text(), "what is out of sight is brought into it")
        assert "12:4" in stage.text().rsplit("events", 1)[1]  # the right end of the axis
        await stage.press("right_square_bracket", "escape")
        assert stage.text() == before


async def test_panels_of_packages_are_a_view_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hostile(_: Snapshot) -> list[object]:
        return ["\x1b]0;title\x07[red]a line", *[[f"row {number}", number] for number in range(60)]]

    def broken(_: Snapshot) -> list[object]:
        raise RuntimeError("no [b]reason[/b]")

    found = [PlugIn("queue", "team-tools", hostile), PlugIn("other", "team-tools", broken)]
    monkeypatch.setattr(monitor_place, "panels_of_packages", lambda: (found, {}))
    for number, size in enumerate(((160, 45), (80, 24), (60, 15))):
        async with staged(tmp_path / str(number), place="monitor", size=size) as stage:
            await stage.press("v")
            assert "v panels" in stage.text() or size == (60, 15)
            await stage.press("v")
            await stage.until(lambda: "[red]a line" in stage.text(), "the panel is drawn")
            assert "QUEUE  team-tools" in stage.text()
            assert "VLLM::Worker" not in stage.text()
            assert "output tok/s" not in stage.text()
            await stage.press("G")
            await stage.until(lambda: "raises RuntimeError: no [b]reason[/b]" in stage.text(), "the last is in sight")
            await stage.press("enter")
            assert stage.app.place_name == "monitor", "there is nothing to open"
            await stage.press("v")
            await stage.until(lambda: "QUEUE" not in stage.text(), "the charts are back")


async def test_without_gpus_the_rest_works(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor", shown=bare) as stage:
        assert "No NVIDIA driver" in stage.text()
        assert "HOST" in stage.text()


# --- usage --------------------------------------------------------------------------------------------------


def used(studio: Studio) -> None:
    rows = RequestRows(studio.db)
    for day in range(20):
        for model, tokens in (("qwen3-32b", 900), ("gemma-3-12b", 100)):
            request = CompletedRequest(
                NOW - day * 86_400 - 60,
                "chat",
                "stop",
                id=f"{day}-{model}",
                model=model,
                recipe_id=model,
                prompt_tokens=tokens,
                completion_tokens=tokens // 2,
                ttft=0.2,
                total_seconds=2.0,
                tokens_per_second=50.0,
            )
            rows.record(request)


def written(folder: Path) -> list[str]:
    return next(folder.glob("usage-*.csv")).read_text().splitlines()


async def test_usage_adds_up_by_model_and_by_day(tmp_path: Path) -> None:
    async with staged(tmp_path, place="usage", prepare=used) as stage:
        await stage.until(lambda: "21.0k" in stage.text(), "fourteen days of 1500 tokens")
        text = stage.text()
        for words in ("14 days", "Nov 10 to Nov 23", "28", "200 ms", "90%", "10%", "12.6k", "6300", "+133%",
                      "% against the 14 days before", "– not measured, left out of sums", "J/1k written"):  # fmt: skip
            assert words in text
        await stage.press("plus")
        await stage.until(lambda: "7 days" in stage.text() and "10.5k" in stage.text(), "a week")
        await stage.press("v")
        await stage.until(lambda: "BY RECIPE  2" in stage.text(), "by recipe")


def test_energy_is_counted_per_generated_token() -> None:
    joules = next(measure for measure in MEASURES if measure.name == "joules")
    used = UsageRow("m", prompt_tokens=90_000, completion_tokens=10_000, energy_wh=1.0)
    assert joules.value(used) == 360.0
    assert joules.value(replace(used, completion_tokens=0)) is None


async def test_a_day_narrows_the_table(tmp_path: Path) -> None:
    async with staged(tmp_path, place="usage", prepare=used) as stage:
        await stage.until(lambda: "21.0k" in stage.text(), "the report")
        await stage.press("left_square_bracket")
        await stage.until(lambda: "2026-11-23" in stage.text() and "1350" in stage.text(), "today alone")
        await stage.press("escape")
        assert "2026-11-23" not in stage.text()


async def test_usage_goes_out_as_csv(tmp_path: Path) -> None:
    async with staged(tmp_path, place="usage", prepare=used) as stage:
        await stage.until(lambda: "21.0k" in stage.text(), "the report")
        await stage.press("x")
        await stage.until(lambda: "Write usage to" in stage.text(), "it asks where")
        await stage.press("enter")
        await stage.until(lambda: any("written to" in toast for toast in stage.heard), "it says where")
        lines = written(stage.studio.places.exports)
    assert lines[0].startswith("model,tokens,read")
    assert lines[1].startswith("qwen3-32b,18900")


async def test_no_usage_says_when_there_will_be(tmp_path: Path) -> None:
    async with staged(tmp_path, place="usage") as stage:
        await stage.until(lambda: "They appear after the first answer" in stage.text(), "it leads on")


async def test_usage_that_cannot_be_read_says_so_and_what_is_missing_is_named(tmp_path: Path) -> None:
    class Unreadable:
        """Cannot be read at first, and then only in part."""

        def __init__(self, usage: UsageApi) -> None:
            self.usage = usage
            self.broken = True

        def report(self, query: UsageQuery, *, now: float | None = None) -> UsageReport:
            return self.reports([query], now=now)[0]

        def reports(self, queries: Sequence[UsageQuery], *, now: float | None = None) -> list[UsageReport]:
            if self.broken:
                raise StoreError("the database cannot be read", cause="disk I/O error", advice="Look at the disk.")
            made = self.usage.reports(queries, now=now)
            return [replace(one, missing="what running engines used since is not included") for one in made]

    def prepare(studio: Studio) -> None:
        used(studio)
        studio.__dict__["usage"] = Unreadable(studio.usage)

    async with staged(tmp_path, place="usage", prepare=prepare) as stage:
        await stage.until(lambda: "the database cannot be read" in stage.text(), "it says why there is nothing")
        for words in ("disk I/O error", "Look at the disk."):
            assert words in stage.text()
        stage.studio.__dict__["usage"].broken = False
        await stage.press("minus")
        await stage.until(lambda: "what running engines used since is not included" in stage.text(), "what is missing")
        assert "cannot be read" not in stage.text()
        for size in ((120, 36), (80, 24), (60, 15), (40, 6)):
            await stage.pilot.resize_terminal(*size)
            await stage.until(lambda: "qwen3-32b" in stage.text() and "27.0k" in stage.text(), f"the largest at {size}")


async def test_usage_of_a_database_that_is_only_read_is_shown_with_what_is_missing(tmp_path: Path) -> None:
    before = Studio(Places.under(tmp_path))
    used(before)
    with before.db.write() as tables:
        names = {"migration_set": MIGRATION_SET, "name": "9999_of_the_future", "applied_at": ""}
        tables.table("_sqlite_migrations").insert(names)
    before.close()
    async with staged(tmp_path, place="usage", recipes=()) as stage:
        await stage.until(lambda: "21.0k" in stage.text(), "the figures")
        assert stage.studio.db.read_only
        assert "what running engines used since is not included" in stage.text()


async def test_more_days_than_columns_are_added_up(tmp_path: Path) -> None:
    async with staged(tmp_path, place="usage", prepare=used, size=(120, 36)) as stage:
        await stage.press("minus", "minus", "minus")
        await stage.until(lambda: "4 days a column" in stage.text(), "a year")
        assert "6000" in stage.text()  # four days of 1500 are the highest column
