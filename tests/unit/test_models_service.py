"""The models of a studio: who uses them, when they last ran, what a name means, and deleting them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import run_view
from tests.unit.weight_files import gguf, model
from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.model import Source
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.inventory.looking import look_at
from vllm_studio_tui.models.inventory.places import Place
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.models.models import Models, pick
from vllm_studio_tui.services.models.uses import Uses


class Ground:
    """A machine with a folder of models, and a studio's recipes and runs in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "big"
        self.folder.mkdir()
        self.recipes: list[tuple[str, dict[str, Any]]] = []
        self.runs: list[RunView] = []
        self.rows: list[dict[str, Any]] = []
        self.downloads: list[Download] = []
        self.models = Models(
            Places.under(root / "home"), lambda: (self.folder,), lambda: self.recipes, lambda: self.runs,
            lambda most: self.rows[:most], lambda: self.downloads, {"HOME": str(root / "person")},
        )  # fmt: skip

    def add(self, recipe_id: str, **data: Any) -> None:
        self.recipes.append((recipe_id, {"id": recipe_id, **data}))

    def run(self, recipe: dict[str, Any], state: State, at: float = 5.0) -> RunView:
        view = run_view(self.root / "runs", "r", state, started_at=at)
        assert view.spec is not None
        view = dataclasses.replace(view, spec=dataclasses.replace(view.spec, recipe=recipe, created_at=at))
        self.runs.append(view)
        return view


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_recipes_are_found_by_path_by_name_and_by_what_else_they_name(ground: Ground) -> None:
    big = model(ground.folder / "Big-8B")
    (ground.folder / "draft.gguf").write_bytes(gguf())
    lora = ground.folder / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text("{}")
    ground.add("by-path", model_path=f"{big}/")
    ground.add("by-name", model_path="/another/machine/Big-8B")
    ground.add("by-link", model_path=str(ground.root / "link"))
    (ground.root / "link").symlink_to(big)
    ground.add(
        "with-draft", model_path="org/x", extra_args={"speculative-config": {"model": f"{ground.folder}/draft.gguf"}}
    )
    ground.add("with-lora", model_path="org/x", lora_modules={"a": str(lora)})
    ground.add("custom", model_path="x", command=f"serve --model={big} --port 1")
    found = {one.name: one.recipes for one in ground.models.list()}
    assert found == {
        "Big-8B": ("by-path", "by-name", "by-link", "custom"), "draft": ("with-draft",), "lora": ("with-lora",),
    }  # fmt: skip


def test_a_name_that_two_folders_have_is_not_guessed(ground: Ground) -> None:
    model(ground.folder / "a", model__safetensors=b"")
    for parent in ("x", "y"):
        (ground.folder / parent).mkdir()
        model(ground.folder / parent / "same")
    uses = Uses(look_at([Place(str(ground.folder), Source.FOLDER, "")]).models, {})
    assert uses.of_recipe({"model_path": "/elsewhere/same"}) == []
    assert uses.of_recipe({"model_path": f"{ground.folder}/x/same"}) == [f"{ground.folder}/x/same"]


def test_the_last_run_is_that_of_the_disk_or_of_the_database(ground: Ground) -> None:
    big = str(model(ground.folder / "Big"))
    assert ground.models.list()[0].last_run is None
    ground.rows.append({"run_id": "old", "recipe_id": "r", "state": "exited", "created_at": 3.0,
                        "recipe": f'{{"model_path": "{big}"}}'})  # fmt: skip
    assert ground.models.list()[0].last_run == 3.0
    ground.run({"model_path": big}, State.EXITED, 9.0)
    assert ground.models.list()[0].last_run == 9.0
    detail = ground.models.show("big")
    assert [(one.started, one.live) for one in detail.runs] == [(9.0, False), (3.0, False)]


def test_what_was_seen_a_moment_ago_is_good_enough_unless_asked_anew(ground: Ground) -> None:
    model(ground.folder / "a")
    assert len(ground.models.list()) == 1
    model(ground.folder / "b")
    assert len(ground.models.list()) == 1
    assert len(ground.models.list(fresh=True)) == 2


