"""Makes a recipe from a model and what a person wishes, on this machine, and says why it is as it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.suggestions import suggestions
from vllm_studio_tui.domain.creation import Creation, Glance, StarterModel, Suggested, Wishes
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.fit import Fit, FitQuestion
from vllm_studio_tui.domain.recipe_reading import parse_recipe, slug
from vllm_studio_tui.services.creating.checks import checks_of
from vllm_studio_tui.services.creating.engines import NOT_INSTALLED, engine_choices
from vllm_studio_tui.services.creating.gpu_plan import GpuPlan, counts_of, plan_gpus
from vllm_studio_tui.services.creating.model_card import card_of
from vllm_studio_tui.services.recipes.starting import default_engine, free_id

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Backend
    from vllm_studio_tui.domain.architecture import ModelFacts
    from vllm_studio_tui.domain.creation import EngineChoice, ModelCard
    from vllm_studio_tui.domain.gpus import GpuReport
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.recipes.starting import EngineHere


T = TypeVar("T")
#: Seconds after which a hub that did not answer is asked again.
AGAIN = 20.0


class Creating:
    """Makes recipes from models; nothing is kept.

    Args:
        studio: What is on the machine.
        gpu_report: Reads the GPUs.
    """

    def __init__(self, studio: StudioApi, gpu_report: Callable[[], GpuReport]) -> None:
        self._studio = studio
        self._gpu_report = gpu_report
        self._failed: dict[str, tuple[float, str]] = {}

    def plan(self, wishes: Wishes) -> Creation:
        """Return the recipe that these wishes make, and why it is so. Blocking.

        Raises:
            InvalidRecipe: A wish can be in no recipe.
        """
        report = self._gpu_report()
        facts, unknown = self._facts(wishes.model)
        if facts is not None and wishes.gpus and wishes.gpus > len(report.gpus):
            unknown = f"{wishes.gpus} GPUs are asked for, and {len(report.gpus) or 'none'} seen here"
        card = card_of(self._studio, wishes.model, facts, unknown)
        here = self._studio.engines_here()
        choices = engine_choices(card, here, len(report.gpus))
        engine = wishes.engine or _first(choices, here)
        backend = registry.find(engine)
        plan = self._gpu_plan(wishes, engine, backend, facts, report)
        recipe, offered = self._recipe(wishes, card, engine, backend, plan)
        made = Creation(
            wishes, recipe, card, engine, tuple(choices), len(report.gpus), plan.gpus, plan.context, plan.users,
            self._reasons(choices, engine, plan, report, recipe), offered, plan.fit, "" if plan.fit else unknown,
        )  # fmt: skip
        if not card.here and self._embedded(engine):
            made = replace(made, fetch=wishes.model)
        if plan.fit is not None:
            question = self._question(wishes, plan.gpus, plan.context, plan.users or 1)
            made = replace(
                made,
                grid=self._quietly(partial(self._studio.fit.grid, wishes.model, question, engine)),
                changes=tuple(self._quietly(partial(self._studio.fit.changes, wishes.model, question, engine)) or ()),
            )
        return checks_of(self._studio, made, report)

    def glance(self, model: str) -> Glance:
        """Return how a model would run here with nothing said, for a line of a list. Blocking."""
        report = self._gpu_report()
        return self._glance(model, report, self._studio.engines_here())

    def starters(self) -> list[StarterModel]:
        """Return the models to begin with that suit this machine, one for each purpose. Blocking."""
        from vllm_studio_tui.services.creating.starters import choose_starters

        report, engines = self._gpu_report(), self._studio.engines_here()
        return choose_starters(report, os.environ, lambda model: self._glance(model, report, engines))

    # --- steps ------------------------------------------------------------------------------------------

    def _facts(self, model: str) -> tuple[ModelFacts | None, str]:
        """Return what is known of a model, and why nothing is."""
        at, words = self._failed.get(model, (0.0, ""))
        if words and time.monotonic() - at < AGAIN:
            return None, words
        try:
            return self._studio.fit.facts(model), ""
        except StudioError as error:
            words = " ".join(one for one in (f"{error.title}.", error.cause, error.advice) if one)
        self._failed = {**dict(list(self._failed.items())[-20:]), model: (time.monotonic(), words)}
        return None, words

    def _quietly(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except StudioError:
            return None

    def _glance(self, model: str, report: GpuReport, engines: Sequence[EngineHere]) -> Glance:
        facts, unknown = self._facts(model)
        card = card_of(self._studio, model, facts, unknown)
        choices = engine_choices(card, engines, len(report.gpus))
        chosen = next((one for one in choices if one.ready), None) or next(
            (one for one in choices if one.why == NOT_INSTALLED), None
        )
        if chosen is None:
            words = f"{choices[0].title}: {choices[0].why}" if choices else "no engine reads it"
            return Glance(words=words)
        plan = self._gpu_plan(Wishes(model), chosen.name, registry.find(chosen.name), facts, report)
        lacks = "" if chosen.ready else chosen.why
        if plan.fit is None:
            return Glance(chosen.name, chosen.title, plan.gpus, words=lacks or unknown)
        fits = plan.fit.fits and plan.fit.max_users > 0
        words = lacks if fits else "does not fit"
        return Glance(chosen.name, chosen.title, plan.gpus, plan.context or 0, plan.fit.max_users, fits, words)

    def _gpu_plan(
        self, wishes: Wishes, engine: str, backend: Backend | None, facts: ModelFacts | None, report: GpuReport
    ) -> GpuPlan:
        on_gpus = backend is not None and bool(report.gpus) and (backend.takes_first_gpus or not self._embedded(engine))
        heads = facts.architecture.heads if facts is not None else None
        counts = counts_of(len(report.gpus), heads, _allowed(wishes.model)) if on_gpus else []
        if backend is not None and not backend.takes_first_gpus:
            counts = counts[:1]  # it splits layers by itself over what it sees
        made = facts.architecture.context if facts is not None else None

        def ask(gpus: int, context: int | None, users: int) -> Fit | None:
            if facts is None or gpus > len(report.gpus):
                return None
            question = self._question(wishes, gpus, context, users)
            return self._quietly(partial(self._studio.fit.of_model, wishes.model, question, engine))

        return plan_gpus(ask, counts, made=made, gpus=wishes.gpus, context=wishes.context, users=wishes.users)

    def _embedded(self, engine: str) -> bool:
        return any(one.name == engine and one.embedded for one in self._studio.engines_here())

    def _question(self, wishes: Wishes, gpus: int, context: int | None, users: int) -> FitQuestion:
        base = self._studio.fit.question(None, gpus)
        return replace(base, context=context, users=users, **_asked(wishes))

    def _recipe(
        self, wishes: Wishes, card: ModelCard, engine: str, backend: Backend | None, plan: GpuPlan
    ) -> tuple[Recipe, tuple[Suggested, ...]]:
        ids = {stored for stored, _ in self._studio.recipe_list()}
        name = wishes.name or card.name
        data: dict[str, Any] = {
            "id": free_id(slug(name), ids) if wishes.name is None else slug(name),
            "name": card.name if wishes.name is None else wishes.name,
            "backend": engine,
            "model_path": wishes.model,
        }
        data["served_model_name"] = data["id"]
        uses = backend.uses if backend is not None else frozenset()
        if plan.context is not None and "max_model_len" in uses:
            shared = backend is not None and backend.memory is not None and backend.memory.shared_context
            data["max_model_len"] = plan.context * (plan.users or 1) if shared else plan.context
        if plan.users is not None and "max_num_seqs" in uses:
            data["max_num_seqs"] = plan.users
        if plan.gpus > 1 and "tensor_parallel_size" in uses:
            data["tensor_parallel_size"] = plan.gpus
        recipe, _ = parse_recipe({**data, **wishes.fields})
        offered = tuple(
            Suggested(one.field, one.value, one.why, one.field not in wishes.refused)
            for one in suggestions(recipe)
            if one.field in uses
        )
        return recipe.model_copy(update={one.field: one.value for one in offered if one.taken}), offered

    def _reasons(
        self, choices: Sequence[EngineChoice], engine: str, plan: GpuPlan, report: GpuReport, recipe: Recipe
    ) -> Mapping[str, str]:
        chosen = next((one for one in choices if one.name == engine), None)
        gpus = plan.gpus_why
        if not gpus and plan.gpus > 1 and (allowed := _allowed(recipe.model_path)):
            gpus = f"its weights are split over {' or '.join(map(str, allowed))}"
        if not plan.gpus and not gpus:
            gpus = report.error or "it runs on the processor"
        return {
            "engine": chosen.why if chosen is not None else "",
            "gpus": gpus,
            "context": plan.context_why,
            "users": plan.users_why,
            "name": "what clients ask for; also the recipe's name",
        }


def _first(choices: Sequence[EngineChoice], here: Sequence[EngineHere]) -> str:
    ready = next((one.name for one in choices if one.ready), None)
    fitting = next((one.name for one in choices if one.why == NOT_INSTALLED), None)
    return ready or fitting or default_engine(here)


def _allowed(model: str) -> tuple[int, ...]:
    from vllm_studio_tui.services.published import find_published

    found = find_published(model)
    return found.gpus if found is not None else ()


def _asked(wishes: Wishes) -> dict[str, Any]:
    """Return what the wishes change of a question."""
    fields = wishes.fields
    found: dict[str, Any] = {}
    if "kv_cache_dtype" in fields:
        found["kv_dtype"] = str(fields["kv_cache_dtype"])
    if "gpu_memory_utilization" in fields:
        found["share"] = float(fields["gpu_memory_utilization"])
    if "quantization" in fields:
        found["quantization"] = str(fields["quantization"])
    return found
