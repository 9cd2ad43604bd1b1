"""Recipes from models: how many GPUs, how long, for how many; and models to begin with, whose facts are published."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.creation import Glance, ModelCard, Wishes
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.fit import Fit, Range
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.creating.engines import engine_choices
from vllm_studio_tui.services.creating.gpu_plan import counts_of, plan_gpus, sure_users
from vllm_studio_tui.services.creating.model_card import parameter_words
from vllm_studio_tui.services.creating.starters import choose_starters
from vllm_studio_tui.services.published import _shapes, find_published, published, published_facts, tensors
from vllm_studio_tui.services.recipes.starting import EngineHere
from vllm_studio_tui.studio import Studio

#: Parameters as the models' cards name them, in billions, and how far the sum of the tensors may be off.
CARDS = {
    "openai/gpt-oss-120b": (117.0, 0.01),
    "openai/gpt-oss-20b": (21.0, 0.01),
    "Qwen/Qwen3-8B-AWQ": (8.2, 0.01),
    "Qwen/Qwen3-4B-AWQ": (4.0, 0.01),
    "Qwen/Qwen3-32B": (32.8, 0.01),
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8": (235.0, 0.01),
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": (30.5, 0.01),
    "zai-org/GLM-4.5-FP8": (355.0, 0.02),  # with the layer that guesses ahead
    "zai-org/GLM-4.5-Air-FP8": (106.85, 0.025),
    "Qwen/Qwen3-1.7B-GGUF:Q8_0": (1.7, 0.02),
}


@pytest.mark.parametrize("one", published(), ids=lambda one: one.name)
def test_what_a_starters_configuration_describes_is_as_large_as_what_is_published(one: object) -> None:
    found = find_published(one.model)  # type: ignore[attr-defined]
    assert found is not None
    if found.weights:
        assert sum(tensor.size or 0 for tensor in tensors(found)) == pytest.approx(found.weights, rel=0.002)
    facts = published_facts(found.model)
    assert facts is not None and facts.architecture.context == found.config["max_position_embeddings"]
    assert not facts.architecture.unknown
    assert found.source.startswith("https://huggingface.co/")
    if found.model in CARDS:
        billions, off = CARDS[found.model]
        assert sum(prod(shape) for _, shape, _ in _shapes(found.config)) / 1e9 == pytest.approx(billions, rel=off)


def fit_of(context: int, users: int, limit: int, weights: int, token: int = 1) -> Fit:
    kv = context * users * token
    room = max(0, limit - weights)
    parts = {"weights": Range(weights, weights, weights), "kv": Range(kv, kv, kv)}
    most = room // (context * token)
    return Fit(parts, limit, limit, context, users, weights, token, Range(room, room, room), room, room // users, most)


def test_the_fewest_gpus_that_serve_well_are_taken() -> None:
    def ask(count: int, context: int | None, users: int) -> Fit:
        return fit_of(context or 1, users, 100_000 * max(1, count), 90_000)

    plan = plan_gpus(ask, [1, 2, 4], made=131_072, gpus=None, context=None, users=None)
    assert (plan.gpus, plan.context, plan.users) == (4, 32_768, 8)
    assert plan.gpus_why == "2 would hold 3 talks of 32k"
    said = plan_gpus(ask, [1, 2, 4], made=131_072, gpus=1, context=None, users=None)
    assert (said.gpus, said.context, said.users) == (1, 9216, 1)
    assert said.context_why.startswith("what fits")
    short = plan_gpus(ask, [1], made=4096, gpus=None, context=None, users=None)
    assert short.context == 4096


def test_what_nothing_is_known_of_gets_no_figures() -> None:
    plan = plan_gpus(lambda *_: None, [1, 2], made=None, gpus=None, context=None, users=None)
    assert (plan.gpus, plan.context, plan.users, plan.fit) == (1, None, None, None)
    assert plan.gpus_why == "how many it needs is not known"


def test_gpus_are_counted_by_what_heads_and_weights_allow() -> None:
    assert counts_of(8, 32) == [1, 2, 4, 8]
    assert counts_of(8, 28) == [1, 2, 4]
    assert counts_of(3, 32) == [1, 2]
    assert counts_of(8, 64, (4,)) == [4]
    assert counts_of(0, 32) == []


def test_users_that_surely_fit_leave_room_for_what_an_engine_might_take() -> None:
    one = fit_of(1000, 1, 10_000, 5000)
    assert sure_users(one) == 5


VLLM = EngineHere("vllm", "vLLM", "0.32.0 at /nowhere/bin/vllm", usable=True)
NO_VLLM = EngineHere("vllm", "vLLM", "not found", usable=False)
LLAMA = EngineHere("llamacpp", "llama.cpp", "/opt/llama-server", usable=True)
EMBEDDED = EngineHere("llamacpp", "llama.cpp", "xllamacpp 0.2", usable=True, embedded=True)
TABBY = EngineHere("tabbyapi", "TabbyAPI", "/opt/tabby", usable=True)


def test_engines_say_what_speaks_for_them_and_against_them() -> None:
    folder = ModelCard("/m", "m", here=True, format="safetensors", architecture="Qwen3ForCausalLM")
    found = {one.name: one for one in engine_choices(folder, [VLLM, LLAMA, TABBY], 1)}
    assert found["vllm"].ready and "best for many users" in found["vllm"].why
    assert not found["llamacpp"].ready and found["llamacpp"].why == "needs a GGUF file"
    assert found["tabbyapi"].why == "needs EXL3 or EXL2 weights"
    gguf = ModelCard("o/n-GGUF:Q4_K_M", "n", format="gguf")
    first, *_ = engine_choices(gguf, [NO_VLLM, EMBEDDED], 0)
    assert (first.name, first.ready) == ("llamacpp", True)
    assert "fetched first" in first.why
    assert engine_choices(folder, [NO_VLLM], 1)[0].why == "not installed"


def test_an_installed_engine_is_asked_whether_it_has_a_class_for_the_model(tmp_path: Path) -> None:
    home = tmp_path / "venv"
    models = home / "lib/python3.11/site-packages/vllm/model_executor/models"
    models.mkdir(parents=True)
    (models / "registry.py").write_text('{"Qwen3ForCausalLM": ("qwen3", "Qwen3ForCausalLM")}')
    program = home / "bin/vllm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    here = EngineHere("vllm", "vLLM", f"0.32.0 at {program}", usable=True)
    for name, ready in (("Qwen3ForCausalLM", True), ("Qwen3ForCausal", False), ("Evil(.*)", True)):
        card = ModelCard("/m", "m", here=True, format="safetensors", architecture=name)
        (one,) = engine_choices(card, [here], 1)
        assert one.ready is ready, one


def report(count: int, gib: float, capability: str) -> GpuReport:
    memory = int(gib * 2**30)
    gpus = [Gpu(one, f"GPU-{one}", "some", memory, 0, compute_capability=capability) for one in range(count)]
    return GpuReport(1.0, tuple(gpus))


def test_of_each_purpose_the_first_that_fits_is_offered_and_none_that_the_gpus_cannot_compute() -> None:
    def fits(model: str) -> Glance:
        return Glance("vllm", "vLLM", 1, 32_768, 8, fits=True)

    old = choose_starters(report(1, 24, "7.5"), {}, fits)
    assert {one.model for one in old} <= {one.model for one in published() if one.needs <= 7.5}
    new = choose_starters(report(1, 80, "9.0"), {}, fits)
    roles = [next(other.role for other in published() if other.model == one.model) for one in new]
    assert roles == ["tools", "code", "large", "images"]
    assert choose_starters(report(1, 80, "9.0"), {}, lambda model: Glance(fits=False)) == []
    assert all(one.download for one in new)


@pytest.mark.parametrize("model", ["", "\x00", "/not/there", "x" * 5000, "a/b\nc", "../../etc/passwd"])
def test_a_model_of_which_nothing_is_known_makes_a_recipe_that_says_so_or_is_refused(
    tmp_path: Path, model: str
) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        try:
            made = studio.creating.plan(Wishes(model))
        except InvalidRecipe:
            return
        assert made.fit is None and made.fit_unknown
        assert made.to_json()["fit"] is None


def test_a_refused_suggestion_is_not_taken_and_a_wish_is(tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        wishes = Wishes("Qwen/Qwen3-8B-AWQ", "vllm", 1, 8192, 2, "my model", ("tool_call_parser",))
        made = studio.creating.plan(wishes)
    assert made.recipe.id == "my-model"
    assert (made.recipe.max_model_len, made.recipe.max_num_seqs, made.recipe.tool_call_parser) == (8192, 2, None)
    assert made.recipe.reasoning_parser == "qwen3"
    assert registry.backend(made.engine).title == "vLLM"


def test_more_gpus_than_there_are_get_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "2")
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        made = studio.creating.plan(Wishes("Qwen/Qwen3-32B", "vllm", 4))
        assert made.fit is None and made.fit_unknown == "4 GPUs are asked for, and 2 seen here"
        assert made.recipe.tensor_parallel_size == 4
        assert studio.creating.plan(Wishes("Qwen/Qwen3-32B", "vllm", 2)).fit is not None


@pytest.mark.parametrize(
    ("count", "words"), [(32_762_123_264, "32.8B"), (116_800_000_000, "117B"), (135_000_000, "135M"), (7, "7")]
)
def test_parameters_are_named_as_people_do(count: int, words: str) -> None:
    assert parameter_words(count) == words
