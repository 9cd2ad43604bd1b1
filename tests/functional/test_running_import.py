"""An engine that somebody started becomes a recipe on the screen, after a look at how it differs from a kept one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.stage import Staged, staged
from vllm_studio_tui.runs.foreign import Foreign
from vllm_studio_tui.runs.process_facts import ProcessFacts

LINE = ("vllm", "serve", "org/gemma-3-12b", "--max-model-len", "4096", "--port", "8123")


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Foreign(4711, 1, "vllm", "org/gemma-3-12b", 8123, "127.0.0.1", "bob")
    monkeypatch.setattr("vllm_studio_tui.services.recipes.running.find_foreign", lambda: [theirs])
    monkeypatch.setattr("vllm_studio_tui.runs.foreign.find_foreign", lambda: [theirs])
    monkeypatch.setattr("vllm_studio_tui.runs.foreign.find_orphans", list)
    monkeypatch.setattr(
        "vllm_studio_tui.services.recipes.running.read_process", lambda pid: ProcessFacts(pid, LINE, None, user="bob")
    )


async def shows(stage: Staged, words: str) -> None:
    await stage.until(lambda: words in stage.text(), words)


async def test_the_import_takes_the_port_of_an_engine(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await stage.press("I")
        await shows(stage, "Import: paste it here")
        await stage.type("8123")
        await stage.press("f2")
        await shows(stage, "the process belongs to bob")
        await stage.press("enter")
        await shows(stage, "Import 1 recipe?")
        await stage.press("v")
        await shows(stage, "what runs")
        assert any("- " in line and "32768" in line for line in stage.lines())
        assert any("+ " in line and "4096" in line for line in stage.lines())
        await stage.press("escape")
        await shows(stage, "Import 1 recipe?")
        await stage.press("i")
        await stage.until(lambda: bool(stage.app.current.query("#form")), "its form is open")
        assert stage.studio.recipes.get("gemma-3-12b-2").port == 8123


async def test_the_list_of_engines_of_others_leads_there_too(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.press("I")
        await shows(stage, "ENGINES OF OTHERS")
        await stage.press("enter", "r")
        await shows(stage, "Import: what would come of it")
        await stage.press("enter")
        await shows(stage, "Import 1 recipe?")
        await stage.press("escape")
        assert "gemma-3-12b-2" not in [one for one, _ in stage.studio.recipe_list()]
