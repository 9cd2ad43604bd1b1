"""Fill the simulated home, and start what runs in it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.keeper.engine import environment
from vllm_studio_tui.keeper.files import LOG, StateFile
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.kit.process import start_ticks
from vllm_studio_tui.models.pulling.simulated import begin_simulated
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.runs.ledger import fold_all
from vllm_studio_tui.runs.port_choice import choose_port
from vllm_studio_tui.services.simulated_home import chats
from vllm_studio_tui.services.simulated_home.benchmarks import write_benchmarks
from vllm_studio_tui.services.simulated_home.chats import PastChats
from vllm_studio_tui.services.simulated_home.plan import FORMS, LOADED, RUNS, SERVES, Form, mark_of
from vllm_studio_tui.services.simulated_home.run_files import RunFiles, older, spec_of
from vllm_studio_tui.services.watching.sample_keeper import samples_file
from vllm_studio_tui.simulation import gpus, holders, model_files, programs
from vllm_studio_tui.simulation.recipes import LOADING, READY, simulated_recipes
from vllm_studio_tui.store.conversion import to_json
from vllm_studio_tui.store.runs import RunRows

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.services.protocols import RecipesApi
    from vllm_studio_tui.store.database import Database

#: A past older than this is made anew.
STALE = 86_400.0


def install_engines(places: Places) -> None:
    """Put the simulated engines there, and write where they are into the settings that do not say it."""
    from vllm_studio_tui.config.settings import save_setting
    from vllm_studio_tui.config.settings_file import read_file

    made = programs.install(places.data / "engines")
    there = read_file(places.settings_file, lambda _key, _where: None)
    for engine, program in made.items():
        if (name := registry.backend(engine).program_setting) not in there:
            save_setting(places, name, str(program))


def prepare(places: Places) -> None:
    """Put the simulated engines there, and what looks like the models of the simulation."""
    install_engines(places)
    model_files.write_models(hub(places))
    for data in simulated_recipes():  # nothing is to be fetched, and nobody warned of it
        blobs = hub(places) / f"models--{data['model_path'].replace('/', '--')}" / "blobs"
        private_dir(blobs)
        (blobs / "simulated").touch()


def hub(places: Places) -> Path:
    """Return where the models of the simulation seem to be."""
    return places.cache / "hub"


class SimulatedHome:
    """The home of the simulation; `prepare` comes first."""

    def __init__(self, places: Places, settings: Settings, db: Database, recipes: RecipesApi) -> None:
        self._places, self._settings, self._db, self._recipes = places, settings, db, recipes
        self._mark = mark_of(places)

    def open(self) -> read.RunView:
        """Fill the home where that is due, start what is to run, and return the run that serves."""
        now = time.time()
        runs = read.all_runs(self._places)
        live = {one.recipe_id: one for one in runs if one.live}
        made_at = self._made_at()
        past: list[RunFiles] = []
        if not live and (self._is_empty(runs) if made_at is None else now - made_at > STALE):
            past = self._fill(now, runs)
        else:
            self._keep_recipes(now, past=False)
        loads = self._recipes.get(LOADING)
        seconds = RunFiles(self._places, self._spec(loads, now, 1), loads, loads.backend, now).start.seconds()
        for recipe_id, ago in ((READY, SERVES * 3600), (LOADING, LOADED * seconds)):
            if recipe_id not in live:
                # Nothing is made up in a home with real data.
                began = now if self._made_at() is None else now - ago
                files = self._go_on(self._recipes.get(recipe_id), began, now, [*live.values()])
                live[recipe_id] = read.view(files.folder)
                past.append(files)
        self._coming()
        if self._made_at() != made_at:
            PastChats(self._db, past).write(now)
            write_benchmarks(self._db, now)
        return live[READY]

    # --- what is there ----------------------------------------------------------------------------------

    def _made_at(self) -> float | None:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return float(json.loads(self._mark.read_bytes())["made_at"])
        return None

    def _is_empty(self, runs: Sequence[read.RunView]) -> bool:
        """Return whether nobody has kept anything here yet."""
        tables = ("recipes", "chat_sessions", "requests", "runs")
        kept = any(self._db.row(f"SELECT 1 FROM {one} LIMIT 1") is not None for one in tables)  # noqa: RUF100, S608
        return not kept and not runs

    # --- the past ---------------------------------------------------------------------------------------

    def _fill(self, now: float, before: Sequence[read.RunView]) -> list[RunFiles]:
        """Make the past anew, all but the chats; return its runs."""
        self._forget(before)
        numbers = self._keep_recipes(now, past=True)
        runs = [self._past(one, now, numbers) for one in RUNS]
        for one in runs:
            one.make()
        gpus.HOLDERS.forget()
        for one in runs:
            one.write_past()
        fold_all(self._places, RunRows(self._db))
        private_dir(self._mark.parent)
        write_atomic(self._mark, json.dumps({"made_at": now}).encode())
        return runs

    def _forget(self, runs: Sequence[read.RunView]) -> None:
        """Delete the past that was made before: every run here is simulated."""
        for run in runs:
            shutil.rmtree(run.folder, ignore_errors=True)
        shutil.rmtree(holders.folder(), ignore_errors=True)
        for ending in ("", "-wal", "-shm"):  # the month anew is written by who first watches: `month`
            samples = samples_file(self._places)
            samples.with_name(f"{samples.name}{ending}").unlink(missing_ok=True)
        with self._db.write() as tables:
            for table in ("runs", "run_readings", "run_gpus", "gpu_energy", "requests", "recipe_revisions"):
                tables.execute(f"DELETE FROM {table}")  # noqa: RUF100, S608
            for chat in chats.made():
                tables.execute("DELETE FROM chat_sessions WHERE id = ? OR parent_id = ?", (chat, chat))

    def _keep_recipes(self, now: float, *, past: bool) -> dict[tuple[str, int], int]:
        """Keep the recipes that are not there; with their `past`, return the number of each form's revision."""
        numbers: dict[tuple[str, int], int] = {}
        for data in simulated_recipes():
            recipe, _ = parse_recipe(data)
            if not past:
                with contextlib.suppress(UsageError):  # it is there, as the person has it
                    self._recipes.create(recipe)
                continue
            forms = FORMS.get(recipe.id, (Form(20 * 24.0, "new"),))
            for place, form in enumerate(forms):
                numbers[recipe.id, place] = place + 1
                self._keep_form(older(recipe, form.without), place + 1, now - form.ago * 3600, form.reason)
        return numbers

    def _keep_form(self, recipe: Recipe, number: int, at: float, reason: str) -> None:
        text = to_json(recipe_to_data(recipe))
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
        with self._db.write() as tables:
            tables.execute(
                """INSERT INTO recipes (id, data, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)
                ON CONFLICT (id) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at""",
                (recipe.id, text, moment),
            )
            tables.execute(
                "INSERT INTO recipe_revisions (recipe_id, number, at, reason, data, settled) VALUES (?, ?, ?, ?, ?, 1)",
                (recipe.id, number, at, reason, text),
            )

    def _past(self, one: Any, now: float, numbers: dict[tuple[str, int], int]) -> RunFiles:
        forms = FORMS.get(one.recipe, (Form(20 * 24.0, "new"),))
        recipe = older(self._recipes.get(one.recipe), forms[one.form].without)
        began = now - one.ago * 3600
        spec = self._spec(recipe, began, numbers[one.recipe, one.form], one.version)
        return RunFiles(self._places, spec, recipe, recipe.backend, began, began + one.hours * 3600, one.fails)

    def _spec(self, recipe: Recipe, began: float, number: int | None, version: str = "", port: int = 0) -> Any:
        port = port or self._settings.inference_port
        return spec_of(self._places, self._settings, recipe, began, port, number=number, version=version)

    def _coming(self) -> None:
        """Have a model come, where it neither is there nor comes already."""
        root, cache = self._places.downloads, hub(self._places)
        folder = cache / f"models--{model_files.COMING.replace('/', '--')}" / "snapshots"
        with contextlib.suppress(OSError):
            if not folder.exists() and not (root.is_dir() and any(one.is_dir() for one in root.iterdir())):
                begin_simulated(root, cache)

    # --- the present ------------------------------------------------------------------------------------

    def _go_on(self, recipe: Recipe, began: float, now: float, live: Sequence[read.RunView]) -> RunFiles:
        """Start an engine as if it had begun in the past, after what held its GPUs before, and give it a keeper."""
        ended = [one.ended or now for one in holders.Holders().all() if set(map(str, one.gpus)) & set(recipe.gpus)]
        began = min(now, max([began, *(one + 60.0 for one in ended)]))
        with choose_port(live, recipe.host, None, self._settings.inference_port) as held:
            port = held.getsockname()[1]
        number = self._recipes.number(recipe)
        files = RunFiles(self._places, self._spec(recipe, began, number, port=port), recipe, recipe.backend, began)
        files.make(held=False)
        pid = _spawn(files, began)
        start = start_ticks(pid)
        holders.save(replace(files.holder, ended=None, pid=pid, start=start))
        gpus.HOLDERS.forget()
        state = files.state()
        if state.ready_at is not None and state.ready_at > now:
            marks = {name: at for name, at in state.marks.items() if at <= now - began}
            state.state, state.ready_at, state.stage, state.marks = State.LOADING, None, None, marks
        state.pid, state.pid_start = pid, start
        state.seq = files.write_ledger([*files.ledger(now, pid=pid, pid_start=start)])
        StateFile(files.folder).write(state)
        control.start_keeper(files.folder, adopt=True)
        return files


def _spawn(files: RunFiles, began: float) -> int:
    """Start the engine of a run, as nobody's child; return its process number."""
    environ = environment(files.spec, {**os.environ, programs.SINCE: repr(began)})
    script = f'setsid "$@" >> {shlex.quote(str(files.folder / LOG))} 2>&1 & echo $!'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *files.spec.argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environ,
        start_new_session=True,
        check=True,
    )
    return int(done.stdout)
