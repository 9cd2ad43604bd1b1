"""Engines, stages and places of runs in words."""

from __future__ import annotations

from vllm_studio_tui.runs.read import RunView

BACKENDS = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "transformers": "Transformers",
    "tabbyapi": "TabbyAPI",
    "custom": "custom",
    "external": "external",
}
STAGES = {
    "config": "config",
    "downloading": "download",
    "weights": "weights",
    "compiling": "compile",
    "kv_cache": "KV cache",
    "graphs": "graphs",
    "warmup": "warm-up",
    "serving": "serving",
}
#: The order in which engines go through them.
ORDER = tuple(STAGES)


def engine_word(run: RunView) -> str:
    """The engine of a run; a simulated one is always labelled so."""
    simulated = run.spec is not None and run.spec.simulated
    return "SIMULATED" if simulated else backend_word(run.backend)


def backend_word(name: str | None) -> str:
    return BACKENDS.get(name or "", name or "–")


def stage_word(stage: str | None) -> str:
    return STAGES.get(stage or "", stage or "")


def where(run: RunView) -> str:
    """GPUs and port of a run."""
    gpus = f"GPU {' '.join(run.spec.gpus)}   " if run.spec is not None and run.spec.gpus else ""
    return f"{gpus}:{run.port}" if run.port else gpus.strip()
