"""A model becomes a recipe: five fields, the memory, a grid whose cells are a choice; newcomers on other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, asked, at, shows, told
from tests.functional.stage import GIB, NOW, Staged, run_view, staged
from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.simulation import gpus, kinds
from vllm_studio_tui.simulation.marks import GPUS
from vllm_studio_tui.tui.screens.create import flows
from vllm_studio_tui.tui.screens.create.place import CreatePage

MODEL = "Qwen/Qwen3-32B"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes this a machine of another kind; it begins as one with four H100, and an empty home."""
    from vllm_studio_tui.services.simulated_home.home import install_engines

    person = tmp_path / "person"
    person.mkdir()
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.setenv("HF_HUB_CACHE", str(person / "hub"))
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("HF_TOKEN", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def make(name: str) -> None:
        asked = kinds.machine(name)
        assert asked is not None
        monkeypatch.setenv(GPUS, asked)
        gpus.HOLDERS.forget()
        if name != "none":
            install_engines(Places.under(tmp_path / "home"))

    make("4xh100")
    return make


def seen(folder: Path) -> Snapshot:
    """What a first sample of this machine shows: nothing runs."""
    from vllm_studio_tui.probes.gpu.provider import read_once

    host = Host(1.0, (0.0, 0.0, 0.0), 64 * GIB, 4 * GIB, 16)
    return Snapshot(Tick(NOW, read_once(processes=False), host))


def page(stage: Staged) -> CreatePage:
    found = stage.app.current
    assert isinstance(found, CreatePage)
    return found


async def worked_out(stage: Staged) -> None:
    """Wait until what was typed or chosen has been worked out."""
    await stage.until(lambda: not page(stage)._working and page(stage)._made is not None, "it is worked out")
    await stage.settle()


async def on_the_page(stage: Staged) -> None:
    for stored, _ in stage.studio.recipe_list():
        stage.studio.recipes.delete(stored)
    stage.app.open_page("create", MODEL)
    await stage.settle()
    await worked_out(stage)


def made(stage: Staged) -> Recipe:
    found = page(stage)._made
    assert found is not None
    return found.recipe


create = Scene("create", place="dashboard", begin=on_the_page, shown=seen, recipes=())
SCENES = (create,)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path / "home")


@create.scenario("create.up", "create.down")
async def _fields(stage: Staged) -> None:
    await shows(stage, "Longest talk")
    await stage.press("down", "down")
    assert stage.app.focused is not None and stage.app.focused.id == "create-context"
    await stage.press("up")
    assert stage.app.focused.id == "create-gpus"


@create.scenario("create.choose")
async def _choose(stage: Staged) -> None:
    await stage.press("f4")
    await shows(stage, "TabbyAPI")
    await stage.press("escape")
    await stage.press("down", "f4")
    await shows(stage, "4 of 4")
    await stage.type("4 of")
    await stage.press("enter")
    await worked_out(stage)
    assert made(stage).tensor_parallel_size == 4
    await stage.press("escape", "d")


@create.scenario("create.take", "create.mark")
async def _suggested(stage: Staged) -> None:
    assert made(stage).tool_call_parser == "hermes"
    side: Any = page(stage).query_one("#create-side")
    side.focus()
    side.choose("offer:tool_call_parser")
    await stage.press("space")
    await worked_out(stage)
    assert made(stage).tool_call_parser is None
    side.choose("engine:sglang")
    await stage.press("enter")
    await worked_out(stage)
    assert made(stage).backend == "sglang"
    await stage.press("escape", "d")


@create.scenario("cells.left", "cells.right", "cells.up", "cells.down", "cells.take")
async def _cells(stage: Staged) -> None:
    grid: Any = page(stage).query_one("#create-cells")
    grid.focus()
    await stage.settle()
    line, column = grid.at
    await stage.press("up", "left", "k", "h")
    assert grid.at == (line - 2, max(0, column - 2))
    await stage.press("down", "right", "j", "l")
    await stage.press("up", "enter")
    await worked_out(stage)
    cell = page(stage)._made.grid.rows[grid.at[0]][grid.at[1]]  # type: ignore[union-attr]
    assert (made(stage).max_model_len, made(stage).max_num_seqs) == (cell.context, cell.users)
    await stage.press("escape", "d")