def test_a_name_means_one_model_or_says_which_there_are(ground: Ground) -> None:
    for parent in ("x", "y"):
        (ground.folder / parent).mkdir()
        model(ground.folder / parent / "Same")
    (ground.folder / "Q-Q4_K_M.gguf").write_bytes(gguf())
    models = ground.models.list()
    assert pick(models, "q-q4_k_m").path == pick(models, f"{ground.folder}/Q-Q4_K_M.gguf").path
    assert pick(models, "Q-Q4_K_M.gguf").name == "Q-Q4_K_M"
    with pytest.raises(UsageError, match=f"{ground.folder}/x/Same, {ground.folder}/y/Same"):
        pick(models, "same")
    with pytest.raises(NotFound, match="There are: Q-Q4_K_M"):
        pick(models, "q4")


def test_a_scan_says_what_each_place_held(ground: Ground) -> None:
    model(ground.folder / "a", model__safetensors=None)
    scan = ground.models.scan()
    place = next(one for one in scan.places if one.path == str(ground.folder))
    assert (place.there, place.models, place.why) == (True, 1, "models_dirs of the settings")
    assert any(not one.there for one in scan.places)
    assert [one.name for one in ground.models.scan(str(ground.folder / "a")).models] == ["a"]
    with pytest.raises(UsageError, match="is no folder"):
        ground.models.scan("/nowhere/at/all")


def test_deleting_takes_the_files_of_the_model_and_leaves_what_is_not_its_own(ground: Ground) -> None:
    folder = model(ground.folder / "m")
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("keep me")
    (folder / "side.gguf").write_bytes(gguf())
    ground.add("r", model_path=str(folder))
    plan = ground.models.deletion("m")
    assert (plan.recipes, plan.done, plan.advice) == (("r",), False, "It stays: notes, side.gguf")
    assert plan.frees == sum(path.stat().st_size for path in folder.glob("*.*") if path.suffix != ".gguf")
    assert ground.models.delete("m").done
    assert sorted(path.name for path in folder.iterdir()) == ["notes", "side.gguf"]
    assert [one.name for one in ground.models.list()] == ["side"]
    ground.models.delete("side")
    assert sorted(path.name for path in folder.iterdir()) == ["notes"]


def test_a_folder_with_nothing_else_in_it_goes_too_but_never_the_folder_of_models(ground: Ground) -> None:
    (ground.folder / "owner").mkdir()
    folder = model(ground.folder / "owner" / "m")
    (folder / ".cache" / "huggingface" / "download").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "download" / "a.metadata").write_text("x")
    ground.models.delete("m")
    assert not folder.exists()
    (ground.folder / "top.gguf").write_bytes(gguf())
    ground.models.delete("top")
    assert ground.folder.is_dir()


def test_a_projector_stays_while_another_model_needs_it(ground: Ground) -> None:
    folder = ground.folder / "m"
    folder.mkdir()
    for name in ("a-Q4_K_M.gguf", "a-Q8_0.gguf", "mmproj-a.gguf"):
        (folder / name).write_bytes(gguf())
    ground.models.delete("a-Q4_K_M")
    assert sorted(path.name for path in folder.iterdir()) == ["a-Q8_0.gguf", "mmproj-a.gguf"]
    ground.models.delete("a-Q8_0")
    assert not folder.exists()


def test_hard_links_and_links_free_nothing(ground: Ground) -> None:
    kept = ground.root / "kept.gguf"
    kept.write_bytes(gguf())
    os.link(kept, ground.folder / "hard.gguf")
    (ground.folder / "soft.gguf").symlink_to(kept)
    for name in ("hard", "soft"):
        plan = ground.models.deletion(name)
        assert (plan.frees, plan.keeps) == (0, len(gguf()))
        assert [one.shared for one in ground.models.show(name).files] == [True]
        ground.models.delete(name)
    assert kept.read_bytes() == gguf()


