"""Launching, switching and stopping, and finding who answers a chat. Blocking: a screen calls it in a thread."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, LaunchContext, Problem
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import HopelessLaunch, LaunchRefused, StudioError, UsageError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_imports import is_loopback
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.paths import Places, locked
from vllm_studio_tui.models.demo.model import resolve_model
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.runs.make_spec import resolve
from vllm_studio_tui.runs.port_choice import likely_port, next_port
from vllm_studio_tui.services.launching.disk_room import disk_room
from vllm_studio_tui.services.launching.elsewhere import elsewhere_problems, follow_spec
from vllm_studio_tui.services.launching.gpu_claims import by_index, claim_problems, claimed_gpus, refuse_missing_gpus
from vllm_studio_tui.services.launching.gpu_room import gpu_pids, memory_back
from vllm_studio_tui.services.launching.port_claims import port_problems
from vllm_studio_tui.services.launching.preflight import guarded, problems_of, refuse, within
from vllm_studio_tui.services.launching.preview import Preview, preview
from vllm_studio_tui.services.launching.preview_elsewhere import preview_elsewhere
from vllm_studio_tui.services.launching.targets import Targets
from vllm_studio_tui.services.recipes.recipes import Recipes

if TYPE_CHECKING:  # a launch needs none of these: where they are needed they are loaded
    from vllm_studio_tui.domain.gpus import GpuReport
    from vllm_studio_tui.services.launching.upkeep import Upkeep

#: Seconds that a launch waits for a switch that is under way.
SWITCH_WAIT = 60.0


class Launcher(Targets):
    """What a person can do with runs.

    Attributes:
        upkeep_error: What kept the last launch, switch or stop from bringing usage up to date; None where nothing did.

    Args:
        upkeep: Folds and prunes after each of them; None: nobody does.
        number: Returns which kept form of a recipe one is; None: runs are not told.
        memory: Returns what stands against a launch for want of memory, by the GPUs as they were seen or are now.
    """

    def __init__(
        self,
        places: Places,
        settings: Settings,
        recipes: Callable[[], Recipes],
        upkeep: Upkeep | None = None,
        number: Callable[[Recipe], int | None] | None = None,
        memory: Callable[[Recipe, GpuReport | None], list[Problem]] | None = None,
    ) -> None:
        super().__init__(places, recipes)
        self._memory = memory
        self._number = number
        self._settings = settings
        self._upkeep = upkeep
        self.upkeep_error: StudioError | None = None

    # --- before a launch --------------------------------------------------------------------------------

    def port_of(self, recipe: Recipe, runs: Iterable[read.RunView]) -> int:
        """Return the port on which a recipe would start now."""
        return recipe.port or next_port(runs, recipe.id, recipe.host, self._settings.inference_port)

    def preview(self, recipe: Recipe, *, port: int | None = None, missing_ok: bool = False) -> Preview:
        """Return the command that `launch` would start.

        Args:
            port: None: the recipe's, or the first that is looked at.
            missing_ok: Show the command also where its program is not installed here, by the program's bare name, with
                a note.
        """
        backend = self._launchable(recipe)
        context = self._context(recipe, port or recipe.port or self._settings.inference_port)
        usable = self._ready_to_use(recipe)
        if usable.elsewhere:
            return preview_elsewhere(usable, backend, context)
        return preview(usable, backend, context, missing_ok=missing_ok)

    def check(
        self, recipe: Recipe, gpus: GpuReport | None = None, runs: Sequence[read.RunView] | None = None
    ) -> list[Problem]:
        """Return what stands against a launch, and what a person should know of it.

        Args:
            gpus: The GPUs as they were just seen; None: they are read now.
            runs: The runs, likewise; those that have ended do not count.
        """
        live = read.live_runs(self._places) if runs is None else [one for one in runs if one.live]
        try:
            recipe = self._ready_to_use(recipe)
        except StudioError as error:
            return [Problem("model_path", "error", error.title, error.advice)]
        backend = registry.backend(recipe.backend)
        context = self._context(recipe, recipe.port or self._settings.inference_port)
        problems = self._problems(recipe, backend, context, gpus)
        if recipe.elsewhere:
            problems += elsewhere_problems(recipe, self._settings, self._revision_number)
            return sorted([*problems, *port_problems(recipe, live)], key=lambda one: one.severity != "error")
        problems += disk_room(recipe, os.environ)
        if backend.needs_launch:
            problems += port_problems(recipe, live)
        wanted = claimed_gpus(recipe, backend, context)
        if gpus is None and (wanted or recipe.gpus):
            from vllm_studio_tui.probes.gpu.provider import read_once

            gpus = read_once()
        return problems + claim_problems(recipe, wanted, gpus, live)

    def warnings(self, recipe: Recipe) -> list[str]:
        """Return warnings for a launch: that other hosts can use the engine, and read what it is asked."""
        if is_loopback(recipe.host) or recipe.api_key or not registry.backend(recipe.backend).needs_launch:
            return []
        return [
            f"{recipe.id} listens on {recipe.host}: other hosts can reach it, and there is no api_key. "
            "Set host to 127.0.0.1, or api_key to env:NAME or file:PATH."
        ]

    def refuse_hopeless(self, recipe: Recipe) -> None:
        """Refuse what its backend finds certain to fail, before anything is started.

        Raises:
            HopelessLaunch: The model is not there or not whole, a flag is not known to the installed engine, ..
        """
        backend = registry.backend(recipe.backend)
        context = self._context(recipe, recipe.port or self._settings.inference_port)
        refuse(recipe, self._problems(recipe, backend, context))

    def _problems(
        self, recipe: Recipe, backend: Backend, context: LaunchContext, gpus: GpuReport | None = None
    ) -> list[Problem]:
        """Return what its backend holds against a launch, and what memory does."""
        found = problems_of(self._places.cache, recipe, backend, context)
        if self._memory is None or any(one.severity == "error" for one in found):
            return found
        memory = self._memory
        return found + within(lambda: memory(recipe, gpus), "the memory that it needs could not be reckoned")

    def refuse_impossible(self, recipe: Recipe) -> None:
        """Refuse what `launch` refuses whatever else runs, so that nothing is stopped for it.

        Raises:
            StudioError: What `launch` raises: it makes no command, its model is not there, GPUs are missing, ..
        """
        backend = self._launchable(recipe)
        usable = self._ready_to_use(recipe)
        self.refuse_hopeless(usable)
        if usable.gpus != ("auto",) and not usable.elsewhere:  # which those are is only known once there is room
            context = self._context(usable, usable.port or self._settings.inference_port)
            run_id = control.new_run_id(usable.id)
            spec = guarded(backend, lambda: resolve(usable, backend, context, run_id, environ=os.environ))
            refuse_missing_gpus(usable, spec.gpus)

    # --- launching --------------------------------------------------------------------------------------

    def launch(
        self,
        recipe: Recipe,
        *,
        port: int | None = None,
        force: bool = False,
        share_gpus: bool = False,
        unchecked: bool = False,
        started_by: str = "",
    ) -> read.RunView:
        """Start a run of the recipe; while another launch or switch is choosing, after it.

        Args:
            port: Instead of the recipe's; exactly this one or a refusal.
            force: Stop the runs that hold this recipe's port or GPUs, and an earlier run of it, first.
            share_gpus: Agree to GPUs that another run claims.
            unchecked: Launch although it is certain to fail, as far as can be told.
            started_by: Who wants it, see `RunSpec`.

        Raises:
            HopelessLaunch: See `refuse_hopeless`.
            LaunchRefused: See `runs.control.launch`.
        """
        with self._turn(SWITCH_WAIT):
            run = self._launch(recipe, port, force, share_gpus, unchecked, started_by)
        return self._spawned(run)

    def _turn(self, timeout: float) -> contextlib.ExitStack:
        """One launch or switch at a time: nobody takes what another has just freed.

        Raises:
            LaunchRefused: Another one took longer than `timeout` seconds, or nothing can be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self._places.state / "switch.lock", timeout=timeout))
            except TimeoutError as error:
                words = "another launch or switch is under way"
                raise LaunchRefused(words, cause=str(error), advice="Try again later.", passing=True) from None
            except OSError as error:
                raise control.cannot_write(error, self._places) from error
            return stack.pop_all()

    def _launch(
        self,
        recipe: Recipe,
        port: int | None,
        force: bool = False,
        share_gpus: bool = False,
        unchecked: bool = False,
        started_by: str = "",
    ) -> read.RunView:
        """Launch while nobody else does.

        All runs are looked at once, and the spec, which holds the command, is made once: again only where the port
        turns out to be another than the live runs let expect.
        """
        backend = self._launchable(recipe)
        usable = self._ready_to_use(recipe)
        wanted = port if port is not None else recipe.port
        run_id = control.new_run_id(recipe.id)
        runs = self._settled_runs()
        expected = wanted or likely_port(runs, self._settings.inference_port)

        number = self._revision_number(recipe)

        def build(chosen: int) -> RunSpec:
            context = self._context(recipe, chosen)
            if usable.elsewhere:
                spec = follow_spec(
                    recipe, usable, backend, context, self._places.runs / run_id, self._settings, self._places,
                    self._revision_number, unchecked=unchecked,
                )  # fmt: skip
            else:
                spec = guarded(backend, lambda: resolve(usable, backend, context, run_id, environ=os.environ))
            return replace(spec, gpus=by_index(spec.gpus), revision_number=number, started_by=started_by)

        if not unchecked:
            try:
                self.refuse_hopeless(usable)
            except HopelessLaunch as error:
                error.certain = not self._makes_command(usable)
                raise
        # What cannot make a command is refused before anything is stopped or created.
        planned = build(expected) if usable.gpus != ("auto",) or usable.elsewhere else None
        if planned is not None and not unchecked:
            refuse_missing_gpus(usable, planned.gpus)
        if force:
            self._make_room(recipe.id, wanted, planned.gpus if planned is not None else (), runs)
            runs = control.still_live(runs)
        if planned is None:
            usable = self._with_free_gpus(usable, runs)
            planned = build(expected)
        spec = planned
        return control.launch(
            self._places,
            lambda _, chosen: spec if chosen == spec.port else build(chosen),
            recipe.id,
            host=spec.host,
            port=wanted,
            first_port=self._settings.inference_port,
            gpus=spec.gpus,
            share_gpus=share_gpus,
            again=port is not None,
            scope=self._settings.systemd_scope,
            run_id=run_id,
            runs=runs,
        )

    def _makes_command(self, recipe: Recipe) -> bool:
        """Return whether there is anything to start."""
        try:
            self.preview(recipe)
        except StudioError:
            return False
        return True

    def _revision_number(self, recipe: Recipe) -> int | None:
        """Return which kept form of the recipe this is. A launch does not fail where that cannot be told."""
        try:
            return self._number(recipe) if self._number is not None else None
        except StudioError:
            return None

    def _settled_runs(self) -> list[read.RunView]:
        """Give every run that lost its keeper a new one, and return the runs that live."""
        runs = read.all_runs(self._places)
        settled = {one.run_id: one for one in control.settle(self._places, runs)}
        return [now for one in runs if (now := settled.get(one.run_id, one)).live]

    def switch(self, recipe: Recipe, *, port: int | None = None) -> read.RunView:
        """Stop what holds this recipe's port or GPUs, wait until their memory is back, then launch.

        A recipe without a port of its own takes over the inference port, so that clients keep their address.
        """
        with self._turn(10.0):
            wanted = port or recipe.port or self._settings.inference_port
            run = self._launch(recipe, wanted, force=True)
        return self._spawned(run)

    def restore(self) -> list[read.RunView]:
        """Launch again what a reboot of the host, or the loss of its keeper, ended."""
        lost = {}
        for one in read.all_runs(self._places):
            lost[one.recipe_id] = one  # the latest run of each recipe
        launched = []
        for one in lost.values():
            if one.status.final and one.status.reason in ("host_rebooted", "keeper_lost") and not one.dismissed:
                recipe = self._recipes().get(one.recipe_id)
                launched.append(self.launch(recipe))
                control.dismiss(one)
        return launched

    def stop(self, run: read.RunView, *, force: bool = False) -> read.RunView:
        """Stop a run; one that has failed is dismissed.

        Processes and port are its keeper's business. Here its GPUs are looked at too: what of its memory does not come
        back is named in the title of the run that is returned.
        """
        pids = gpu_pids([run]) if run.live else set()
        ended = control.stop(run, force=force)
        control.dismiss(ended)
        held = memory_back(pids)
        self._keep_up()
        if not held:
            return ended
        words = ", ".join(str(pid) for pid in sorted(held))
        title = f"{ended.status.title or ended.state}, but process {words} still holds memory of its GPUs"
        return replace(ended, status=replace(ended.status, title=title))

    def _make_room(self, recipe_id: str, port: int | None, gpus: Sequence[str], runs: Iterable[read.RunView]) -> None:
        """Stop the runs of this recipe, and those that hold the port or one of the GPUs."""
        holders = [
            one
            for one in runs
            if one.recipe_id == recipe_id
            or (port is not None and one.port == port)
            or (one.spec is not None and set(gpus) & set(one.spec.gpus))
        ]
        pids = gpu_pids(holders)
        for one in holders:
            control.stop(one)
        memory_back(pids)

    def _with_free_gpus(self, recipe: Recipe, runs: Iterable[read.RunView]) -> Recipe:
        from vllm_studio_tui.probes.gpu.provider import read_once
        from vllm_studio_tui.services.launching.gpu_choice import free_gpus

        chosen = free_gpus(read_once(), runs, recipe.gpu_count)
        return recipe.model_copy(update={"gpus": chosen})

    def _spawned(self, run: read.RunView) -> read.RunView:
        """Wait for the moment in which the engine exists, so that a missing program is said at once."""
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            run = read.view(run.folder)
            if run.status.final or run.status.pid is not None:
                break
            time.sleep(0.02)
        self._keep_up()
        return run

    def _keep_up(self) -> None:
        self.upkeep_error = self._upkeep.fold_and_prune() if self._upkeep is not None else None

    def _launchable(self, recipe: Recipe) -> Backend:
        backend = registry.backend(recipe.backend)
        if not backend.needs_launch:
            raise UsageError(
                f"{recipe.id} needs no launch",
                cause=f"It is an external server at {mask_text(recipe.base_url or '')}.",
                advice=f"Chat with it: vllm-studio chat --recipe {recipe.id}",
            )
        return backend

    def _ready_to_use(self, recipe: Recipe) -> Recipe:
        path = resolve_model(self._places, recipe.model_path)
        return recipe if path == recipe.model_path else recipe.model_copy(update={"model_path": path})

    def _context(self, recipe: Recipe, port: int) -> LaunchContext:
        return LaunchContext(self._settings, recipe.host, port)
