"""Models in words: how they are called by their parameters, context and architecture."""

from __future__ import annotations

from vllm_studio_tui.domain.model import Model
from vllm_studio_tui.kit import numbers

#: Endings of the names of architectures that say nothing about a model here.
_ENDINGS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model")


def parameters(number: int | None, unknown: str = "–") -> str:
    """Format a number of parameters as models are called by it: `8.3B`, `235B`, `135M`."""
    if number is None or number <= 0:
        return unknown
    if number < 1e6:
        return numbers.count(number)
    scaled, unit = (number / 1e9, "B") if number >= 999.5e6 else (number / 1e6, "M")
    whole = unit == "M" or scaled >= 999.5 or round(scaled, 1) == round(scaled)
    return f"{scaled:.0f}{unit}" if whole else f"{scaled:.1f}{unit}"


def context(length: int | None, unknown: str = "–") -> str:
    """Format a length of context: `128k` where it is that exactly, else all its digits."""
    if length is None or length <= 0:
        return unknown
    return f"{length // 1024}k" if length % 1024 == 0 and length % 1000 else str(length)


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
