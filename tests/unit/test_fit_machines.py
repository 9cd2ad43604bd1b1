"""A model that is too large for one machine: how many it takes, and what is said of a recipe that runs on others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.test_fit_problems import gpus, model, problems, recipe
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.fit import FitQuestion
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.fit.machines import can_spread, machines_for
from vllm_studio_tui.services.fit.service import FitService
from vllm_studio_tui.services.launching.launcher import Launcher
from vllm_studio_tui.services.recipes.recipes import Recipes

GIB = 1 << 30


@pytest.mark.parametrize(("backend", "spreads"), [
    ("vllm", True), ("sglang", True), ("llamacpp", False), ("transformers", False), ("tabbyapi", False),
])  # fmt: skip
def test_which_engines_run_one_model_on_several_machines(backend: str, spreads: bool) -> None:
    assert can_spread(registry.backend(backend)) is spreads


def test_the_fewest_machines_are_said_with_what_the_model_needs(tmp_path: Path) -> None:
    report = gpus(*[24] * 4)
    service = FitService(lambda: report, list)
    folder = model(tmp_path, 150)
    facts, rules = service.facts(str(folder)), registry.backend("vllm").memory
    assert rules is not None
    question = FitQuestion(gpus=4, memory=24 * GIB, tensor_parallel=4, context=4096)
    found = machines_for(facts, question, rules, 4)
    assert found is not None
    assert (found.count, found.tensor, found.pipeline) == (2, 4, 2)
    assert found.fit.fits and found.need > 150 * GIB
    assert found.one == pytest.approx(4 * 24 * GIB * 0.92, rel=0.01)
    assert found.words.startswith("needs 1") and found.words.endswith(
        "one machine like this has 88.3: 2 nodes, tp 4 x pp 2"
    )


def test_a_recipe_that_is_too_large_for_this_machine_is_told_how_many_it_takes(tmp_path: Path) -> None:
    folder = model(tmp_path, 150)
    (found,) = problems(recipe(folder, max_model_len=4096, tensor_parallel_size=4), gpus(*[24] * 4))
    assert found.severity == "error"
    assert "2 machines like this, strategy tp_pp: tp 4 x pp 2" in found.advice


def test_more_gpus_of_this_machine_come_before_more_machines(tmp_path: Path) -> None:
    folder = model(tmp_path, 30)
    (found,) = problems(recipe(folder, max_model_len=4096, kv_cache_dtype="fp8"), gpus(24, 24))
    assert "machines" not in found.advice


def test_an_engine_of_one_machine_is_not_told_of_more(tmp_path: Path) -> None:
    folder = model(tmp_path, 150)
    found = problems(recipe(folder, backend="transformers", max_model_len=4096), gpus(24))
    assert not any("machines like this" in one.advice for one in found)


def test_nothing_is_refused_for_want_of_gpus_here_where_it_runs_elsewhere(tmp_path: Path) -> None:
    spread = {"nodes": ("a", "b"), "strategy": "tp_pp", "tensor_parallel_size": 8, "pipeline_parallel_size": 2}
    folder = model(tmp_path, 150)
    assert problems(recipe(folder, max_model_len=4096, **spread), gpus()) == []
    # Those of this machine are no more than a sample, and what others hold of them does not count.
    assert problems(recipe(folder, max_model_len=4096, **spread), gpus(24, held=20 * GIB)) == []
    (found,) = problems(recipe(folder, max_model_len=4096, **spread), gpus(8))
    assert found.severity == "warning"
    assert found.message.startswith("on GPUs like those of this machine it needs")


@pytest.mark.parametrize("where", [{}, {"nodes": ("a", "b"), "strategy": "tp"}])
def test_heads_that_cannot_be_split_are_refused_wherever_it_runs(tmp_path: Path, where: dict[str, object]) -> None:
    folder = model(tmp_path, 1)
    (found,) = problems(recipe(folder, tensor_parallel_size=12, **where), gpus(24))
    assert (found.field, found.severity) == ("tensor_parallel_size", "error")
    assert found.message == "32 attention heads cannot be split over 12 GPUs"
    assert found.advice == "Set it to 8, or another divisor of 32."


def test_more_stages_than_layers_are_refused(tmp_path: Path) -> None:
    (found,) = problems(recipe(model(tmp_path, 1), pipeline_parallel_size=64), gpus(24))
    assert found.message == "the model has 32 layers, and 64 stages are asked for"


def test_a_check_of_a_recipe_that_runs_elsewhere_says_what_its_sizes_cannot_be(tmp_path: Path) -> None:
    launcher = Launcher(Places.under(tmp_path / "home"), Settings(), _no_recipes, memory=_problems_of(gpus()))
    spread = {"nodes": ("a", "b"), "strategy": "tp", "executable": "/only/there/vllm"}
    folder = model(tmp_path, 1)
    (heads,) = launcher.check(recipe(folder, tensor_parallel_size=12, **spread), gpus())
    assert heads.message == "32 attention heads cannot be split over 12 GPUs"
    (sizes,) = launcher.check(recipe(folder, tensor_parallel_size=3, **spread), gpus())
    assert "3 cannot be split over 2 machines" in sizes.message
    # Its program, its GPUs and the room on its disks are those of other machines.
    assert launcher.check(recipe(folder, tensor_parallel_size=8, **spread), gpus()) == []


def _no_recipes() -> Recipes:
    raise AssertionError("no other recipe is asked for")


def _problems_of(report: GpuReport) -> Callable[[Recipe, GpuReport | None], list[Problem]]:
    return FitService(lambda: report, list).problems
