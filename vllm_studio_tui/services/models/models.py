"""The models on this machine: found in every place, with what their headers say and who uses them. Blocking."""

from __future__ import annotations

import builtins
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.model import Deletion, Kind, Model, ModelDetail, ModelFile, ModelRun, ModelScan, Source
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.demo.model import DEMO, demo_model_path
from vllm_studio_tui.models.inventory.headers import HeaderStore
from vllm_studio_tui.models.inventory.hub import repo_name
from vllm_studio_tui.models.inventory.looking import Look, look_at
from vllm_studio_tui.models.inventory.places import Place, places_of
from vllm_studio_tui.models.inventory.reading import model_of
from vllm_studio_tui.models.inventory.sharing import shared_files
from vllm_studio_tui.services.models.deleting import carry_out_deletion, plan_deletion
from vllm_studio_tui.services.models.uses import Uses
from vllm_studio_tui.store.conversion import from_json

if TYPE_CHECKING:
    from vllm_studio_tui.domain.download import Download
    from vllm_studio_tui.models.inventory.removal import Removal
    from vllm_studio_tui.runs.read import RunView

#: Seconds for which a look is good enough.
GOOD_FOR = 20.0
#: Launches of the past that are looked through.
LAUNCHES = 500

RecipeList = Callable[[], list[tuple[str, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Launched:
    """A launch, as the database or its directory has it."""

    run_id: str
    recipe_id: str | None
    state: str | None
    started: float | None
    recipe: Mapping[str, Any]
    live: bool


class Models:
    """The models of this machine.

    Args:
        folders: Those of the settings.
        recipes: All recipes, by id, as they are stored.
        runs: All runs on the disk.
        launches: Rows of launches of the past, the latest first; at most so many.
        downloads: Those that there are.
    """

    def __init__(
        self,
        places: Places,
        folders: Callable[[], tuple[Path, ...]],
        recipes: RecipeList,
        runs: Callable[[], builtins.list[RunView]],
        launches: Callable[[int], builtins.list[dict[str, Any]]],
        downloads: Callable[[], builtins.list[Download]] = list,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._places = places
        self._folders = folders
        self._recipes = recipes
        self._runs = runs
        self._launches = launches
        self._downloads = downloads
        self._environ = environ
        self._headers = HeaderStore(places.cache / "models.json")
        self._lock = threading.Lock()
        self._look: Look | None = None
        self._looked = 0.0
        self._known: dict[str, Model] = {}

    # --- what there is ----------------------------------------------------------------------------------

    def list(self, *, fresh: bool = False) -> builtins.list[Model]:
        """Return the models, by name.

        Args:
            fresh: Look at the disk now; else what was seen in the last seconds is good enough.
        """
        return self._joined(self._found(fresh=fresh))

    def scan(self, folder: str | None = None) -> ModelScan:
        """Look anew, at every place or below one folder; say what each held and what could not be read.

        Raises:
            UsageError: There is no such folder.
        """
        began = time.monotonic()
        if folder is None:
            look = self._found(fresh=True)
        else:
            path = expanded(folder).rstrip("/") or "/"
            if not os.path.isdir(path):  # noqa: PTH112, RUF100
                raise UsageError(f"{path} is no folder", advice="Name a folder, or none to look everywhere.")
            look = look_at([Place(os.path.abspath(path), Source.FOLDER, "asked for")])  # noqa: PTH100, RUF100
        return ModelScan(tuple(self._joined(look)), look.places, time.monotonic() - began)

    def show(self, name: str) -> ModelDetail:
        """Return all that is known of a model, by its name or path.

        Raises:
            NotFound: There is none.
            UsageError: Several are called so.
        """
        look = self._found(fresh=False)  # who moves through a list asks for one after the other
        model = pick(self._joined(look), name)
        found = next(one for one in look.models if one.path == model.path)
        uses = self._uses(look)
        runs = [one for one in self._launched() if model.path in uses.of_recipe(one.recipe, by_name=False)]
        shared = shared_files(found, [one for one in look.models if one is not found])
        return ModelDetail(
            model,
            tuple(ModelFile(one.path, one.bytes, one.role, one.path in shared) for one in found.files),
            tuple(ModelRun(one.run_id, one.recipe_id, one.state, one.started, one.live) for one in runs[:10]),
            tuple(_suggestions(model)) if model.runnable else (),
            {**self._headers.of(found).about, **found.about},
            tuple(_notes(model)),
        )

    # --- deleting ---------------------------------------------------------------------------------------

    def deletion(self, name: str) -> Deletion:
        """Return what deleting a model would do, and what speaks against it.

        Args:
            name: Its name or path; of a model in the hub's cache, `NAME@REVISION` is that revision alone.

        Raises:
            NotFound: There is none.
            StudioError: What it would do cannot be told.
        """
        return self._deletion(name)[0]

    def delete(self, name: str, *, of_others: bool = False) -> Deletion:
        """Delete a model; there is no way back.

        Args:
            of_others: Also from the store of another program, such as Ollama.

        Raises:
            NotFound: There is none.
            StudioError: A run has it loaded, it lies in the store of another program, or it could not be deleted.
        """
        deletion, removal = self._deletion(name)
        try:
            return carry_out_deletion(deletion, removal, of_others=of_others)
        finally:
            self._look = None

    def _deletion(self, name: str) -> tuple[Deletion, Removal]:
        look = self._found(fresh=True)
        models = self._joined(look)
        name, _, revision = (
            name.partition("@") if not any(name in (one.path, one.name) for one in models) else (name, "", "")
        )
        model = pick(models, name)
        found = next(one for one in look.models if one.path == model.path)
        uses = self._uses(look)
        runs = [
            one.run_id
            for one in self._runs()
            if one.live
            and one.spec is not None
            and model.path in uses.of_recipe({**one.spec.recipe, "argv": list(one.spec.argv)})
        ]
        others = [one for one in look.models if one.path != model.path]
        repo = repo_name(found.repo) if found.source == Source.HUB else ""
        coming = [one.id for one in self._downloads() if one.state.live and one.repo == repo]
        return plan_deletion(model, found, others, runs=runs, downloads=coming, revision=revision)

    # --- looking ----------------------------------------------------------------------------------------

    def _found(self, *, fresh: bool) -> Look:
        with self._lock:
            if fresh or self._look is None or time.monotonic() - self._looked > GOOD_FOR:
                self._look = look_at(self._all_places())
                self._looked = time.monotonic()
            return self._look

    def _all_places(self) -> builtins.list[Place]:
        demo = demo_model_path(self._places)
        ours = [Place(str(self._places.data / "models"), Source.FOLDER, "the studio's own")]
        if demo is not None:
            ours.append(Place(str(demo.parent), Source.FOLDER, "the demo's model lies there"))
        beside = [str(data.get("model_path") or "") for _, data in self._recipes()]
        return places_of(
            self._environ,
            folders=self._folders(),
            ours=ours,
            beside=[one for one in beside if one.startswith(("/", "~"))],
        )

    def _uses(self, look: Look) -> Uses:
        demo = demo_model_path(self._places)
        return Uses(look.models, {DEMO: str(demo)} if demo is not None else {})

    def _joined(self, look: Look) -> builtins.list[Model]:
        uses = self._uses(look)
        users: dict[str, list[str]] = {}
        for recipe_id, data in self._recipes():
            for path in uses.of_recipe(data):
                users.setdefault(path, []).append(recipe_id)
        last: dict[str, float] = {}
        for one in self._launched():
            for path in uses.of_recipe(one.recipe, by_name=False):
                last[path] = max(last.get(path, 0.0), one.started or 0.0)
        demo = demo_model_path(self._places)
        with self._lock:
            self._headers.begin()
            models = [
                model_of(one, self._headers.of(one), demo=str(demo) if demo is not None else "") for one in look.models
            ]
            self._headers.save()
        return [
            replace(one, recipes=tuple(users.get(one.path, ())), last_run=last.get(one.path) or None)
            for one in models
            if one is not None
        ]

    def _launched(self) -> builtins.list[Launched]:
        """Return the launches that are known, the latest first."""
        found = {
            row["run_id"]: Launched(
                row["run_id"],
                row["recipe_id"],
                row["state"],
                row["created_at"],
                from_json(row["recipe"], dict),
                live=False,
            )
            for row in self._launches(LAUNCHES)
        }
        for run in self._runs():
            if run.spec is not None:
                found[run.run_id] = Launched(
                    run.run_id, run.recipe_id, str(run.state), run.spec.created_at, run.spec.recipe, run.live
                )
        return sorted(found.values(), key=lambda one: one.started or 0.0, reverse=True)


def pick(models: builtins.list[Model], name: str) -> Model:
    """Return the model that a path or name means, also the last part of its name.

    Raises:
        NotFound: There is none.
        UsageError: Several are called so.
    """
    wanted = name.rstrip("/")
    path = expanded(wanted)
    low = wanted.lower()
    tests: tuple[Callable[[Model], bool], ...] = (
        lambda one: one.path in (wanted, path),
        lambda one: one.name == wanted,
        lambda one: one.name.lower() == low or one.name.lower() == f"{low}:latest",
        lambda one: one.name.lower().rpartition("/")[2] == low or one.path.lower().rpartition("/")[2] == low,
    )
    for test in tests:
        found = [one for one in models if test(one)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{len(found)} models are called {name[:200]}",
                cause=", ".join(one.path for one in found[:10]),
                advice="Name one by its path.",
            )
    close = [one.name for one in models if low in one.name.lower()][:5]
    raise NotFound(
        f"no model called {name[:200]}",
        cause=f"There are: {', '.join(close)}." if close else "",
        advice="See `vllm-studio models list`.",
    )


def _suggestions(model: Model) -> builtins.list[tuple[str, str, str]]:
    """Return what a recipe of this model needs, by its family."""
    from vllm_studio_tui.backends.common.suggestions import suggestions
    from vllm_studio_tui.domain.recipe_reading import parse_recipe

    try:
        recipe, _ = parse_recipe({"id": "model", "name": model.name, "model_path": model.path})
    except UsageError:
        return []
    return [
        (one.field, "true" if one.value is True else str(one.value), one.why)
        for one in suggestions(recipe)
    ]  # fmt: skip


def _notes(model: Model) -> builtins.list[str]:
    notes = []
    if model.kind == Kind.ADAPTER:
        notes.append("an adapter: it is used with its base model, in `lora_modules` of a recipe")
    if model.kind == Kind.PYTORCH:
        notes.append("its weights are pickled: loading them can run code, so take them from people you trust alone")
    if model.kind == Kind.MLX:
        notes.append("for Apple's MLX: engines of this machine do not load it")
    if model.source == Source.OLLAMA and model.kind == Kind.GGUF:
        notes.append("llama.cpp loads this file as it is; Ollama's template and parameters are not in it")
    return notes
