"""What engines say of their memory is read from their logs; no log can make the reader fail or believe nonsense."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.backends.embedded import VERBOSITY
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.memory_report import GIB, HOST, MIB, MemoryLine, MemoryReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs.memory_lines import MOST, report_of_lines, report_of_log

FIXTURES = Path(__file__).parents[1] / "fixtures"


def report(name: str, text: str) -> MemoryReport | None:
    engine = registry.backend(name)
    return report_of_lines(text.splitlines(), engine.memory_lines, engine.stages)


def of_file(name: str, path: Path) -> MemoryReport:
    engine = registry.backend(name)
    found = report_of_log(path, engine.memory_lines, engine.stages)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("file", "weights", "kv", "compute", "tokens", "context", "slots"),
    [
        ("llamacpp-smollm2-135m-c8192-np1-q8_0", 92.10, 95.62, 22.67 + 0.19, 8192, 8192, 1),
        ("llamacpp-gemma-3-270m-c8192-np1-f16", 235.16 + 12.66, 24 + 15, 27.28 + 1.0, 8192, 8192, 1),
        ("llamacpp-gemma-3-270m-c8192-np4-f16", 235.16 + 12.66, 24 + 60, 21.28 + 4.0, 8192, 2048, 4),
        ("llamacpp-qwen2.5-coder-0.5b-c2048-np1-f16", 462.96 + 28.05, 24, 39.27 + 0.58, 2048, 2048, 1),
        ("embedded-smollm2-135m-c4096-np4-f16", 92.10, 90, 15.64 + 0.75, 4096, 1024, 4),
    ],
)
def test_llama_cpp_tells_its_buffers(
    file: str, weights: float, kv: float, compute: float, tokens: int, context: int, slots: int
) -> None:
    found = of_file("llamacpp", FIXTURES / "memory" / f"{file}.txt")
    assert {one.name for one in found.devices} == {HOST}
    expected = {"weights": weights, "kv": kv, "activations": compute}
    assert {name: value / MIB for name, value in found.parts.items()} == pytest.approx(expected, abs=0.03)
    assert (found.kv_tokens, found.context, found.slots) == (tokens, context, slots)


def test_llama_cpp_on_two_gpus_is_judged_by_the_fuller_one() -> None:
    found = report(
        "llamacpp",
        """load_tensors:   CPU_Mapped model buffer size =   500.00 MiB
load_tensors:        CUDA0 model buffer size =  4000.00 MiB
load_tensors:        CUDA1 model buffer size =  3000.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB
llama_kv_cache:      CUDA1 KV buffer size =   448.00 MiB
llama_memory_recurrent:      CUDA0 RS buffer size =    10.00 MiB
sched_reserve:      CUDA0 compute buffer size =   300.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    20.00 MiB""",
    )
    assert found is not None
    assert [one.name for one in found.devices] == ["CUDA0", "CUDA1", HOST]
    assert found.parts == {"weights": 4000 * MIB, "kv": 522 * MIB, "activations": 300 * MIB}
    assert found.everywhere["weights"] == 7500 * MIB


def test_vllm_tells_weights_cache_graphs_and_what_a_step_takes() -> None:
    found = report(
        "vllm",
        """(EngineCore pid=7) INFO 11-23 08:01:02 [core.py:133] Initializing a V1 LLM engine (v0.33.0) with config: x
(Worker_TP0 pid=8) INFO 11-23 08:01:09 [model_runner.py:424] Model loading took 15.27 GiB memory and 4.101 seconds
(Worker_TP1 pid=9) INFO 11-23 08:01:09 [model_runner.py:424] Model loading took 15.31 GiB memory and 4.101 seconds
(EngineCore pid=7) INFO 11-23 08:01:20 [gpu_worker.py:759] Available KV cache memory: 50.25 GiB
(EngineCore pid=7) INFO 11-23 08:01:20 [kv_cache_utils.py:2327] GPU KV cache size: 411,648 tokens, """
        """Maximum concurrency for 32,768 tokens per request: 12.56x
