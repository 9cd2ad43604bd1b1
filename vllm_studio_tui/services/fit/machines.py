"""How many machines a model takes that does not fit on one, and what stands against its sizes wherever it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, Problem
from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.fit import Fit, FitChange
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.numbers import gib
from vllm_studio_tui.services.fit.estimate import estimate

if TYPE_CHECKING:
    from vllm_studio_tui.domain.architecture import ModelFacts
    from vllm_studio_tui.domain.fit import FitQuestion

#: Machines that are counted up to.
MOST = 64


@dataclass(frozen=True, slots=True)
class Machines:
    """The fewest machines that a model fits on.

    Attributes:
        count: How many.
        tensor, pipeline: GPUs of each that share a layer, and groups of layers over all.
        need: Bytes that it takes of all their GPUs.
        one: Bytes that an engine may take of all GPUs of one machine.
        fit: What comes of it.
    """

    count: int
    tensor: int
    pipeline: int
    need: int
    one: int
    fit: Fit

    @property
    def words(self) -> str:
        """Return it as a sentence without a beginning."""
        return (
            f"needs {gib(self.need)} GiB, one machine like this has {gib(self.one)}: {self.count} nodes, "
            f"tp {self.tensor} x pp {self.pipeline}"
        )


def machines_for(facts: ModelFacts, question: FitQuestion, rules: MemoryRules, gpus: int) -> Machines | None:
    """Return the fewest machines like this one on which a model fits; None: on none, or it is not known of its shape.

    A layer is shared by the GPUs of one machine and layers are spread over machines: what goes between machines is
    little then.

    Args:
        gpus: Of each machine, alike.
    """
    shape = facts.architecture
    if not gpus or not question.memory or not shape.heads or not rules.splits_matrices:
        return None
    tensor = max(one for one in range(1, gpus + 1) if shape.heads % one == 0 and gpus % one == 0)
    asked = replace(question, held=0, data_parallel=1, tensor_parallel=tensor)
    for count in range(2, MOST + 1):
        pipeline = count * (gpus // tensor)
        if pipeline > shape.layers:
            return None
        fit = estimate(facts, replace(asked, gpus=tensor * pipeline, pipeline_parallel=pipeline), rules)
        if fit.fits:
            return Machines(count, tensor, pipeline, fit.per_gpu.likely * tensor * pipeline, fit.limit * gpus, fit)
    return None


def over_machines(
    facts: ModelFacts, question: FitQuestion, backend: Backend, rules: MemoryRules, gpus: int
) -> FitChange | None:
    """Return how several machines would take a model; None where they would not, or the engine cannot be spread."""
    if not question.gpus or not can_spread(backend):
        return None
    found = machines_for(facts, question, rules, gpus)
    if found is None:
        return None
    title = f"{found.count} machines like this, strategy tp_pp: tp {found.tensor} x pp {found.pipeline}"
    return FitChange(title, fit=found.fit, note=found.words)


def can_spread(backend: Backend) -> bool:
    """Return whether an engine runs one model on several machines."""
    made = Recipe(
        id="probe", name="probe", backend=backend.name, model_path="probe", nodes=("a", "b"), strategy="tp_pp",
        pipeline_parallel_size=2, command="probe" if backend.name == "custom" else None,
    )  # fmt: skip
    try:
        return len(backend.ranks(made)) > 1
    except StudioError:
        return False


def split_problems(facts: ModelFacts, recipe: Recipe, backend: Backend, rules: MemoryRules) -> Iterator[Problem]:
    """Yield the sizes of a recipe that its model cannot be split into, wherever it runs."""
    tensor, heads = recipe.tensor_parallel_size, facts.architecture.heads
    used = backend.uses
    if rules.splits_matrices and "tensor_parallel_size" in used and tensor > 1 and heads and heads % tensor:
        fitting = max(one for one in range(1, tensor) if heads % one == 0)
        words = f"{heads} attention heads cannot be split over {tensor} GPUs"
        yield Problem("tensor_parallel_size", "error", words, f"Set it to {fitting}, or another divisor of {heads}.")
    stages, layers = recipe.pipeline_parallel_size, facts.architecture.layers
    if "pipeline_parallel_size" in used and layers and stages > layers:
        words = f"the model has {layers} layers, and {stages} stages are asked for"
        yield Problem("pipeline_parallel_size", "error", words, f"Set it to {layers} or less.")
