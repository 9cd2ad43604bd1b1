"""Does it fit: the memory of a GPU part by part, what follows from it, and what a recipe asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.architecture import Architecture, CacheGroup, CacheKind, ModelFacts, Part, Weights
from vllm_studio_tui.domain.fit import FitQuestion, Learned, Range
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.sample import Host
from vllm_studio_tui.services.fit.changes import change_question, changes_for
from vllm_studio_tui.services.fit.estimate import estimate, grid
from vllm_studio_tui.services.fit.questions import question_of
from vllm_studio_tui.services.fit.speed import bandwidth_of, most_tokens_per_second

GIB = 1 << 30
EIGHT = ModelFacts(
    Architecture(
        "LlamaForCausalLM", 32, 4096, 32, 128_256, (CacheGroup(CacheKind.FULL, 32, 8, 128, 128),), 8192, 8192, 14_336
    ),
    (
        Weights(Part.LAYERS, "BF16", 6_979_321_856, 13_958_643_712),
        Weights(Part.COPIED, "BF16", 266_240, 532_480),
        Weights(Part.EMBEDDING, "BF16", 525_336_576, 1_050_673_152),
        Weights(Part.HEAD, "BF16", 525_336_576, 1_050_673_152),
    ),
    8_030_261_248,
    dtype="bfloat16",
)
ONE = FitQuestion(gpus=1, memory=80 * GIB)


def rules(name: str = "vllm") -> MemoryRules:
    found = registry.backend(name).memory
    assert found is not None
    return found


def test_the_cache_takes_two_numbers_for_each_head_layer_and_token() -> None:
    fit = estimate(EIGHT, ONE, rules())
    assert fit.kv_bytes_per_token == 131_072  # docs: 32 layers, 8 heads, 128, 16 bits
    assert fit.parts["kv"].likely == 131_072 * 8192
    assert fit.weights_bytes == 16_060_522_496
    assert fit.fits and fit.certain and fit.max_context == 8192


def test_parts_add_up_and_the_cache_is_what_is_left() -> None:
    fit = estimate(EIGHT, ONE, rules())
    assert fit.limit == round(80 * GIB * 0.92)
    others = sum(one.likely for name, one in fit.parts.items() if name != "kv")
    assert fit.room.likely == fit.limit - others
    assert fit.per_gpu.likely == others + fit.parts["kv"].likely
    assert fit.cache_tokens == pytest.approx(fit.room.likely / 131_072, rel=0.001)


@pytest.mark.parametrize(("ranks", "heads"), [(2, 4), (4, 2), (8, 1), (16, 1)])
def test_ranks_share_heads_and_keep_at_least_one(ranks: int, heads: int) -> None:
    fit = estimate(EIGHT, replace(ONE, gpus=ranks, tensor_parallel=ranks), rules())
    assert fit.parts["kv"].likely == 32 * heads * 256 * 2 * 8192
    assert fit.parts["weights"].likely == pytest.approx(16_060_000_000 / ranks, rel=0.01)


def test_pipeline_ranks_share_layers_and_the_ends_are_apart() -> None:
    fit = estimate(EIGHT, replace(ONE, gpus=2, pipeline_parallel=2), rules())
    assert fit.parts["kv"].likely == 131_072 * 8192 // 2
    assert fit.parts["weights"].likely == round((13_958_643_712 + 532_480) / 2 + 1_050_673_152)


def test_a_smaller_type_of_cache_makes_more_room() -> None:
    half = estimate(EIGHT, replace(ONE, kv_dtype="fp8"), rules())
    assert half.kv_bytes_per_token == 65_536
    blocks = estimate(EIGHT, replace(ONE, kv_dtype="q8_0"), rules("llamacpp"))
    assert blocks.kv_bytes_per_token == 69_632


def test_weights_of_32_bits_are_loaded_in_16_where_the_engine_does_so() -> None:
    wide = replace(EIGHT, dtype="float32", weights=(Weights(Part.LAYERS, "F32", 1000, 4000),))
    assert estimate(wide, ONE, rules()).weights_bytes == 2000
    assert estimate(wide, ONE, rules("transformers")).weights_bytes == 4000
    assert estimate(wide, replace(ONE, dtype="float32"), rules()).weights_bytes == 4000


def test_weights_made_smaller_while_loading_leave_the_embedding() -> None:
    fit = estimate(EIGHT, replace(ONE, quantization="fp8"), rules())
    assert fit.weights_bytes == 6_979_321_856 + 532_480 + 2 * 1_050_673_152


def test_a_window_bounds_the_cache() -> None:
    shape = replace(EIGHT.architecture, context=131_072, caches=(CacheGroup(CacheKind.SLIDING, 32, 8, 128, 128, 4096),))
    fit = estimate(replace(EIGHT, architecture=shape), ONE, rules())
    assert fit.parts["kv"].likely == 131_072 * (4096 + 8192 + 16)  # the window, a step, and a block


def test_a_state_does_not_grow_with_the_text() -> None:
    shape = replace(EIGHT.architecture, caches=(CacheGroup(CacheKind.STATE, 10, state=1000),))
    facts = replace(EIGHT, architecture=shape)
    short, long = (estimate(facts, replace(ONE, context=length, users=3), rules()) for length in (100, 8000))
    assert short.parts["kv"] == long.parts["kv"] == Range(30_000, 30_000, 30_000)


def test_what_others_hold_is_not_there() -> None:
    fit = estimate(EIGHT, replace(ONE, memory=24 * GIB, held=4 * GIB), rules())
    assert fit.limit == 20 * GIB


def test_what_does_not_fit_says_what_would() -> None:
    asked = replace(ONE, memory=24 * GIB, context=8192, users=64)
    assert not estimate(EIGHT, asked, rules()).fits
    found = changes_for(EIGHT, asked, rules(), gpus_here=2, gpu="NVIDIA GeForce RTX 4090")
    titles = [one.title for one in found]
    assert any("at once" in one for one in titles) and "2 GPUs" not in titles[:1]
    for one in found:
        assert one.fit is not None and one.fit.fits
        assert estimate(EIGHT, change_question(asked, one), rules()).fits
        assert one.speed is not None and 20 < one.speed < 300


def test_the_largest_context_and_the_most_users_just_fit() -> None:
    asked = replace(ONE, memory=20 * GIB, context=8192, users=2)
    fit = estimate(EIGHT, asked, rules())
    at_most = replace(asked, context=fit.max_context)
    assert estimate(EIGHT, at_most, rules()).parts["kv"].likely <= fit.room.likely
    if fit.max_users:
        assert estimate(EIGHT, replace(asked, users=fit.max_users), rules()).parts["kv"].likely <= fit.room.likely
        assert estimate(EIGHT, replace(asked, users=fit.max_users + 1), rules()).parts["kv"].likely > fit.room.likely


def test_the_grid_says_how_many_run_at_once() -> None:
    table = grid(EIGHT, replace(ONE, memory=24 * GIB), rules())
    assert table.contexts == (4096, 8192) and table.users[0] == 1
    for row in table.rows:
        for cell in row:
            assert (cell.used <= 1) == (cell.users <= cell.runs)
    assert table.rows[1][0].used == pytest.approx(2 * table.rows[0][0].used, rel=0.01)


def test_what_was_learned_stands_in_the_place_of_what_is_computed() -> None:
    seen = Range(14 * GIB, 15 * GIB, 16 * GIB)
    fit = estimate(EIGHT, ONE, rules(), Learned({"weights": seen, "unknown": seen}, 2, "vLLM 0.32.0", True))
    assert fit.parts["weights"] == seen and "unknown" not in fit.parts
    said = fit.to_json()["learned"]
    assert {"starts": 2, "engine": "vLLM 0.32.0", "same_model": True}.items() <= said.items()


REPORT = GpuReport(
    0.0,
    (
        Gpu(0, "GPU-a", "NVIDIA H100 80GB HBM3", 80 * GIB, 30 * GIB, processes=(GpuProcess(1, gpu_memory=30 * GIB),)),
        Gpu(1, "GPU-b", "NVIDIA H100 80GB HBM3", 80 * GIB, 10 * GIB, memory_reserved=GIB, processes=(
            GpuProcess(2, gpu_memory=10 * GIB, run_id="mine"),)),
    ),
)  # fmt: skip


def recipe(**values: Any) -> Recipe:
    return Recipe(**{"id": "a", "name": "a", "model_path": "/m", "backend": "vllm", **values})


def test_a_recipe_asks_for_the_freest_gpus() -> None:
    asked = question_of(recipe(), registry.backend("vllm"), REPORT, Host(), ["mine"])
    assert (asked.memory, asked.held) == (79 * GIB, 0)
    asked = question_of(recipe(gpus=["0"]), registry.backend("vllm"), REPORT, Host())
    assert (asked.memory, asked.held) == (80 * GIB, 30 * GIB)
    both = question_of(recipe(tensor_parallel_size=2), registry.backend("vllm"), REPORT, Host())
    assert (both.gpus, both.memory, both.held) == (2, 79 * GIB, 30 * GIB)


def test_without_gpus_the_memory_of_the_host_counts() -> None:
    host = Host(memory_total=16 * GIB, memory_used=6 * GIB)
    asked = question_of(recipe(), registry.backend("vllm"), GpuReport(0.0), host)
    assert (asked.gpus, asked.memory, asked.held) == (0, 16 * GIB, 6 * GIB)


@pytest.mark.parametrize(
    ("backend", "values", "field", "meant"),
    [
        ("vllm", {"extra_args": {"enforce_eager": True}}, "graphs", False),
        ("vllm", {"extra_args": {"cpu-offload-gb": "10"}}, "offloaded", 10 * GIB),
        ("vllm", {"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "4"}}, "cache", 4 * GIB),
        ("vllm", {"max_num_batched_tokens": 4096}, "batched", 4096),
        ("vllm", {"max_model_len": -1}, "context", None),
        ("vllm", {"quantization": "fp8"}, "quantization", "fp8"),
        ("sglang", {"extra_args": {"chunked_prefill_size": 2048}}, "batched", 2048),
        ("llamacpp", {"extra_args": {"cache-type-k": "q4_0"}}, "kv_dtype", "q4_0"),
        ("llamacpp", {"extra_args": {"ub": 1024}, "max_num_batched_tokens": 2048}, "batched", 1024),
        ("llamacpp", {"extra_args": {"ngl": 0}}, "gpus", 0),
        ("vllm", {"extra_args": {"cpu-offload-gb": "much", "enforce-eager": None}}, "offloaded", 0),
    ],
)
def test_flags_of_engines_change_the_question(backend: str, values: dict[str, Any], field: str, meant: object) -> None:
    asked = question_of(recipe(backend=backend, **values), registry.backend(backend), REPORT, Host(memory_total=GIB))
    assert getattr(asked, field) == meant


def test_a_bandwidth_bounds_the_speed() -> None:
    assert bandwidth_of("NVIDIA H100 80GB HBM3") == 3_350_000_000_000
    assert bandwidth_of("Some Chip") is None
    speed = most_tokens_per_second(EIGHT, ONE, rules(), "NVIDIA H100 80GB HBM3")
    assert speed is not None and 200 < speed < 230  # 3.35 TB/s over 15 GB


groups = st.builds(
    CacheGroup,
    st.sampled_from(CacheKind),
    st.integers(0, 200),
    st.integers(0, 128),
    st.integers(0, 1024),
    st.integers(0, 1024),
    st.none() | st.integers(1, 1 << 20),
    st.integers(0, 1 << 30),
)
shapes = st.builds(
    Architecture,
    st.just("x"),
    st.integers(0, 200),
    st.integers(0, 1 << 16),
    st.integers(0, 256),
    st.integers(0, 1 << 20),
    st.lists(groups, max_size=4).map(tuple),
    st.none() | st.integers(1, 1 << 24),
    intermediate=st.integers(0, 1 << 18),
)
questions = st.builds(
    FitQuestion,
    gpus=st.integers(0, 16),
    memory=st.integers(0, 1 << 40),
    held=st.integers(0, 1 << 40),
    context=st.none() | st.integers(1, 1 << 24),
    users=st.integers(1, 5000),
    tensor_parallel=st.integers(1, 16),
    pipeline_parallel=st.integers(1, 4),
    data_parallel=st.integers(1, 4),
    share=st.none() | st.floats(0.1, 1),
    kv_dtype=st.sampled_from(["auto", "fp8", "q8_0", "nonsense"]),
)


@given(shapes, questions, st.sampled_from(["vllm", "sglang", "llamacpp", "transformers", "tabbyapi"]))
@settings(max_examples=150, deadline=None)
def test_any_question_has_an_answer_that_is_consistent(shape: Architecture, asked: FitQuestion, name: str) -> None:
    fit = estimate(replace(EIGHT, architecture=shape), asked, rules(name))
    for one in (*fit.parts.values(), fit.room, fit.per_gpu):
        assert 0 <= one.low <= one.likely <= one.high
    more = estimate(replace(EIGHT, architecture=shape), replace(asked, users=asked.users + 1), rules(name))
    assert more.parts["kv"].likely >= fit.parts["kv"].likely
    grid(replace(EIGHT, architecture=shape), asked, rules(name))
    changes_for(replace(EIGHT, architecture=shape), asked, rules(name), gpus_here=8)