(Worker_TP0 pid=8) INFO 11-23 08:01:30 [m.py:6581] Graph capturing finished in 9 secs, took 0.61 GiB
(Worker_TP0 pid=8) INFO 11-23 08:01:30 [gpu_worker.py:1034] Free memory on device (78.61/79.19 GiB) on startup. """
        """Desired GPU memory utilization is (0.92, 72.85 GiB). Actual usage is 16.02 GiB for consumed memory """
        """(weights + non-torch), 1.43 GiB for peak activation, and 0.61 GiB for CUDAGraph memory. Replace x
INFO: Application startup complete.
INFO: Available KV cache memory: 1.00 GiB""",
    )
    assert found is not None
    gib = {name: round(value / GIB, 2) for name, value in found.parts.items()}
    # The overhead is what the first rank said beyond its weights.
    assert gib == {"weights": 15.27, "activations": 1.43, "graphs": 0.61, "overhead": 0.75}
    assert (found.version, found.context, found.kv_tokens, found.concurrency) == ("0.33.0", 32768, 411648, 12.56)
    assert found.room == round(50.25 * GIB)
    assert found.kv_bytes_per_token == pytest.approx(50.25 * GIB / 411648)
    assert (found.total, found.limit) == (round(79.19 * GIB), round(72.85 * GIB))


def test_earlier_vllm_told_it_in_other_words() -> None:
    found = report(
        "vllm",
        """INFO 02-01 [worker.py:267] the current vLLM instance can use total_gpu_memory (79.10GiB) x """
        """gpu_memory_utilization (0.90) = 71.19GiB
INFO 02-01 [worker.py:267] model weights take 14.99GiB; non_torch_memory takes 0.07GiB; PyTorch activation peak """
        """memory takes 1.20GiB; the rest of the memory reserved for KV Cache is 54.93GiB.
INFO 02-01 Maximum concurrency for 8192 tokens per request: 54.93x""",
    )
    assert found is not None
    assert {name: round(value / GIB, 2) for name, value in found.parts.items()} == {
        "weights": 14.99, "activations": 1.2, "overhead": 0.07,
    }  # fmt: skip
    assert (found.context, round((found.room or 0) / GIB, 2)) == (8192, 54.93)


def test_vllm_on_a_cpu_and_sglang_as_captured() -> None:
    vllm = of_file("vllm", FIXTURES / "logs" / "vllm.txt")
    assert (vllm.room, vllm.kv_tokens, vllm.context, vllm.version) == (GIB, 46592, 2048, "0.32.0")
    sglang = of_file("sglang", FIXTURES / "logs" / "sglang.txt")
    assert {name: round(value / GIB, 2) for name, value in sglang.parts.items()} == {"weights": 0.23, "kv": 0.18}
    assert (sglang.kv_tokens, sglang.context) == (8192, 2048)


def test_sglang_tells_each_rank_and_each_pool() -> None:
    found = report(
        "sglang",
        """[2026-05-15 08:40:32 TP0] Load weight end. elapsed=9 s, type=X, avail mem=60.1 GB, mem usage=16.41 GB.
[2026-05-15 08:40:32 TP1] Load weight end. elapsed=9 s, type=X, avail mem=60.1 GB, mem usage=16.40 GB.
[2026-05-15 08:40:33 TP0] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 56320, K size: 5.40 GB, V size: 5.40 GB
[2026-05-15 08:40:33 TP0] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 70656, K size: 0.68 GB, V size: 0.68 GB
[2026-05-15 08:40:33 TP0] Mamba Cache is allocated. max_mamba_cache_size: 40, conv_state size: 0.10GB, """
        """ssm_state size: 2.20GB