@create.scenario("create.why")
async def _why(stage: Staged) -> None:
    page(stage).query_one("#create-cells").focus()
    await stage.press("w")
    await shows(stage, "WHY IT IS SO")
    await stage.press("escape")


@create.scenario("create.find")
async def _find(stage: Staged) -> None:
    await stage.press("ctrl+f")
    await at(stage, "recipes", "nothing saved yet")
    form: Any = stage.app.current.one("#form")
    assert (form.texts["model_path"], form.texts["tensor_parallel_size"]) == (MODEL, "2")
    await stage.press("escape", "d")


@create.scenario("create.save")
async def _save(stage: Staged) -> None:
    await stage.press("f2")
    await told(stage, "qwen3-32b is saved.")
    await at(stage, "recipes", "qwen3-32b")
    assert stage.studio.recipes.get("qwen3-32b").tensor_parallel_size == 2


@create.scenario("create.launch")
async def _launch(stage: Staged) -> None:
    stage.launcher.run = run_view(stage.studio.places.data / "runs", "qwen3-32b", State.LOADING, started_at=1.0)
    await stage.press("ctrl+r")
    await asked(stage, ("launch", "qwen3-32b"))


async def test_leaving_asks_where_something_was_chosen_and_goes_back_to_where_one_was(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=seen, recipes=()) as stage:
        await stage.press("5")
        await on_the_page(stage)
        await stage.press("escape")
        await stage.until(lambda: stage.app.place_name == "usage", "back on the screen under it")
        await on_the_page(stage)
        await stage.press("down", "down", "end", "backspace")
        await worked_out(stage)
        await stage.press("escape")
        await shows(stage, "Save this new recipe?")
        await stage.press("d")
        await stage.until(lambda: stage.app.place_name == "usage", "back, and nothing is kept")
        assert stage.studio.recipe_list() == []


async def test_a_wrong_number_is_said_and_nothing_is_saved(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=seen, recipes=()) as stage:
        await on_the_page(stage)
        await stage.press("down", "down")
        await stage.type("x")
        await shows(stage, "a number of tokens")
        await stage.press("f2")
        await told(stage, "Longest talk: a number of tokens.")
        assert stage.studio.recipe_list() == []


async def test_where_nothing_may_be_written_nothing_can_be_saved(tmp_path: Path) -> None:
    async with staged(tmp_path / "home", shown=seen, recipes=(), read_only=True) as stage:
        await on_the_page(stage)
        assert "save" not in stage.lines()[-1]
        await stage.press("f2", "ctrl+r")
        assert stage.studio.recipe_list() == []


@pytest.mark.parametrize(
    "name", ["evil\x1b]0;owned\x07[red]", "a/" + "b" * 300, "/not/there", "\u202egpj.exe", "x" * 4000]
)
async def test_a_hostile_name_is_text_and_what_is_not_known_is_said(tmp_path: Path, name: str) -> None:
    async with staged(tmp_path / "home", shown=seen, recipes=()) as stage:
        stage.app.open_page("create", name)
        await stage.settle()
        await stage.until(lambda: not page(stage)._working, "it is worked out, or it is said why not")
        await stage.settle()
        text = stage.text()
        assert "\x1b" not in text and "\u202e" not in text
        assert "not known" in text or page(stage)._error


@pytest.mark.parametrize("size", [(160, 45), (120, 36), (80, 24), (60, 15), (40, 6)])
async def test_it_shrinks_without_cutting_a_number(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path / "home", shown=seen, recipes=(), size=size) as stage:
        await on_the_page(stage)
        text = stage.text()
        assert ("HOW LONG, FOR HOW MANY" in text) == (size[1] >= 24)
        assert ("WHAT ELSE WOULD GO" in text) == (size[1] >= 34)
        assert "fits" in text
        if size == (40, 6):
            assert "Engine" in text and "Longest" not in text
            await stage.press("down", "down")
            await shows(stage, "Longest talk")
        assert all(len(line) <= size[0] for line in stage.lines())


