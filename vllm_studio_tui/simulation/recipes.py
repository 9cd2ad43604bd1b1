"""Recipes of the simulation: one gets ready, one keeps loading, one fails."""

from __future__ import annotations

from typing import Any

_PROGRAM = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"


def _recipe(name: str, flags: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"sim-{name}",
        "name": f"{name} (SIMULATED)",
        "backend": "custom",
        "command": f"{_PROGRAM} {flags}",
        "served_model_name": name,
        "metrics_style": "vllm",
        "tags": ["simulated"],
        **fields,
    }


def simulated_recipes() -> list[dict[str, Any]]:
    """Return the data of three recipes, for `domain.recipe_reading.parse_recipe`."""
    return [
        _recipe(
            "qwen3-32b",
            "--load-seconds 3 --tokens-per-second 60",
            gpus=["0", "1"],
            description="SIMULATED: gets ready in three seconds.",
        ),
        _recipe(
            "deepseek-r1-70b",
            "--load-seconds 600",
            gpus=["2"],
            description="SIMULATED: loads for ten minutes.",
        ),
        _recipe(
            "llama-405b",
            "--load-seconds 2 --simulate-failure oom",
            gpus=["3"],
            description="SIMULATED: its GPUs are too small for it.",
        ),
    ]
