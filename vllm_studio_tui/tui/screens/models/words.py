"""Models in words: how they are called by their parameters, context and architecture."""

from __future__ import annotations

from vllm_studio_tui.domain.model import Model
from vllm_studio_tui.kit import numbers

#: Endings of the names of architectures that say nothing about a model here.
_ENDINGS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model")


parameters, context = numbers.parameters, numbers.context_length


def architecture(name: str | None) -> str:
    """Return the name of an architecture as people say it: `Qwen3MoeForCausalLM` is qwen3moe."""
    words = name or ""
    for ending in _ENDINGS:
        words = words.removesuffix(ending)
    return words.lower().replace("_", " ")


def kept_in(one: Model) -> str:
    """Return how its weights are kept: its quantization, else how many bits each takes where that is a whole number."""
    if one.quantization or not one.parameters or one.complete is False:
        return one.quantization or ""
    bits = one.bytes * 8 / one.parameters
    return next((f"{whole} bit" for whole in (8, 16, 32) if 0.97 * whole < bits < 1.06 * whole), "")