#: A newcomer with an empty home: the machine, the keys, and what the recipe has to be.
NEWCOMERS = {
    "none": (
        ("enter", "f2"),
        {"backend": "llamacpp", "model_path": "Qwen/Qwen3-4B-GGUF:Q4_K_M", "max_model_len": 16384},
    ),
    "rtx4090": (("enter", "f2"), {"backend": "vllm", "model_path": "openai/gpt-oss-20b", "tensor_parallel_size": 1}),
    "h100": (("enter", "f2"), {"backend": "vllm", "model_path": "openai/gpt-oss-120b", "tensor_parallel_size": 1}),
    "8xh100": (("enter", "f2"), {"backend": "vllm", "model_path": "zai-org/GLM-4.5-FP8", "tensor_parallel_size": 8}),
}


@pytest.mark.parametrize("name", NEWCOMERS)
async def test_a_newcomer_has_a_right_recipe_in_under_ten_keys(tmp_path: Path, machine: Any, name: str) -> None:
    machine(name)
    keys, wanted = NEWCOMERS[name]
    assert len(keys) < 10
    async with staged(tmp_path / "home", shown=seen, recipes=()) as stage:
        await shows(stage, "STARTERS")
        for key in keys:
            await stage.press(key)
            if isinstance(stage.app.current, CreatePage):
                await worked_out(stage)
        await stage.until(lambda: len(stage.studio.recipe_list()) == 1, "a recipe is kept")
        recipe = stage.studio.recipes.all()[0]
        data = recipe.model_dump(exclude_defaults=True)
        print(f"\n{name}: {' '.join(keys)} -> {data}")  # noqa: T201, RUF100
        assert {key: getattr(recipe, key) for key in wanted} == wanted
        question = stage.studio.fit.question(recipe)
        fit = stage.studio.fit.of_model(recipe.model_path, question, recipe.backend)
        assert fit.fits and fit.certain, "there is room for it whatever the engine takes"
        if name != "none":  # there it is downloaded first
            assert stage.studio.launcher.preview(recipe, missing_ok=True).argv


class OneDownload:
    """The downloads of a studio: one that is whole at the second look."""

    def __init__(self, path: Path) -> None:
        self.asked: list[str] = []
        self._path = path

    def _now(self, state: DownloadState) -> Download:
        return Download("one", "Qwen/Qwen3-4B-GGUF", "main", state, "Q4_K_M")

    def list(self) -> list[Download]:
        return []

    def start(self, repo: str) -> Download:
        self.asked.append(repo)
        return self._now(DownloadState.RUNNING)

    def get(self, name: str) -> Download:
        self._path.mkdir(parents=True)
        (self._path / "Qwen3-4B-Q4_K_M.gguf").write_bytes(b"GGUF")
        return self._now(DownloadState.DONE)


async def test_what_the_engine_cannot_fetch_is_downloaded_and_then_run(
    tmp_path: Path, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("none")
    monkeypatch.setattr(flows, "PACE", 0.01)
    downloads = OneDownload(tmp_path / "person/hub/models--Qwen--Qwen3-4B-GGUF/snapshots/abc")
    async with staged(tmp_path / "home", shown=seen, recipes=()) as stage:
        stage.studio.__dict__["downloads"] = downloads
        stage.launcher.run = run_view(tmp_path / "runs", "qwen3-4b-gguf", State.LOADING, started_at=1.0)
        await shows(stage, "STARTERS")
        await stage.press("enter")
        await worked_out(stage)
        await shows(stage, "download it and run")
        await stage.press("ctrl+r")
        await asked(stage, ("launch", "qwen3-4b-gguf"))
        assert downloads.asked == ["Qwen/Qwen3-4B-GGUF:Q4_K_M"]
        argv = stage.studio.launcher.preview(stage.studio.recipes.get("qwen3-4b-gguf")).argv
        assert any(one.endswith("Qwen3-4B-Q4_K_M.gguf") for one in argv), "it runs the file that came"