def test_a_model_that_a_run_has_loaded_is_never_deleted(ground: Ground) -> None:
    folder = model(ground.folder / "m")
    run = ground.run({"model_path": str(folder)}, State.READY)
    plan = ground.models.deletion("m")
    assert (plan.runs, plan.refused) == ((run.run_id,), f"it is loaded by {run.run_id}")
    with pytest.raises(StudioError, match=f"vllm-studio stop {run.run_id}"):
        ground.models.delete("m", of_others=True)
    assert (folder / "model.safetensors").exists()


def test_a_model_that_any_program_has_open_is_not_deleted(ground: Ground) -> None:
    path = ground.folder / "m.gguf"
    path.write_bytes(gguf())
    code = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        assert f"(pid {holder.pid})" in ground.models.deletion("m").refused
        with pytest.raises(StudioError, match="End that program first"):
            ground.models.delete("m")
    finally:
        holder.communicate()
    assert ground.models.delete("m").done


def test_stores_of_other_programs_are_left_alone_without_a_clear_word(ground: Ground) -> None:
    folder = ground.root / "person" / ".lmstudio" / "models" / "pub" / "M-GGUF"
    folder.mkdir(parents=True)
    (folder / "M-Q4_K_M.gguf").write_bytes(gguf())
    plan = ground.models.deletion("M-Q4_K_M")
    assert (plan.owner, plan.refused) == ("LM Studio", "")
    with pytest.raises(StudioError, match="It lies in a store of LM Studio"):
        ground.models.delete("M-Q4_K_M")
    assert ground.models.delete("M-Q4_K_M", of_others=True).done
    assert not folder.exists()


def test_what_a_family_needs_is_suggested(ground: Ground) -> None:
    model(ground.folder / "Qwen3-8B")
    fields = {name: value for name, value, _ in ground.models.show("Qwen3-8B").suggestions}
    assert fields["reasoning_parser"] == "qwen3"
    assert Recipe.model_fields.keys() >= fields.keys()


def cached(ground: Ground, repo: str, **files: bytes) -> Path:
    """A repository in the hub's cache of the person."""
    folder = ground.root / "person/.cache/huggingface/hub" / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (snapshot / name.replace("__", ".")).write_bytes(data)
    return snapshot


def test_names_by_which_engines_fetch_a_file_of_the_hub_mean_it(ground: Ground) -> None:
    cached(ground, "org/M-GGUF", **{"M-Q4_K_M__gguf": gguf(), "M-Q8_0__gguf": gguf()})
    ground.add("one", model_path="org/M-GGUF:Q8_0")
    assert {one.name: one.recipes for one in ground.models.list()} == {"M-Q4_K_M": (), "M-Q8_0": ("one",)}


def test_what_is_being_downloaded_is_not_deleted(ground: Ground) -> None:
    snapshot = cached(ground, "org/M", config__json=b'{"model_type": "llama"}', model__safetensors=b"x")
    ground.downloads.append(Download("org-m", "org/M", "main", DownloadState.RUNNING))
    assert ground.models.deletion("org/M").refused == "it is being downloaded (org-m)"
    with pytest.raises(StudioError, match="Cancel that download"):
        ground.models.delete("M")
    ground.downloads[:] = [Download("org-m", "org/M", "main", DownloadState.DONE)]
    assert ground.models.delete("M").done
    assert not snapshot.exists()


def test_a_name_with_a_revision_means_that_one_alone(ground: Ground) -> None:
    snapshot = cached(ground, "org/M", config__json=b'{"model_type": "llama"}', model__safetensors=b"x")
    other = snapshot.with_name("1" * 40)
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"old")
    assert ground.models.show("M").about["revisions"] == "000000000000 (main), 111111111111"
    with pytest.raises(StudioError, match="has no revision 22"):
        ground.models.deletion("org/M@22")
    assert ground.models.delete("org/M@1111").frees == 3
    assert [path.name for path in snapshot.parent.iterdir()] == ["0" * 40]
    assert [one.name for one in ground.models.list()] == ["org/M"]
