"""Nothing changes a recipe that was not shown first, and everything can be taken back."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import asked, cursor, fill_in, hides, shows, told
from tests.functional.stage import Staged, snapshot, staged
from tests.functional.test_faults import burst
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.recipes.changes import Proposal
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.flows import changes
from vllm_studio_tui.tui.flows.changes import propose, take

LLAMA, FAILED = "llama-3.3-70b", "llama-3.3-70b-1"


def of_revision_one(folder: Path) -> Snapshot:
    """The failed run was launched with the first revision of its recipe."""
    shown = snapshot(folder)
    runs = tuple(replace(run, spec=replace(run.spec, revision_number=1)) if run.spec else run for run in shown.runs)
    return replace(shown, runs=runs, every=runs)


def llama(stage: Staged) -> Recipe:
    return stage.studio.recipes.get(LLAMA)


async def test_a_fix_is_shown_and_taken_once(tmp_path: Path) -> None:
    async with staged(tmp_path, shown=of_revision_one) as stage:
        await cursor(stage, "#ledger", FAILED)
        await stage.press("f")
        await shows(stage, "‹ 1 of ")
        await shows(stage, "revision 1 -> 2")
        assert "- max_model_len  131072" in stage.text()
        assert "+ max_model_len   18416" in stage.text()
        await stage.press("right")
        await shows(stage, "+ kv_cache_dtype   fp8")
        await stage.press("left", "escape")
        assert llama(stage).max_model_len == 131072  # nothing was changed unasked
        assert stage.calls == []
        # A burst of keys gives one answer.
        await stage.press("f")
        await shows(stage, "save as revision 2 and run")
        await burst(stage, "enter", "enter", "e", "enter")
        await asked(stage, ("launch", LLAMA))
        assert [one.reason for one in stage.studio.recipes.revisions(LLAMA)] == ["fix: shorten the context", "new"]
        # The same fix again would halve what it has just set: it is refused, with a word.
        await stage.press("f")
        await told(stage, "was changed since this run failed: max_model_len 131072 -> 18416")
        assert llama(stage).max_model_len == 18416
        assert stage.calls == [("launch", LLAMA)]
        await stage.press("u")
        await told(stage, "Taken back: llama-3.3-70b max_model_len 18416 -> 131072")
        assert llama(stage).max_model_len == 131072


def without_a_fix(folder: Path) -> Snapshot:
    """The failed run ended for a reason that no change of the recipe answers."""
    shown = snapshot(folder)
    failed = shown.runs[-1].status
    status = replace(failed, reason="killed", title="killed from outside", advice="Ask who.", evidence=[])
    runs = (*shown.runs[:-1], replace(shown.runs[-1], status=status))
    return replace(shown, runs=runs, every=runs)


async def test_a_fix_is_not_offered_where_there_is_none_and_its_key_says_why(tmp_path: Path) -> None:
    async with staged(tmp_path, shown=without_a_fix) as stage:
        await cursor(stage, "#ledger", FAILED)
        for place, key in (("dashboard", ""), ("run", "enter"), ("logs", "L")):
            if key:
                await stage.press(key)
            await stage.until(lambda place=place: stage.app.place_name == place, place)  # type: ignore[misc]
            await stage.settle()
            stage.app.clear_notifications()
            assert not any(action.name == "fix" for action, _ in stage.app.active_actions())
            assert "f fix" not in stage.text()
            await stage.press("f")
            await told(stage, "No change of the recipe is known that would help. Ask who.")
        assert stage.calls == []


async def test_a_fix_can_be_edited_first(tmp_path: Path) -> None:
    async with staged(tmp_path, shown=of_revision_one) as stage:
        await cursor(stage, "#ledger", FAILED)
        await stage.press("f")
        await shows(stage, "edit first")
        await stage.press("e")
        await stage.until(lambda: stage.app.place_name == "recipes", "the form")
        await stage.settle()
        form: Any = stage.app.current.one("#form")
        assert form.texts["max_model_len"] == "18416"
        assert form.changed == ["max_model_len"]
        assert llama(stage).max_model_len == 131072


@pytest.mark.parametrize("options", [{}, {"ascii_only": True}], ids=["unicode", "ascii"])
@pytest.mark.parametrize("size", [(160, 45), (120, 36), (80, 24), (60, 15), (40, 6)], ids=str)
async def test_the_diff_and_its_keys_are_seen_at_every_size(
    tmp_path: Path, size: tuple[int, int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if options:
        monkeypatch.setenv("NO_COLOR", "1")
    async with staged(tmp_path, size=size, **options) as stage:
        before = llama(stage)
        taken = before.model_copy(update={"max_model_len": 18416, "gpus": ("2", "3")})
        hostile = before.model_copy(update={"env_vars": {"A_VERY_LONG_NAME_OF_A_VARIABLE": "\x1b[31m" + "word " * 60}})
        offered = [
            Proposal(before, before.model_copy(update={"max_model_len": 18416}), "Shorten the context"),
            Proposal(before, hostile, "A variable"),
        ]
        stage.app.spawn(propose(stage.app, offered, run=True))
        await shows(stage, "+ max_model_len   18416")
        for words in (LLAMA, "- max_model_len  131072", "enter", "save", "run", "1 of 2", " other"):
            assert words in stage.text(), words
        assert ("esc  " if size >= (80, 24) else "esc no") in stage.text(), (
            "no key runs into another or out of the window"
        )
        await stage.press("right")
        await shows(stage, "A_VERY_LONG_NAME")
        assert "\x1b" not in "".join(stage.lines())
        assert "enter" in stage.text()
        await stage.press("right")
        await shows(stage, "+ max_model_len   18416")  # round again
        if size[1] > 6:  # what stands against a launch is below it; runs have their names
            await stage.press("escape")
            stage.app.spawn(propose(stage.app, [Proposal(before, taken, "Two GPUs")]))
            await shows(stage, "gpus: deepseek-r1-70b has GPU 2 3")
        await stage.press("escape")
        assert llama(stage) == before


async def test_what_was_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        before = llama(stage)
        made = Proposal(before, before.model_copy(update={"max_model_len": 1}), "Shorten")
        stage.app.spawn(propose(stage.app, [made]))
        await shows(stage, "+ max_model_len")
        stage.studio.recipes.save(before.model_copy(update={"port": 8123}))
        await stage.press("enter")
        await told(stage, "was changed meanwhile")
        assert llama(stage).max_model_len == 131072


async def test_undo_goes_on_back_asks_about_what_is_old_and_deletes_nothing_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        recipes = stage.studio.recipes
        recipes.delete("gemma-3-12b")
        recipes.save(llama(stage).model_copy(update={"port": 8123}))
        await stage.press("f5")
        await hides(stage, "gemma-3-12b")
        await stage.press("u")
        await told(stage, "llama-3.3-70b port 8123 -> not set")
        await stage.press("u")
        await told(stage, "Taken back: gemma-3-12b is back")
        await shows(stage, "gemma-3-12b")  # the list in front is read again
        await stage.press("u")
        await told(stage, "elsewhere is gone")  # the last one that was made
        await stage.press("u")
        await told(stage, "would delete qwen3-32b, which is ready: stop it first")
        assert recipes.get("qwen3-32b")
        # What was done long ago is asked about.
        recipes.save(llama(stage).model_copy(update={"port": 8124}))
        later = time.time() + 2 * changes.RECENT
        monkeypatch.setattr("vllm_studio_tui.tui.flows.changes.time.time", lambda: later)
        await stage.press("u")
        await shows(stage, "Undo what was done 2 h ago?")
        await stage.press("escape")
        assert llama(stage).port == 8124
        await stage.press("u")
        await shows(stage, "Undo what was done 2 h ago?")
        await stage.press("u")
        await told(stage, "llama-3.3-70b port 8124 -> not set")


async def test_an_import_over_what_is_there_is_a_diff(tmp_path: Path) -> None:
    source = tmp_path / "more.json"
    other = {"id": LLAMA, "model_path": "org/other", "name": LLAMA}
    source.write_text(json.dumps([other, {"id": "fresh", "model_path": "org/fresh"}]))
    async with staged(tmp_path / "home", place="recipes") as stage:
        place: Any = stage.app.current
        stage.app.spawn(place.flows.import_from("file", str(source)))
        await shows(stage, "fresh")
        await stage.press("escape")
        await shows(stage, "show what would be replaced")
        await stage.press("r")
        await shows(stage, "Import over the one that is there (1 of 1)")
        assert "+ model_path" in stage.text()
        assert llama(stage).model_path == f"org/{LLAMA}"
        await stage.press("enter")
        await told(stage, "imported: ")
        assert llama(stage).model_path == "org/other"
        assert stage.studio.recipes.get("fresh")
        await stage.press("u")  # all of it was one change
        await told(stage, "Taken back: ")
        assert llama(stage).model_path == f"org/{LLAMA}"
        assert "fresh" not in [one.id for one in stage.studio.recipes.all()]


async def test_the_path_of_an_import_begins_empty_and_that_of_an_export_selected(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        place: Any = stage.app.current
        stage.app.spawn(place.flows.import_from("file", ""))
        await shows(stage, "file to import")
        line: Any = stage.app.screen.query_one("#line")
        assert line.value == ""
        await stage.press("escape")
        place.action_export()
        await shows(stage, "Write recipes to")
        line = stage.app.screen.query_one("#line")
        await stage.until(lambda: line.selected_text == line.value != "", "it is selected")
        await fill_in(stage, str(tmp_path / "no" / "such" / "folder.yaml"))
        await stage.press("enter")
        await told(stage, "cannot be written")


async def test_a_live_run_is_not_stopped_for_a_fix_unless_that_was_said(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.launcher.refuse = LaunchRefused("qwen3-32b already runs", cause="It is ready.", in_the_way=True)
        before = stage.studio.recipes.get("qwen3-32b")
        chosen = Proposal(before, before.model_copy(update={"max_model_len": 4096}))
        stage.app.spawn(take(stage.app, chosen, run=True))  # as from the page of an older run that failed
        await stage.until(lambda: "qwen3-32b already runs" in stage.text(), "it asks")
        assert stage.calls == []
        await stage.press("escape")
        await stage.settle()
        assert stage.calls == []
