"""The recipes of the simulated home, as a person would have them after some weeks."""

from __future__ import annotations

from typing import Any

#: The recipes whose runs are there when the home opens: one serves, one loads, one has failed.
READY, LOADING, FAILED = "qwen3-32b", "deepseek-r1-70b", "llama-3.3-70b"


def _recipe(name: str, model: str, backend: str = "vllm", **fields: Any) -> dict[str, Any]:
    return {"id": name, "name": name, "model_path": model, "backend": backend, "served_model_name": name, **fields}


def simulated_recipes() -> list[dict[str, Any]]:
    """Return the data of the recipes, for `domain.recipe_reading.parse_recipe`."""
    return [
        _recipe(
            READY,
            "Qwen/Qwen3-32B",
            tensor_parallel_size=2,
            gpus=["0", "1"],
            max_model_len=32768,
            max_num_seqs=128,
            gpu_memory_utilization=0.9,
            tool_call_parser="hermes",
            reasoning_parser="qwen3",
            tags=["prod"],
            description="The house's chat and coding model. opencode, the web chat and CI ask it.",
        ),
        _recipe(
            LOADING,
            "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
            "sglang",
            tensor_parallel_size=2,
            gpus=["2", "3"],
            max_model_len=16384,
            reasoning_parser="deepseek-r1",
            tags=["eval"],
            description="For long chains of thought in the weekly evaluation.",
        ),
        _recipe(
            FAILED,
            "meta-llama/Llama-3.3-70B-Instruct",
            tensor_parallel_size=2,
            gpus=["2", "3"],
            max_model_len=131072,
            tool_call_parser="llama3_json",
            tags=["prod", "code"],
            description="Long context for the repo bot. The judge runs on house-judge.",
        ),
        _recipe(
            "gpt-oss-120b",
            "openai/gpt-oss-120b",
            gpus=["2"],
            max_model_len=131072,
            tool_call_parser="openai",
            tags=["code"],
            description="Best with tools. Not tried yet.",
        ),
        _recipe(
            "gemma-3-12b",
            "google/gemma-3-12b-it",
            gpus=["2"],
            max_model_len=32768,
            tags=["prod"],
            description="Short answers and translations.",
        ),
        _recipe(
            "mistral-small-24b",
            "mistralai/Mistral-Small-24B-Instruct-2501",
            gpus=["3"],
            max_model_len=32768,
            tool_call_parser="mistral",
            tags=["eval"],
        ),
        _recipe(
            "qwen2.5-vl-7b",
            "Qwen/Qwen2.5-VL-7B-Instruct",
            "sglang",
            gpus=["3"],
            max_model_len=32768,
            description="Reads screenshots and scanned pages.",
        ),
        _recipe("phi-4", "microsoft/phi-4", gpus=["3"], max_model_len=16384, tags=["eval"]),
        _recipe(
            "smollm2-135m",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            gpus=["3"],
            max_model_len=8192,
            gpu_memory_utilization=0.3,
            tags=["old"],
            description="Tiny. To try things out in seconds.",
        ),
        _recipe(
            "house-judge",
            "house/judge-8b",
            gpus=["3"],
            max_model_len=8192,
            tags=["eval"],
            description="Grades answers from 1 to 5.",
        ),
        _recipe(
            "llama-405b-fp8",
            "meta-llama/Llama-3.1-405B-Instruct-FP8",
            tensor_parallel_size=8,
            max_model_len=16384,
            tags=["old"],
            description="Needs a host with eight GPUs.",
        ),
    ]
