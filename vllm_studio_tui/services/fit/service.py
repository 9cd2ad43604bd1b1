"""Answer whether a model fits: of a recipe, of a model with a question, of a name on the hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, Problem
from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.architecture import ModelFacts
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.fit import Fit, FitChange, FitGrid, FitQuestion, Learned
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.file_access import expanded, is_file, is_folder
from vllm_studio_tui.models.facts import UnknownModel, read_facts
from vllm_studio_tui.models.snapshots import cached_model
from vllm_studio_tui.probes.host import HostReader
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.fit.changes import changes_for
from vllm_studio_tui.services.fit.estimate import estimate, grid
from vllm_studio_tui.services.fit.machines import over_machines, split_problems
from vllm_studio_tui.services.fit.problems import elsewhere_problems, memory_problems
from vllm_studio_tui.services.fit.quantizations import next_smaller
from vllm_studio_tui.services.fit.questions import chosen_gpus, on_gpus, question_of
from vllm_studio_tui.services.published import published_facts

#: Returns what earlier starts of an engine with a model reported, made over to a question; None: nothing is known.
Lookup = Callable[[ModelFacts, FitQuestion, Backend, str], "Learned | None"]
#: Fields whose change leaves the model as it is, so that nobody needs more machines for it.
_ON_THIS_MACHINE = frozenset({"tensor_parallel_size", "max_model_len", "users", "gpu_memory_utilization"})
#: Returns what a hub says of a name.
AskHub = Callable[[str], ModelFacts]


def ask_hub(model: str) -> ModelFacts:
    """Return what the hub says of a name; see `models.hub.read_hub_facts`."""
    from vllm_studio_tui.models.hub import read_hub_facts  # it loads the HTTP client

    return read_hub_facts(model, environ=os.environ)


class FitService:
    """Whether models fit on this machine. Everything blocks.

    Args:
        gpus: Reads the GPUs.
        live: Returns the live runs: what those of a recipe hold is not held by others.
        learned: What earlier starts reported.
        ask_hub: What a hub says of a model that is not here; None: none is asked.
    """

    def __init__(
        self,
        gpus: Callable[[], GpuReport],
        live: Callable[[], list[RunView]],
        learned: Lookup | None = None,
        ask_hub: AskHub | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._gpus = gpus
        self._live = live
        self._host = HostReader().read
        self._learned = learned
        self._ask_hub = ask_hub
        self._environ = environ

    def facts(self, model: str, *, ask: bool = True) -> ModelFacts:
        """Return what is known of a model: by its files here, by what is published of it, by what a hub says.

        Args:
            ask: A hub may be asked.

        Raises:
            StudioError: Nothing is known of it; cause and advice say why.
        """
        path = expanded(model)
        if path.startswith("/") or is_file(path) or is_folder(path):
            return read_facts(path)
        found = cached_model(model, self._environ)
        if found is not None:
            return read_facts(found)
        if (known := published_facts(model)) is not None:
            return known
        if self._ask_hub is not None and ask:
            return self._ask_hub(model)
        raise UnknownModel(
            f"nothing can be said of {model}",
            cause="it is neither a path nor in the cache of the hub on this machine",
            advice=f"Download it: vllm-studio models pull {model}",
        )

    def question(self, recipe: Recipe | None = None, gpus: int = 1) -> FitQuestion:
        """Return what a recipe asks of this machine, or what a model on so many GPUs would; 0: on the processor."""
        report, host = self._gpus(), self._host()
        if recipe is None:
            return on_gpus(FitQuestion(gpus=gpus, tensor_parallel=max(1, gpus)), report, host)
        return question_of(recipe, registry.backend(recipe.backend), report, host, self._own_runs(recipe.id))

    def of_recipe(self, recipe: Recipe, *, gpus: GpuReport | None = None) -> Fit | None:
        """Return whether a recipe fits on its GPUs; None where nothing is known of its engine or of its model.

        What would not fit on GPUs that nobody else uses is measured by those: who holds them now is beside the point.
        """
        try:
            backend = registry.backend(recipe.backend)
            if backend.memory is None or not backend.names_model(recipe):
                return None
            facts = self.facts(recipe.model_path, ask=False)
        except StudioError:
            return None
        report = self._gpus() if gpus is None else gpus
        if recipe.elsewhere:  # the GPUs here are a sample: which ones it names, and who holds memory, is said there
            recipe = recipe.model_copy(update={"gpus": ()})
        question = question_of(recipe, backend, report, self._host(), self._own_runs(recipe.id))
        if recipe.elsewhere:
            question = replace(question, held=0)
        if not question.memory:
            return None
        learned = self._lookup(facts, question, backend, recipe.model_path)
        fit = estimate(facts, question, backend.memory, learned)
        if fit.per_gpu.likely > fit.alone and question.context is not None:
            return replace(estimate(facts, replace(question, held=0), backend.memory, learned), held=question.held)
        if question.context is None and not fit.fits and (recipe.max_model_len == -1 or backend.memory.shortens):
            return _shortened(fit, facts, question, backend.memory, learned)
        return fit

    def problems(self, recipe: Recipe, gpus: GpuReport | None = None) -> list[Problem]:
        """Return what stands against a launch of a recipe for want of memory; none where nothing is known."""
        report = self._gpus() if gpus is None else gpus
        split = self._split_problems(recipe)
        fit = None if split else self.of_recipe(recipe, gpus=report)
        if fit is None or fit.fits:
            return split
        backend = registry.backend(recipe.backend)
        assert backend.memory is not None
        if recipe.elsewhere:
            return [] if not fit.gpus else elsewhere_problems(fit, backend.memory)
        facts = self.facts(recipe.model_path, ask=False)
        question = question_of(recipe, backend, report, self._host(), self._own_runs(recipe.id))
        if fit.limit == fit.alone:
            question = replace(question, held=0)
        changes = changes_for(facts, question, backend.memory, gpus_here=len(report.gpus))
        changes = self._with_smaller(changes, recipe.model_path, facts, question, backend.memory)
        changes = self._with_machines(changes, facts, question, backend, backend.memory, len(report.gpus))
        return memory_problems(fit, backend.memory, changes)

    def of_model(self, model: str, question: FitQuestion, backend: str | None = None) -> Fit:
        """Return whether a model fits.

        Args:
            backend: Name of the engine; None: one that reads the model.

        Raises:
            StudioError: Nothing is known of the model or of the engine.
        """
        facts, engine, rules = self._known(model, backend)
        return estimate(facts, question, rules, self._lookup(facts, question, engine, model))

    def grid(self, model: str, question: FitQuestion, backend: str | None = None) -> FitGrid:
        """Return how long texts may be for how many at once.

        Raises:
            StudioError: Nothing is known of the model or of the engine.
        """
        facts, engine, rules = self._known(model, backend)
        return grid(facts, question, rules, self._lookup(facts, question, engine, model))

    def changes(self, model: str, question: FitQuestion, backend: str | None = None) -> list[FitChange]:
        """Return what could be changed so that it fits, or that more fits.

        Raises:
            StudioError: Nothing is known of the model or of the engine.
        """
        facts, engine, rules = self._known(model, backend)
        report = self._gpus()
        alike = chosen_gpus(report, len(report.gpus), ())
        found = changes_for(
            facts,
            question,
            rules,
            gpus_here=len(alike),
            gpu=alike[0].name if alike else "",
            learned=self._lookup(facts, question, engine, model),
        )
        found = self._with_smaller(found, model, facts, question, rules)
        return self._with_machines(found, facts, question, engine, rules, len(alike) or question.gpus)

    def _with_machines(
        self,
        changes: list[FitChange],
        facts: ModelFacts,
        question: FitQuestion,
        backend: Backend,
        rules: MemoryRules,
        gpus: int,
    ) -> list[FitChange]:
        """Return changes with more machines, where a model does not fit on all GPUs of this one."""
        here = any(one.fit is not None and one.fit.fits and _ON_THIS_MACHINE & one.fields.keys() for one in changes)
        if here or estimate(facts, question, rules).fits:
            return changes
        more = over_machines(facts, question, backend, rules, gpus)
        return changes if more is None else [*changes, more]

    def _split_problems(self, recipe: Recipe) -> list[Problem]:
        try:
            backend = registry.backend(recipe.backend)
            if backend.memory is None or not backend.names_model(recipe):
                return []
            return list(split_problems(self.facts(recipe.model_path, ask=False), recipe, backend, backend.memory))
        except StudioError:
            return []

    def _with_smaller(
        self,
        changes: list[FitChange],
        model: str,
        facts: ModelFacts,
        question: FitQuestion,
        rules: MemoryRules,
    ) -> list[FitChange]:
        """Return changes with the next smaller quantization that is here, where a model does not fit."""
        if estimate(facts, question, rules).fits:
            return changes
        path = cached_model(model, self._environ) or Path(expanded(model))
        smaller = next_smaller(path, facts, question, rules)
        return changes if smaller is None else [*changes, smaller]

    def engine_for(self, facts: ModelFacts) -> Backend:
        """Return an engine that reads a model: the first in the order of the registry that has rules of memory."""
        wanted = "gguf" if facts.source == "gguf" else "safetensors"
        for one in registry.backends().values():
            if one.memory is not None and one.weights == wanted:
                return one
        return registry.backend(str(Recipe.model_fields["backend"].default))

    def _own_runs(self, recipe_id: str) -> list[str]:
        return [one.run_id for one in self._live() if one.recipe_id == recipe_id]

    def _known(self, model: str, backend: str | None) -> tuple[ModelFacts, Backend, MemoryRules]:
        facts = self.facts(model)
        engine = self.engine_for(facts) if backend is None else registry.backend(backend)
        if engine.memory is None:
            raise UsageError(
                f"nothing is known of the memory of {engine.title}",
                advice="Name another engine, or none: --backend NAME.",
            )
        return facts, engine, engine.memory

    def _lookup(self, facts: ModelFacts, question: FitQuestion, backend: Backend, model: str) -> Learned | None:
        return None if self._learned is None else self._learned(facts, question, backend, model)


def _shortened(fit: Fit, facts: ModelFacts, question: FitQuestion, rules: MemoryRules, learned: Learned | None) -> Fit:
    """Return the fit of an engine that shortens a context which nobody asked for until it fits."""
    if fit.max_context < 1:
        return fit
    short = estimate(facts, replace(question, context=fit.max_context), rules, learned)
    note = f"no context is named: the engine shortens it, to about {fit.max_context} tokens"
    return replace(short, notes=(*short.notes, note))
