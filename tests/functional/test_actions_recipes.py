"""What every action of the recipes and of their form does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, asked, at, cursor, editor, fill_in, hides, shows, told
from tests.functional.stage import Staged, recipe
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.tui.screens.recipes.field import FieldInput
from vllm_studio_tui.tui.screens.recipes.form import RecipeForm
from vllm_studio_tui.tui.screens.recipes.place import RecipesPlace
from vllm_studio_tui.tui.widgets.table import Table

GEMMA = "gemma-3-12b"


async def on_gemma(stage: Staged) -> None:
    await cursor(stage, "#recipes-table", GEMMA)


async def in_the_form(stage: Staged) -> None:
    """The form is open on a recipe that is as it was."""
    place = stage.app.current
    assert isinstance(place, RecipesPlace)
    stage.studio.recipes.save(recipe(GEMMA, max_model_len=32768))
    await place.close_form(GEMMA)
    await place.edit(GEMMA)


recipes = Scene("recipes", place="recipes", begin=on_gemma)
editing = Scene("form", place="recipes", begin=in_the_form)
SCENES = (recipes, editing)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


def stored(stage: Staged, recipe_id: str = GEMMA) -> Recipe | None:
    try:
        return stage.studio.recipes.get(recipe_id)
    except NotFound:
        return None


def form(stage: Staged) -> RecipeForm:
    found = stage.app.current.one("#form")
    assert isinstance(found, RecipeForm)
    return found


def table(stage: Staged) -> Table[Any]:
    found = stage.app.current.one("#recipes-table")
    assert isinstance(found, Table)
    return found


# --- recipes --------------------------------------------------------------------------------------------------


@recipes.scenario("recipes.open")
async def _open(stage: Staged) -> None:
    await stage.press("enter")
    await shows(stage, "f2 save")
    assert form(stage).recipe == stored(stage)
    await stage.press("escape")


@recipes.scenario("recipes.run")
async def _run(stage: Staged) -> None:
    await stage.press("r")
    await asked(stage, ("launch", GEMMA))


@recipes.scenario("recipes.stop")
async def _stop(stage: Staged) -> None:
    await cursor(stage, "#recipes-table", "qwen3-32b")
    await stage.press("s")
    await shows(stage, "Stop qwen3-32b?")
    await stage.press("s")
    await asked(stage, ("stop", "qwen3-32b"))


@recipes.scenario("recipes.edit")
async def _edit(stage: Staged) -> None:
    await stage.press("e")
    await shows(stage, "f2 save")
    assert form(stage).recipe == stored(stage)
    await stage.press("escape")


@recipes.scenario("recipes.new")
async def _new(stage: Staged) -> None:
    await stage.press("n")
    await shows(stage, "What do you want to run?")
    await stage.press("enter")
    await shows(stage, "nothing saved yet")
    assert form(stage).recipe is None
    await stage.press("escape")


@recipes.scenario("table.filter")
async def _filter(stage: Staged) -> None:
    await stage.press("slash")
    await stage.type("qwen")
    await shows(stage, "RECIPES  1 of 5")
    await hides(stage, GEMMA)
    await stage.press("escape")
    await shows(stage, GEMMA)


@recipes.scenario("recipes.copy-command")
async def _copy_command(stage: Staged) -> None:
    await shows(stage, "--max-model-len 32768")
    await stage.press("y")
    assert f"serve org/{GEMMA}" in stage.clip


@recipes.scenario("recipes.chat")
async def _chat(stage: Staged) -> None:
    await cursor(stage, "#recipes-table", "qwen3-32b")
    await stage.press("c")
    await at(stage, "chat", "Ask qwen3-32b anything.")


@recipes.scenario("recipes.log")
async def _log(stage: Staged) -> None:
    await cursor(stage, "#recipes-table", "llama-3.3-70b")
    await stage.press("L")
    await at(stage, "logs", "exit 1 after 1m52s")


@recipes.scenario("recipes.export")
async def _export(stage: Staged) -> None:
    await stage.press("x")
    await shows(stage, "Write recipes to")
    await stage.press("enter")
    await told(stage, "written to")
    (written,) = stage.studio.places.exports.glob("recipes-*.yaml")
    assert all(one.id in written.read_text() for one in stage.studio.recipes.all())


@recipes.scenario("recipes.revisions")
async def _revisions(stage: Staged) -> None:
    stage.studio.recipes.save(recipe(GEMMA, max_model_len=4096))
    await stage.press("R")
    await shows(stage, f"bring back a revision of {GEMMA}")
    await stage.press("enter")
    await shows(stage, "Bring revision 1 back")
    await stage.press("enter")
    await told(stage, f"{GEMMA} is saved")
    changed = stored(stage)
    assert changed is not None
    assert changed.max_model_len == 32768


@recipes.scenario("recipes.yaml")
async def _yaml(stage: Staged) -> None:
    with editor(stage, "s/32768/1024/"):
        await stage.press("E")
        await shows(stage, "- max_model_len")
    await stage.press("enter")
    await told(stage, f"{GEMMA} is saved: max_model_len 32768 -> 1024")
    changed = stored(stage)
    assert changed is not None
    assert changed.max_model_len == 1024


@recipes.scenario("recipes.duplicate")
async def _duplicate(stage: Staged) -> None:
    await stage.press("D")
    await shows(stage, f"Duplicate {GEMMA} as")
    await fill_in(stage, "twin")
    await stage.press("enter")
    await shows(stage, "RECIPES  6")
    twin = stored(stage, "twin")
    assert twin is not None
    assert twin.model_path == f"org/{GEMMA}"


@recipes.scenario("recipes.delete")
async def _delete(stage: Staged) -> None:
    await stage.press("d")
    await shows(stage, f"Delete {GEMMA}?")
    await stage.press("d")
    await shows(stage, "RECIPES  5")
    assert stored(stage) is None
    stage.studio.recipes.create(recipe(GEMMA, max_model_len=32768))


@recipes.scenario("recipes.pin")
async def _pin(stage: Staged) -> None:
    await stage.press("p")
    await shows(stage, f"{GEMMA} pinned")
    await stage.press("p")
    await hides(stage, f"{GEMMA} pinned")


@recipes.scenario("recipes.copy-as")
async def _copy_as(stage: Staged) -> None:
    await stage.press("Y")
    await shows(stage, "the recipe as YAML")
    await fill_in(stage, "YAML")
    await stage.press("enter")
    await stage.until(lambda: f"id: {GEMMA}" in stage.clip, "the recipe")


@recipes.scenario("recipes.import")
async def _import(stage: Staged) -> None:
    await stage.press("I")
    await shows(stage, "Import: paste it here, or write the path of a file")
    area = stage.app.screen.query_one("#text")
    area.text = "vllm serve org/pasted --max-model-len 2048"  # type: ignore[attr-defined]
    await stage.press("f2")
    await shows(stage, "Import: what would come of it")
    await stage.press("enter")
    await shows(stage, "Import 1 recipe?")
    await stage.press("i")
    await told(stage, "imported: ")
    (made,) = (one for one in stage.studio.recipes.all() if one.model_path == "org/pasted")
    assert made.max_model_len == 2048
    await shows(stage, "pasted")
    await stage.press("escape")


@recipes.scenario("table.order", "table.reverse")
async def _order(stage: Staged) -> None:
    names = [one.id for one in sorted(stage.studio.recipes.all(), key=lambda one: one.name.lower())]
    await stage.press("o")
    await shows(stage, "name ▴")
    assert table(stage).keys == names
    await stage.press("O")
    await shows(stage, "name ▾")
    assert table(stage).keys == names[::-1]
    table(stage).order_by("")


@recipes.scenario("table.mark")
async def _mark(stage: Staged) -> None:
    await stage.press("space")
    await shows(stage, "1 marked")
    assert table(stage).marks == {GEMMA}
    await stage.press("escape")
    await hides(stage, "1 marked")


@recipes.scenario("recipes.view")
async def _compare(stage: Staged) -> None:
    table(stage).marks = {GEMMA, "qwen3-32b"}
    await stage.press("v")
    await shows(stage, f"+ {GEMMA}")
    await shows(stage, "tensor_parallel_size")
    await stage.press("escape", "escape")
    assert not table(stage).marks


@recipes.scenario("table.info")
async def _info(stage: Staged) -> None:
    await shows(stage, "y copy")
    await stage.press("i")
    await hides(stage, "y copy")
    await stage.press("i")
    await shows(stage, "y copy")


# --- form -----------------------------------------------------------------------------------------------------


@editing.scenario("form.save")
async def _save(stage: Staged) -> None:
    form(stage).set_text("max_model_len", "512")
    await stage.press("f2")
    await shows(stage, "- max_model_len")
    await stage.press("escape")
    assert form(stage).texts["max_model_len"] == "512"  # back to the form, nothing lost
    await stage.press("f2")
    await shows(stage, "- max_model_len")
    await stage.press("enter")
    await told(stage, f"{GEMMA} is saved")
    saved = stored(stage)
    assert saved is not None
    assert saved.max_model_len == 512
    assert stage.app.current.one("#form") is None
    assert stage.calls == []


@editing.scenario("form.launch")
async def _save_and_launch(stage: Staged) -> None:
    form(stage).set_text("max_model_len", "640")
    await stage.press("ctrl+r")
    await shows(stage, "save as revision")
    assert stage.calls == []
    await stage.press("enter")
    await asked(stage, ("launch", GEMMA))
    saved = stored(stage)
    assert saved is not None
    assert saved.max_model_len == 640


@editing.scenario("form.choose")
async def _choose(stage: Staged) -> None:
    (field,) = (one for one in form(stage).query(FieldInput) if one.spec.name == "backend")
    field.focus()
    await shows(stage, "f4 choose")
    await stage.press("f4")
    await shows(stage, "llama.cpp")
    await fill_in(stage, "sglang")
    await stage.press("enter")
    assert (form(stage).texts["backend"], field.value) == ("sglang", "SGLang")  # called as everywhere
    next(one for one in form(stage).query(FieldInput) if one.spec.name == "id").focus()
    await hides(stage, "f4 choose")  # an id is typed


@editing.scenario("form.yaml")
async def _form_as_yaml(stage: Staged) -> None:
    with editor(stage, "s/32768/768/"):
        await stage.press("f9")
        await shows(stage, "1 unsaved change")
    assert form(stage).texts["max_model_len"] == "768"
    unchanged = stored(stage)
    assert unchanged is not None
    assert unchanged.max_model_len == 32768


@editing.scenario("form.next-section", "form.previous-section")
async def _sections(stage: Staged) -> None:
    first, second = form(stage).sections[:2]
    await shows(stage, "tab section")
    for onward, back in (("ctrl+pagedown", "ctrl+pageup"), ("tab", "shift+tab")):
        await stage.press(onward)
        await shows(stage, "Context length")
        assert form(stage).section == second
        assert form(stage).focused_field is not None
        await stage.press(back)
        await shows(stage, "Name in requests")
        assert form(stage).section == first


@editing.scenario("form.up", "form.down")
async def _fields(stage: Staged) -> None:
    first, second = (one.name for one in form(stage).shown_fields("Model")[:2])
    for key, name in (("down", second), ("up", first), ("enter", second), ("up", first)):
        await stage.press(key)
        focused = form(stage).focused_field
        assert focused is not None
        assert focused.name == name
    await shows(stage, "field")


@editing.scenario("form.find")
async def _find_field(stage: Staged) -> None:
    await stage.press("ctrl+f")
    await shows(stage, "a field, by its name")
    await fill_in(stage, "gpu-memory-util")
    await stage.press("enter")
    focused = form(stage).focused_field
    assert focused is not None
    assert focused.name == "gpu_memory_utilization"
    await stage.press("ctrl+f")
    await fill_in(stage, "enforce-eager")
    await stage.press("enter")
    assert form(stage).texts["extra_args"] == "--enforce-eager "
    form(stage).set_text("extra_args", "")


@editing.scenario("form.info")
async def _all_checks(stage: Staged) -> None:
    form(stage).set_text("max_model_len", "512")
    await stage.press("f3")
    await shows(stage, "COMMAND")
    sheet = "\n".join(row.text() for row in stage.app.screen.query_one("#pages").rows)  # type: ignore[attr-defined]
    assert "max_model_len" in sheet
    assert "32768 -> 512" in sheet
    assert "environment" in sheet
    await stage.press("escape")


@editing.scenario("form.leave")
async def _leave(stage: Staged) -> None:
    await stage.press("escape")
    await shows(stage, "RECIPES  5")
    assert stage.app.current.one("#form") is None