[2026-05-15 08:41:32 TP0] Capture cuda graph end. Time elapsed: 5 s. mem usage=1.93 GB. avail mem=8.16 GB.
[2026-05-15 08:41:33 TP0] max_total_num_tokens=56320, chunked_prefill_size=8192, context_len=32768, x=1""",
    )
    assert found is not None
    assert {name: round(value / GIB, 2) for name, value in found.parts.items()} == {
        "weights": 16.41, "kv": 14.46, "graphs": 1.93,
    }  # fmt: skip
    assert [one.name for one in found.devices] == ["TP0", "TP1"]


def test_engines_that_say_nothing_have_no_report() -> None:
    engine = registry.backend("llamacpp")
    assert report_of_log(FIXTURES / "logs" / "llamacpp.txt", engine.memory_lines, engine.stages) is None
    assert registry.backend("transformers").memory_lines == ()


def test_the_last_start_of_a_run_counts(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    line = "load_tensors:   CPU model buffer size = {} MiB\n"
    text = "[vllm-studio] attempt {} at 2026-01-01T00:00:00Z\n"
    log.write_text(text.format(1) + line.format("10.00") + text.format(2) + line.format("20.00"))
    lines = registry.backend("llamacpp").memory_lines
    found = report_of_log(log, lines, attempt=2)
    assert found is not None
    assert found.parts == {"weights": 20 * MIB}


@pytest.mark.parametrize("text", ["9" * 4000, "1e999", "-5", "nan", "1.2.3", "9" * 30, "..", "999999999999999999.0"])
def test_a_figure_that_makes_no_sense_is_left_out(text: str) -> None:
    pattern = MemoryLine("weights", r"weights (?P<weights>\S+)", MIB)
    assert report_of_lines([f"weights {text}"], [pattern]) is None


def test_hostile_logs_cost_little_and_raise_nothing(tmp_path: Path) -> None:
    rng = random.Random(13)
    shapes = [
        "{} model buffer size = {} MiB", "Free memory on device ({}/{} GiB), " + "x, " * 90,
        "KV Cache is allocated. {} K size: {}",
        "(Worker_TP0 pid=1) {}Model loading took {} GiB memory", "llama_context: n_ctx = {}{}", "\x1b[31m{}\r{}\0",
    ]  # fmt: skip
    pieces = ["9" * 50, " " * 900, "é" * 300, "(" * 500, "1,2.3", "\ufffd", "CUDA0", "[" * 200, "GiB" * 300]
    log = tmp_path / "engine.log"
    log.write_text("\n".join(rng.choice(shapes).format(rng.choice(pieces), rng.choice(pieces)) for _ in range(3000)))
    assert log.stat().st_size > MOST / 4
    for name in ("vllm", "sglang", "llamacpp"):
        engine = registry.backend(name)
        began = time.perf_counter()
        found = report_of_log(log, engine.memory_lines, engine.stages)
        assert time.perf_counter() - began < 5
        assert found is None or MemoryReport.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "data", [{"devices": [1, None, {"device": 3, "parts": {"weights": "x", "kv": -1, "else": 5}}], "kv_tokens": True,
              "rounding": [], "context": 1e300, "concurrency": float("inf"), "kv_room": 10**30}, {}]
)  # fmt: skip
def test_what_was_kept_is_read_without_belief(data: dict[str, object]) -> None:
    found = MemoryReport.from_json(data)
    assert (found.parts, found.kv_tokens, found.context, found.room) == ({}, None, None, None)


def test_a_report_is_kept_whole() -> None:
    found = of_file("llamacpp", FIXTURES / "memory" / "llamacpp-gemma-3-270m-c8192-np4-f16.txt")
    assert MemoryReport.from_json(found.to_json()) == found


def test_a_missing_log_is_no_report(tmp_path: Path) -> None:
    lines = registry.backend("vllm").memory_lines
    assert report_of_log(tmp_path / "none", lines) is None
    (tmp_path / "empty").write_bytes(b"")
    assert report_of_log(tmp_path / "empty", lines, attempt=3) is None


def test_llama_server_is_asked_to_say_it_unless_the_recipe_says_how_much(tmp_path: Path) -> None:
    server, model = tmp_path / "llama-server", tmp_path / "m.gguf"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    model.write_bytes(b"GGUF")

    def said(**fields: Any) -> str | None:
        made = Recipe.model_validate(
            {
                "id": "x",
                "name": "x",
                "backend": "llamacpp",
                "model_path": str(model),
                "executable": str(server),
                **fields,
            }
        )
        context = LaunchContext(Settings(), "127.0.0.1", 9000)
        return registry.backend("llamacpp").command(made, context).env.get(VERBOSITY)

    assert said() == "4"
    assert said(extra_args={"lv": 5}) is None
    assert said(extra_args={"--verbose": True}) is None
    assert said(env_vars={VERBOSITY: "2"}) == "2"
