"""Recipes and their form, by keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.functional.stage import DEFAULT_RECIPES, NOW, Staged, recipe, snapshot, staged
from vllm_studio_tui.domain.errors import InvalidRecipe, LaunchRefused, NotFound
from vllm_studio_tui.domain.recipe import recipe_to_data
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.screens.recipes import plans, table
from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
from vllm_studio_tui.tui.screens.recipes.plans import plan_of


async def pick(stage: Staged, recipe_id: str) -> None:
    stage.app.current.one("#recipes-table").choose(recipe_id)
    await stage.settle()


def form(stage: Staged) -> RecipeForm:
    found = stage.app.current.one("#form")
    assert isinstance(found, RecipeForm)
    return found


async def test_the_table_shows_what_is_there_and_how_it_went(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "llama-3.3-70b")
        await stage.until(lambda: "--max-model-len 131072" in stage.text(), "what would be launched is worked out")
        text = stage.text()
        for words in (
            "RECIPES  5",
            "131072",
            "✕ llama-3.3-70b",
            "● qwen3-32b",
            "never",
            "COMMAND",
            "--max-model-len 131072",
        ):
            assert words in text


async def test_search_narrows_and_escape_clears(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await stage.press("slash")
        await stage.type("gemma")
        assert "1 of 5" in stage.text()
        await stage.press("enter")
        assert stage.app.current.one("#recipes-table").key == "gemma-3-12b"
        await stage.press("escape")
        assert "RECIPES  5" in stage.text()
        await stage.press("slash")
        await stage.type("zzz")
        assert 'Nothing matches "zzz"' in stage.text()


LONG = "llama-3.3-70b-instruct-128k-tools"
MANY = (
    *DEFAULT_RECIPES,
    recipe(LONG, tensor_parallel_size=2, max_model_len=131072, description="Judge runs on house-judge."),
    recipe("llama-405b-fp8", tensor_parallel_size=8, max_model_len=16384),
)


def launched_before(studio: Studio) -> None:
    """A recipe got ready with another context, and was changed since."""
    rows = RunRows(studio.db)
    data = recipe_to_data(studio.recipes.get(LONG))
    rows.record(
        {
            "run_id": "old-1",
            "recipe_id": LONG,
            "backend": "vllm",
            "created_at": NOW - 90_000,
            "recipe": {**data, "max_model_len": 16384},
        },
        {
            "run_id": "old-1",
            "state": "exited",
            "started_at": NOW - 90_000,
            "ready_at": NOW - 89_900,
            "ended_at": NOW - 70_000,
        },
    )


async def test_names_are_whole_and_the_details_are_there_at_every_size(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes", recipes=MANY, prepare=launched_before) as stage:
        await pick(stage, LONG)
        await stage.until(lambda: "CHANGED" in stage.text(), "what changed since it worked")
        assert "max_model_len  16384 -> 131072" in stage.text()
        assert "Judge runs on house-judge." in stage.text()
        assert f"{LONG} " in stage.text()
        for size, words in (
            ((120, 36), ("engine", "last run", "i all of it", "runs", "changed", "max_model_len 16384 -> 131072")),
            ((80, 24), ("engine", "context", "i all of it", "changed", "max_model_len 16384 -> 131072")),
            ((60, 15), ("state", "ready")),
            ((40, 6), ("✕ llama-3.3-70b", "failed", "loading")),
        ):
            if size[0] == 40:
                await stage.press("g")
            await stage.pilot.resize_terminal(*size)
            await stage.until(lambda: "RECIPES  7" in stage.text(), f"the table at {size}")
            await stage.until(lambda: all(word in stage.text() for word in words), f"{words} at {size}")  # noqa: B023
            if size[0] > 40:
                assert f"{LONG} " in stage.text()
                await stage.press("i")
                await stage.until(lambda: "COMMAND" in stage.text(), f"all of it at {size}")
                await stage.press("escape")


async def test_what_is_live_or_failed_stands_first_and_what_cannot_be_is_marked(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes", recipes=MANY) as stage:
        keys = stage.app.current.one("#recipes-table").keys
        assert keys[:3] == ["llama-3.3-70b", "deepseek-r1-70b", "qwen3-32b"]
        assert "▲ 8" in stage.text()  # four GPUs are here
        assert "▲ 2" not in stage.text()
        await stage.until(lambda: "vLLM ▲" in stage.text(), "the engine that is not installed")


async def test_the_cursor_and_the_marks_stay_where_they_are_when_the_order_changes(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes", recipes=MANY) as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("space", "up")
        table = stage.app.current.one("#recipes-table")
        for _ in range(4):
            await stage.press("o")
            assert (table.key, table.marks) == ("gemma-3-12b", {"gemma-3-12b"})
        row = next(index for index, line in enumerate(stage.lines()) if "name" in line and "engine" in line)
        column = stage.lines()[row].index("last run")
        await stage.pilot.click(offset=(column, row))
        await stage.settle()
        assert table.ordered == "last run"
        assert table.keys[:3] == ["deepseek-r1-70b", "qwen3-32b", "llama-3.3-70b"]
        await stage.pilot.click(offset=(10, row + 2))
        await stage.settle()
        assert table.key == "qwen3-32b"


async def test_marked_recipes_are_compared_run_and_deleted_together(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes", recipes=MANY) as stage:
        table = stage.app.current.one("#recipes-table")
        table.marks |= {"gemma-3-12b", LONG}
        await stage.press("v")
        await stage.until(lambda: "- gemma-3-12b" in stage.text(), "what differs")
        for words in (f"+ {LONG}", "tensor_parallel_size", "131072"):
            assert words in stage.text()
        await stage.press("escape", "r")
        await stage.until(lambda: "Run 2 recipes?" in stage.text(), "it asks")
        await stage.press("r")
        await stage.until(lambda: not table.marks, "they run")
        assert sorted(stage.calls) == [("launch", "gemma-3-12b"), ("launch", LONG)]
        table.marks |= {"gemma-3-12b", LONG}
        await stage.press("d")
        await stage.until(lambda: "Delete 2 recipes?" in stage.text(), "it asks")
        await stage.press("d")
        await stage.until(lambda: "RECIPES  5" in stage.text(), "they are gone")
        stage.studio.recipes.undo()
        assert {"gemma-3-12b", LONG} <= {one.id for one in stage.studio.recipes.all()}


async def test_run_and_stop(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("r")
        await pick(stage, "qwen3-32b")
        await stage.press("s")
        await stage.press("s")
        assert stage.calls == [("launch", "gemma-3-12b"), ("stop", "qwen3-32b")]


async def test_a_new_recipe_is_written_checked_and_saved(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await stage.press("n", "enter")
        await stage.until(lambda: "needed" in stage.text(), "it says what is needed before anything is saved")
        assert "model_path is missing" in " ".join(stage.text().split())
        assert form(stage).focused_field.name == "model_path"  # type: ignore[union-attr]
        form(stage).set_text("backend", "vllm")
        await stage.type("org/fresh-8b")
        await stage.until(lambda: "serve org/fresh-8b" in stage.text(), "the command follows")
        assert "is missing" not in stage.text()
        await stage.press("f2")
        saved = stage.studio.recipes.get("fresh-8b")
        assert (saved.name, saved.model_path, saved.trust_remote_code) == ("fresh-8b", "org/fresh-8b", False)
        assert stage.app.current.one("#recipes-table").key == "fresh-8b"


async def test_two_forms_that_open_at_once_are_one(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        place: Any = stage.app.current
        for _ in range(3):
            stage.app.spawn(place.edit("qwen3-32b"))
            stage.app.spawn(place.new())
        await stage.until(lambda: place.form is not None, "one is open")
        await stage.settle()
        assert len(place.query(RecipeForm)) == 1
        assert stage.app.faults.errors == []


async def test_a_recipe_that_runs_is_saved_and_launched_anew_by_one_question(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        stage.launcher.refuse = LaunchRefused("qwen3-32b already runs", advice="Use --force.", in_the_way=True)
        await pick(stage, "qwen3-32b")
        await stage.press("e", "ctrl+pagedown")
        await stage.type("0")
        await stage.press("ctrl+r")
        await stage.until(lambda: "it is stopped, and launched again" in stage.text(), "it says what follows")
        assert "and run in its place" in stage.text()
        assert stage.calls == []
        await stage.press("enter")
        await stage.until(lambda: stage.calls == [("launch", "qwen3-32b")], "nothing more is asked")
        assert any("then it starts" in toast for toast in stage.heard)
        assert stage.studio.recipes.get("qwen3-32b").max_model_len == 327680


async def test_an_edit_shows_what_changed_and_asks_before_it_is_lost(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("e")
        await stage.press("ctrl+pagedown")
        await stage.type("0")
        assert form(stage).texts["max_model_len"] == "327680"
        assert "1 unsaved change" in stage.text()
        assert "was 32768" in stage.text()
        await stage.press("escape")
        assert "Keep 1 change?" in stage.text()
        await stage.press("escape")
        await stage.press("escape")
        await stage.press("d")
        assert stage.studio.recipes.get("gemma-3-12b").max_model_len == 32768
        assert stage.app.current.one("#form") is None


async def test_an_engine_is_called_the_same_in_the_form_and_in_tables(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes", size=(160, 45)) as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("e", "down")
        assert "default vLLM" in stage.text()
        await stage.press("l")
        assert form(stage).texts["backend"] == "llamacpp"
        await stage.until(lambda: "default vLLM -> llama.cpp" in stage.text(), "the change is in the same words")
        assert "llamacpp" not in stage.text()
        form(stage).action_save()
        await stage.until(lambda: "+ backend" in stage.text(), "what differs is shown")
        assert "llamacpp" not in stage.text()


async def test_names_and_notes_are_whole_where_there_is_room(tmp_path: Path) -> None:
    notes = "Long context for the repo bot, judged by house"
    async with staged(tmp_path, place="recipes", size=(160, 45)) as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("e")
        form(stage).set_text("description", notes)
        form(stage).set_text("name", notes.replace(" ", "-"))
        await stage.until(lambda: notes in form_lines(stage), "the notes are whole")
        assert notes.replace(" ", "-") in form_lines(stage)


def form_lines(stage: Staged) -> str:
    """The fields as they are drawn, without what changes."""
    return "\n".join(line for line in stage.lines() if "->" not in line)


async def test_what_is_wrong_stands_beside_its_field_and_is_not_saved(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("e")
        await stage.press("ctrl+pagedown")
        await stage.type("x")
        assert "✕ not a number" in stage.text()
        await stage.press("ctrl+pagedown", "f2")
        await stage.settle()
        assert form(stage).section == "Memory"
        assert stage.studio.recipes.get("gemma-3-12b").max_model_len == 32768


async def test_remote_code_is_shown_in_red_words(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("e")
        names = [one.name for one in form(stage).shown_fields("Model")]
        await stage.press(*["down"] * names.index("trust_remote_code"))
        await stage.press("space")
        assert form(stage).texts["trust_remote_code"] == "yes"
        assert "runs code from the model folder" in stage.text()
        await stage.press("f2")
        await stage.until(lambda: "- trust_remote_code" in stage.text(), "what differs is shown")
        assert stage.studio.recipes.get("gemma-3-12b").trust_remote_code is False
        await stage.press("enter")
        assert stage.studio.recipes.get("gemma-3-12b").trust_remote_code is True


async def test_gpus_are_picked_from_those_that_are_there(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("e")
        await stage.press("ctrl+pagedown", "ctrl+pagedown", "f4")
        await stage.until(lambda: "GPU 2" in stage.text(), "GPUs are listed")
        assert "qwen3-32b" in stage.text()
        await stage.type("GPU 2")
        await stage.press("enter", "escape")
        assert form(stage).texts["gpus"] == "2"


async def test_a_gpu_that_is_picked_from_is_said_to_be_a_runs_that_claims_it_by_its_uuid(tmp_path: Path) -> None:
    def by_uuid(folder: Path) -> Snapshot:
        made = snapshot(folder)
        gpus = tuple(replace(gpu, processes=()) for gpu in made.tick.gpus.gpus)
        run = made.runs[0]
        assert run.spec is not None
        run = replace(run, spec=replace(run.spec, gpus=("GPU-2",)))
        return replace(made, tick=replace(made.tick, gpus=replace(made.tick.gpus, gpus=gpus)), runs=(run,))

    async with staged(tmp_path, place="recipes", shown=by_uuid) as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("e")
        await stage.press("ctrl+pagedown", "ctrl+pagedown", "f4")
        await stage.until(lambda: "GPU 2" in stage.text(), "GPUs are listed")
        rows = [line for line in stage.text().splitlines() if "NVIDIA H100" in line]
        assert [("qwen3-32b" in line, "free" in line) for line in rows[:4]] == [
            (False, True), (False, True), (True, False), (False, True),
        ]  # fmt: skip


async def test_models_of_a_folder_can_be_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x" * 2048)
    (tmp_path / "config").mkdir(exist_ok=True)
    home = tmp_path / "home"
    home.mkdir()
    (home / "config").mkdir()
    (home / "config" / "config.yaml").write_text(f"models_dirs: [{tmp_path / 'models'}]\n")
    async with staged(home, place="recipes") as stage:
        await stage.press("n", "enter")
        await stage.press("f4")
        await stage.until(lambda: "tiny" in stage.text(), "it was found")
        assert "safetensors, 2 KiB" in stage.text()
        await stage.press("enter")
        assert form(stage).texts["model_path"] == str(folder)


async def test_a_path_is_completed_while_it_is_typed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "qwen" / ".hidden").mkdir(parents=True)
    (disk / "qwen" / "readme.txt").write_text("no model")
    (disk / "qwen" / "q4.GGUF").write_bytes(b"x" * 2048)
    whole = disk / "a-whole\x1b]0;one\x07"  # what a terminal would obey
    whole.mkdir()
    (whole / "config.json").write_text("{}")
    async with staged(tmp_path / "home", place="recipes", size=(80, 24)) as stage:
        await stage.press("n", "enter")
        await stage.until(lambda: "needed" in stage.text(), "the form")
        form(stage).set_text("model_path", str(disk))
        await stage.type("/")
        await stage.until(lambda: "qwen/" in stage.text() and "model" in stage.text(), "what is in it")
        assert "\x1b" not in stage.text()
        assert "tab take it" in stage.text()
        await stage.press("up")  # the last of them
        await stage.press("tab")
        await stage.until(lambda: "q4.GGUF" in stage.text() and "2 KiB" in stage.text(), "what is in that")
        assert form(stage).texts["model_path"] == f"{disk}/qwen/"
        assert "readme.txt" not in stage.text()
        assert ".hidden" not in stage.text()
        await stage.press("escape")
        assert "2 KiB" not in stage.text()
        assert form(stage).focused_field.name == "model_path"  # type: ignore[union-attr]
        await stage.type("Q")
        await stage.until(lambda: "2 KiB" in stage.text(), "it is there again")
        await stage.press("enter")
        await stage.until(lambda: "2 KiB" not in stage.text(), "it is taken")
        assert form(stage).texts["model_path"] == f"{disk}/qwen/q4.GGUF"
        form(stage).set_text("model_path", f"{disk}/")
        await stage.type("a")
        await stage.until(lambda: "tab take it" in stage.text(), "the folder of a model")
        await stage.press("tab")
        assert form(stage).texts["model_path"] == str(whole)  # as it is, whatever is shown of it
        await stage.press("tab")
        await stage.until(lambda: form(stage).section == "Memory", "tab goes on")


async def test_duplicate_and_delete_say_what_they_do(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("D")
        await stage.press("enter")
        assert stage.studio.recipes.get("gemma-3-12b-2").model_path == "org/gemma-3-12b"
        assert any("Both are asked for as org/gemma-3-12b" in toast for toast in stage.heard), stage.heard
        await pick(stage, "gemma-3-12b-2")
        await stage.press("d")
        assert "It was never run. Its revisions are kept: u brings it back." in stage.text()
        await stage.press("enter")
        assert stage.studio.recipes.get("gemma-3-12b-2")
        await stage.press("d")
        await stage.until(lambda: "Delete gemma-3-12b-2?" in stage.text(), "it asks again")
        await stage.press("d")
        with pytest.raises(NotFound):
            stage.studio.recipes.get("gemma-3-12b-2")
        await stage.press("u")
        assert stage.studio.recipes.get("gemma-3-12b-2")


async def test_a_running_recipe_is_not_deleted(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "qwen3-32b")
        await stage.press("d")
        assert any("stop it first" in toast for toast in stage.heard)


async def test_pasted_text_is_imported_with_a_report(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await stage.press("I")
        area = stage.app.screen.query_one("#text")
        area.text = "vllm serve org/pasted --host 0.0.0.0 --tensor-parallel-size 2"  # type: ignore[attr-defined]
        await stage.press("f2")
        await stage.until(lambda: "Import" in stage.text() and "pasted" in stage.text(), "the report")
        await stage.press("escape")
        await stage.until(lambda: "Import 1 recipe?" in stage.text(), "it asks")
        await stage.press("i")
        await stage.settle()
        made = [one for one in stage.studio.recipes.all() if one.model_path == "org/pasted"]
        assert made
        assert made[0].tensor_parallel_size == 2


async def test_a_file_with_good_and_bad_entries_says_which(tmp_path: Path) -> None:
    source = tmp_path / "many.yaml"
    source.write_text("- {id: good, model_path: org/g}\n- {id: bad, model_path: org/b, port: none}\n")
    async with staged(tmp_path / "home", place="recipes") as stage:
        await stage.press("I")
        area = stage.app.screen.query_one("#text")
        area.text = str(source)  # type: ignore[attr-defined]
        await stage.press("f2")
        await stage.until(lambda: "cannot be imported" in stage.text(), "the report")
        assert "port:" in stage.text()
        await stage.press("escape")
        await stage.press("i")
        await stage.settle()
        assert stage.studio.recipes.get("good")


async def test_an_export_asks_where_and_writes_over_nothing_unasked(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", place="recipes") as stage:
        stage.app.current.action_export()  # type: ignore[attr-defined]
        await stage.until(lambda: "Write recipes to" in stage.text(), "it asks where")
        await stage.settle()
        offered = Path(stage.app.screen.query_one("#line").value)  # type: ignore[attr-defined]
        assert offered.parent == stage.studio.places.exports
        assert offered.name.startswith("recipes-2")
        target = tmp_path / "mine.yaml"
        target.write_text("old")
        stage.app.screen.query_one("#line").value = str(target)  # type: ignore[attr-defined]
        await stage.press("enter")
        await stage.until(lambda: "mine.yaml exists already" in stage.text(), "it asks again")
        await stage.press("escape")
        await stage.until(lambda: "Write recipes to" in stage.text(), "another name")
        assert target.read_text() == "old"
        stage.app.screen.query_one("#line").value = str(tmp_path / "other.yaml")  # type: ignore[attr-defined]
        await stage.press("enter")
        await stage.until(lambda: any("written to" in toast for toast in stage.heard), "it says where")
    written = tmp_path / "other.yaml"
    assert "qwen3-32b" in written.read_text()
    assert written.stat().st_mode & 0o777 == 0o600


async def test_yaml_in_the_editor_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def edited(app: object, text: str, suffix: str = "") -> str:
        return text.replace("max_model_len: 32768", "max_model_len: 1024")

    monkeypatch.setattr("vllm_studio_tui.tui.screens.recipes.flows.edit_text", edited)
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("E")
        await stage.until(lambda: "- max_model_len" in stage.text(), "what differs is shown")
        await stage.press("enter")
        await stage.until(lambda: stage.studio.recipes.get("gemma-3-12b").max_model_len == 1024, "it is saved")


async def test_yaml_that_is_none_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_studio_tui.tui.screens.recipes.flows.edit_text", lambda *_: "port: [")
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.press("E")
        await stage.until(lambda: "this is not YAML" in stage.text(), "it says so")
        await stage.press("escape")
        assert stage.studio.recipes.get("gemma-3-12b").max_model_len == 32768


async def test_a_pin_is_kept_and_stands_before_what_ran_last(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        table = stage.app.current.one("#recipes-table")
        await pick(stage, "gemma-3-12b")
        await stage.press("p")
        await stage.until(lambda: "gemma-3-12b pinned" in stage.text(), "it says so")
        assert table.keys[3] == table.key == "gemma-3-12b"
        await stage.until(lambda: stage.studio.recipes.pins() == ["gemma-3-12b"], "it is kept")


async def test_the_command_is_copied(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")
        await stage.until(lambda: "COMMAND" in stage.text(), "the command is there")
        await stage.press("y")
        assert "org/gemma-3-12b" in (stage.studio.places.state / "clip.txt").read_text()


async def test_the_port_on_which_it_will_start_is_shown_and_where_it_answers_now(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "gemma-3-12b")  # 8000 and 8001 are those of live runs
        await stage.until(lambda: "8000 is taken: it will start on 8002" in stage.text(), "the check")
        assert "--port 8002" in stage.text()
        await stage.press("e")
        await stage.until(lambda: "taken: it will start on 8002" in " ".join(stage.text().split()), "in the form")
        await stage.press("escape")
        await pick(stage, "qwen3-32b")
        for size in ((160, 45), (80, 24)):
            await stage.pilot.resize_terminal(*size)
            await stage.until(lambda: "ready  http://127.0.0.1:8000/v1" in stage.text(), "its address")
            assert "is taken" not in stage.text()


def test_the_context_says_whose_it_is_where_the_recipe_names_none() -> None:
    here = table.Here(UNICODE, None, frozenset(), frozenset(), NOW)
    (column,) = (one for one in table.COLUMNS if one.name == "context")
    stored: list[dict[str, Any]] = [{"max_model_len": 4096}, {"max_model_len": -1}, {}, {"model_path": ""}]
    found = table.lines([(str(at), {"model_path": "m", **data}) for at, data in enumerate(stored)], {}, here)
    assert [column.value(line)[0][0] for line in found] == ["4096", "auto", "model's", here.glyphs.unknown]


async def test_what_an_engine_cannot_run_stands_at_its_field(tmp_path: Path) -> None:
    refused = InvalidRecipe(
        "llama.cpp runs only files", [("model_path", "My model is no file here")], advice="Name it."
    )

    class Refusing:
        def check(self, *_: object) -> list[object]:
            raise refused

    async with staged(tmp_path, place="recipes") as stage:
        studio = SimpleNamespace(launcher=Refusing())
        plan = plan_of(studio, None, stage.studio.recipes.get("gemma-3-12b"))
        assert [(one.field, one.severity) for one in plan.problems] == [("model_path", "error")]
        assert "My model is no file here" in plan.problems[0].message
        assert not plan.error


async def test_of_a_recipe_that_runs_its_own_port_is_not_told_as_another(tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await pick(stage, "deepseek-r1-70b")  # it runs on 8001, and 8000 is another's
        await stage.until(lambda: "--port 8001" in stage.text(), "its command")
        assert "is taken" not in " ".join(stage.text().split())


async def test_a_command_that_was_made_while_a_run_began_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def while_a_run_begins(studio: Any, snapshot: Any, recipe_id: str) -> plans.Plan:
        made.append(recipe_id)
        if len(made) > 1:
            return plan_of(studio, snapshot, studio.recipes.get(recipe_id))
        stage.app.call_from_thread(stage.app.current.update_place)  # it sees the run now
        return plan_of(studio, replace(snapshot, runs=()), studio.recipes.get(recipe_id))

    async with staged(tmp_path, place="recipes") as stage:
        place: Any = stage.app.current
        await stage.until(lambda: "--port" in stage.text(), "a first command")
        monkeypatch.setattr(plans, "plan_of_stored", while_a_run_begins)
        await pick(stage, "deepseek-r1-70b")
        place._plans.clear()
        made.clear()
        place._states = ("before it began",)
        place._plan_now()
        await stage.until(lambda: len(made) > 1 and "--port 8001" in stage.text(), "the command of now")


async def test_a_recipe_that_cannot_be_looked_at_says_why_and_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "AGAIN", 0.05)
    async with staged(tmp_path, place="recipes", size=(160, 45)) as stage:
        await stage.until(lambda: "COMMAND" in stage.text(), "the first recipe is looked at")
        number = stage.studio.recipes.number
        for fault, words in (
            (OSError("the disk is away"), "looked at: OSError"),
            (NotFound("no such recipe", advice="Look again."), "no such recipe"),
        ):

            def fails(*_: object, fault: Exception = fault) -> int:
                raise fault

            monkeypatch.setattr(stage.studio.recipes, "number", fails)
            await stage.press("down")
            await stage.until(lambda: words in stage.text(), "the fault is said")  # noqa: B023, RUF100
            assert "looking" not in stage.text()
            monkeypatch.setattr(stage.studio.recipes, "number", number)
            await stage.until(lambda: words not in stage.text(), "it is tried again")  # noqa: B023, RUF100
            assert "looking" not in stage.text()
