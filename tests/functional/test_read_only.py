"""What may not write offers nothing that does; a database that cannot be written is still read."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.disks import read_only
from tests.functional.stage import bare, staged
from tests.functional.test_watching import used
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.registry import BY_NAME

OFFER = re.compile(r"\b(launch|run it|save and run)\b")


@pytest.mark.parametrize("shown", ["runs", "nothing"])
async def test_read_only_offers_no_launch_anywhere(tmp_path: Path, shown: str) -> None:
    options: dict[str, Any] = {"shown": bare} if shown == "nothing" else {}
    async with staged(tmp_path, read_only=True, **options) as stage:
        for place in BY_NAME:
            await stage.app.show_place(place)
            await stage.settle()
            assert not OFFER.search(re.sub(r"ready to launch", "", stage.text())), stage.text()
        await stage.press("ctrl+p")
        await stage.type("launch")
        text = stage.text()
        await stage.press("escape")
        assert not re.search(r"launch (gemma|qwen|llama|deepseek)|Launch a recipe", text), text
        stage.app.spawn(stage.app.current.commands.launch("gemma-3-12b"))
        await stage.until(lambda: any("Read-only" in toast for toast in stage.heard), "it is refused")
        assert stage.calls == []


async def test_usage_is_shown_from_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        used(studio)
    with read_only(tmp_path / "data"):
        async with staged(tmp_path, place="usage", recipes=()) as stage:
            await stage.until(lambda: "21.0k" in stage.text(), "fourteen days of 1500 tokens")
            assert stage.studio.db.read_only
            assert "not included" in stage.text()


async def test_no_screen_opens_the_database_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh home that takes a quarter of a second, in which no key would be answered."""
    from tests.functional.stage import StillSampler
    from vllm_studio_tui.tui.app import StudioApp

    threads: list[threading.Thread] = []
    really_open = Database.open

    def watched(*args: Any, **options: Any) -> Database:
        threads.append(threading.current_thread())
        return really_open(*args, **options)

    monkeypatch.setattr(Database, "open", watched)
    for place in BY_NAME:
        studio = Studio(Places.under(tmp_path / place))
        studio.__dict__["sampler"] = StillSampler(studio, bare(tmp_path))
        app = StudioApp(studio, place=place)
        try:
            async with app.run_test(size=(160, 45)) as pilot:
                for key in ("down", "ctrl+p", "escape", "s", "escape"):
                    await pilot.press(key)
                await pilot.pause(0.2)
        finally:
            studio.close()
        assert threading.main_thread() not in threads, place
    assert threads
