"""What earlier starts reported corrects the next calculation, and nothing that a log claims can lead it far astray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.architecture import Architecture, CacheGroup, CacheKind, ModelFacts, Part, Weights
from vllm_studio_tui.domain.fit import FitQuestion, Learned
from vllm_studio_tui.domain.memory_report import GIB, MIB, DeviceMemory, MemoryReport
from vllm_studio_tui.runs.memory_lines import report_of_log
from vllm_studio_tui.services.fit.estimate import estimate
from vllm_studio_tui.services.fit.learned import Factor, learn, median
from vllm_studio_tui.store.memory_reports import KeptReport

FIXTURES = Path(__file__).parents[1] / "fixtures" / "memory"
VLLM, LLAMA = registry.backend("vllm"), registry.backend("llamacpp")
FACTS = ModelFacts(
    Architecture("X", 32, 4096, 32, 128256, (CacheGroup(CacheKind.FULL, 32, 8, 128, 128),), 131072, intermediate=14336),
    (Weights(Part.LAYERS, "BF16", 8_000_000_000, 16_000_000_000),),
    dtype="bfloat16",
)
#: As `models.facts` reads it from the file: SmolLM2 with 135M parameters in Q4_1.
SMOL = ModelFacts(
    Architecture("llama", 30, 576, 9, 49152, (CacheGroup(CacheKind.FULL, 30, 3, 64, 64),), 8192, intermediate=1536),
    (
        Weights(Part.LAYERS, "Q4_1", 106168320, 66355200),
        Weights(Part.EMBEDDING, "Q8_0", 28311552, 30081024),
        Weights(Part.COPIED, "F32", 35136, 140544),
    ),
    dtype="float16",
    source="gguf",
)
ASKED = FitQuestion(gpus=1, memory=80 * GIB, context=8192, users=1)


def kept(name: str = "a", at: float = 1.0, *, version: str = "0.33.0", model: str = "/m", weights: float = 15.6,
         activations: float = 1.9, graphs: float = 0.7, **fields: Any) -> KeptReport:  # fmt: skip
    parts = {"weights": weights, "activations": activations, "graphs": graphs}
    report = MemoryReport(
        (DeviceMemory("TP0", {name: round(value * GIB) for name, value in parts.items()}),),
        room=round(50 * GIB),
        kv_tokens=round(50 * GIB / 131072),
        context=8192,
        total=80 * GIB,
        version=version,
    )
    asked = {"id": "x", "name": "x", "backend": "vllm", "model_path": model, "max_model_len": 8192, **fields}
    return KeptReport(name, at, "x", "vllm", version, model, ("0",), asked, report)


def learned(*reports: KeptReport, question: FitQuestion = ASKED, model: str = "/m") -> Learned:
    found = learn(reports, FACTS, question, VLLM, model, lambda name: FACTS)
    assert found is not None
    return found


def test_one_start_brings_the_next_prediction_within_three_percent() -> None:
    assert VLLM.memory is not None
    told = kept()
    found = learned(told)
    fit = estimate(FACTS, ASKED, VLLM.memory, found)
    for name in ("weights", "activations", "graphs"):
        assert told.report is not None
        part = fit.parts[name]
        assert part.likely == pytest.approx(told.report.parts[name], rel=0.03)
        assert part.low <= told.report.parts[name] <= part.high
    assert found.words == "corrected by an earlier start of vLLM 0.33.0"


def test_one_start_that_was_far_off_does_not_move_what_the_others_say() -> None:
    usual = [kept(str(at), 9.0 - at, weights=15.6 + at / 100) for at in range(5)]
    strange = kept("s", 20.0, weights=22.0, activations=25.0)
    found = learned(strange, *usual)
    assert found.parts["weights"].likely / GIB == pytest.approx(15.62, abs=0.1)
    assert found.parts["activations"].likely / GIB == pytest.approx(1.9, rel=0.03)
    assert found.starts == 6


@pytest.mark.parametrize("weights", [0.0, 0.001, 9000.0])
def test_a_report_that_makes_no_sense_is_dropped(weights: float) -> None:
    found = learned(kept(weights=weights), kept("b", 0.5))
    assert found.parts["weights"].likely / GIB == pytest.approx(15.6, rel=0.01)


def test_of_two_versions_the_present_one_counts_more() -> None:
    found = learned(kept("new", 3.0, graphs=0.5), *(kept(str(at), 1.0, version="0.20.0", graphs=2.0) for at in (1, 2)))
    assert found.parts["graphs"].likely / GIB == pytest.approx(0.5, rel=0.01)
    assert found.engine == "vLLM 0.33.0"


def test_weights_are_not_learned_of_a_start_that_shared_them_out_otherwise() -> None:
    found = learned(kept(tensor_parallel_size=2, weights=7.9))
    assert "weights" not in found.parts
    assert "weights" in learned(kept()).parts
    assert "weights" not in learned(kept(dtype="float32")).parts


def test_other_models_teach_only_what_is_the_engines_own() -> None:
    found = learned(kept(model="/other", graphs=1.8))
    assert (set(found.parts), found.same_model, found.cache) == ({"graphs"}, False, 1.0)
    computed = estimate(FACTS, ASKED, VLLM.memory).parts["graphs"].likely  # type: ignore[arg-type]
    assert computed < found.parts["graphs"].likely < 1.8 * GIB
    assert "with other models" in found.words


def test_a_cache_that_takes_more_than_is_computed_holds_less() -> None:
    assert VLLM.memory is not None
    told = kept()
    assert told.report is not None
    fuller = replace(told, report=replace(told.report, kv_tokens=round(50 * GIB / 131072 / 1.5)))
    found = learned(fuller)
    assert found.cache == pytest.approx(1.5, rel=0.01)
    before, after = (estimate(FACTS, ASKED, VLLM.memory, one) for one in (learned(told), found))
    assert after.cache_tokens == pytest.approx(before.cache_tokens / 1.5, rel=0.01)


@pytest.mark.parametrize("fields", [{"max_model_len": "x" * 50}, {"extra_args": 7}, {"backend": None}])
def test_a_start_whose_recipe_cannot_be_read_teaches_nothing(fields: dict[str, Any]) -> None:
    broken = replace(kept(), fields=fields)
    assert learn([broken], FACTS, ASKED, VLLM, "/m") is None


def test_nothing_is_learned_of_nothing() -> None:
    assert learn([], FACTS, ASKED, VLLM, "/m") is None
    assert learn([kept(model="/other")], FACTS, ASKED, VLLM, "/m") is None
    assert median([]) is None


def test_few_digits_make_a_wide_range() -> None:
    exact, rough = (median([Factor("weights", 1.1, 1.0, error)]) for error in (0.0, 0.04))
    assert (exact, rough) == ((1.1, 0.015), (1.1, 0.04))


def real(name: str, slots: int, kv: str, context: int) -> KeptReport:
    report = report_of_log(FIXTURES / f"{name}.txt", LLAMA.memory_lines, LLAMA.stages)
    fields = {"id": "x", "name": "x", "backend": "llamacpp", "model_path": "/smol.gguf", "max_model_len": context,
              "max_num_seqs": slots, "kv_cache_dtype": kv}  # fmt: skip
    return KeptReport(name, 1.0, "x", "llamacpp", "1", "/smol.gguf", (), fields, report)


def test_real_starts_of_llama_cpp_are_predicted_and_then_known() -> None:
    assert LLAMA.memory is not None
    first = real("llamacpp-smollm2-135m-c8192-np1-q8_0", 1, "q8_0", 8192)
    next_one = real("embedded-smollm2-135m-c4096-np4-f16", 4, "f16", 4096)
    assert next_one.report is not None
    told = next_one.report.parts
    question = FitQuestion(memory=16 * GIB, gpus=0, context=1024, users=4, kv_dtype="f16", batched=512)
    before = estimate(SMOL, question, LLAMA.memory)
    found = learn([first], SMOL, question, LLAMA, "/smol.gguf")
    after = estimate(SMOL, question, LLAMA.memory, found)
    assert sum(told.values()) / MIB == pytest.approx(198.5, abs=0.5)
    assert before.per_gpu.likely == pytest.approx(sum(told.values()), rel=0.1)
    assert after.per_gpu.likely == pytest.approx(sum(told.values()), rel=0.03)
    for name, value in told.items():
        assert before.parts[name].likely == pytest.approx(value, rel=0.1), name
        assert after.parts[name].likely == pytest.approx(value, rel=0.03), name


#: Shapes of the models of the fixtures, as their config.json has them: kind, layers, heads, key, value, window.
SHAPES = {
    "gemma-3-270m-c16384": ((CacheKind.FULL, 3, 1, 256, 256, None), (CacheKind.SLIDING, 15, 1, 256, 256, 512)),
    "tiny-gemma3-c4096": ((CacheKind.FULL, 2, 2, 64, 64, None), (CacheKind.SLIDING, 10, 2, 64, 64, 512)),
    "tiny-mla-c4096": ((CacheKind.LATENT, 6, 1, 160, 0, None),),
    "qwen2.5-coder-0.5b-c4096": ((CacheKind.FULL, 24, 2, 64, 64, None),),
}


@pytest.mark.parametrize("name", SHAPES)
def test_vllm_holds_as_many_tokens_as_are_computed(name: str) -> None:
    assert VLLM.memory is not None
    report = report_of_log(FIXTURES / f"vllm-{name}-s1-auto.txt", VLLM.memory_lines, VLLM.stages)
    assert report is not None
    assert report.room == GIB
    caches = tuple(CacheGroup(*one) for one in SHAPES[name])
    facts = replace(FACTS, architecture=replace(FACTS.architecture, caches=caches))
    asked = FitQuestion(gpus=0, memory=16 * GIB, context=report.context, cache=report.room)
    assert estimate(facts, asked, VLLM.memory).cache_tokens == pytest.approx(report.kv_tokens, rel=0.002)


def test_a_cache_that_four_slots_share_is_known_after_a_start() -> None:
    """Where no number is named llama-server makes four slots that share it, and sliding layers keep four windows."""
    assert LLAMA.memory is not None
    started = real("llamacpp-gemma-3-270m-c8192-unified-f16", 1, "f16", 8192)
    started = replace(started, fields={**started.fields, "max_num_seqs": None})
    assert started.report is not None
    assert (started.report.context, started.report.slots) == (8192, 4)
    caches = (CacheGroup(CacheKind.FULL, 3, 1, 256, 256), CacheGroup(CacheKind.SLIDING, 15, 1, 256, 256, 512))
    facts = replace(SMOL, architecture=replace(SMOL.architecture, caches=caches, context=32768))
    question = FitQuestion(memory=16 * GIB, gpus=0, context=8192, kv_dtype="f16", batched=512)
    found = learn([started], facts, question, LLAMA, "/smol.gguf")
    fit = estimate(facts, question, LLAMA.memory, found)
    assert fit.parts["kv"].likely == pytest.approx(started.report.parts["kv"], rel=0.03)
