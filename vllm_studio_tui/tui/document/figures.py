"""The figures of an answer in words: how many tokens, how fast."""

from __future__ import annotations

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit import numbers


def generated_tokens(answer: Message) -> str:
    """Return how many tokens were generated: `140`, or `~140` where only their speed was measured; empty: unknown.

    An answer that was stopped has no count of the engine's, because an engine counts at the end.
    """
    if answer.usage.completion_tokens is not None:
        return str(answer.usage.completion_tokens)
    timings = answer.timings
    if timings.tokens_per_second is None or timings.total is None or timings.ttft is None:
        return ""
    return f"~{max(1, round(timings.tokens_per_second * max(0.0, timings.total - timings.ttft)))}"


def speed(answer: Message) -> str:
    """Return tokens per second: `59.8`, or `~59.8` where the engine did not count them; empty: unknown."""
    if answer.timings.tokens_per_second is None:
        return ""
    mark = "" if answer.usage.completion_tokens is not None else "~"
    return f"{mark}{numbers.rate(answer.timings.tokens_per_second)}"


def parts(answer: Message, *, detail: bool = False) -> list[str]:
    """Return the figures that are known, each with its unit; with `detail` also those of the prompt."""
    usage, timings = answer.usage, answer.timings
    found = []
    if timings.ttft is not None:
        found.append(f"TTFT {numbers.latency(timings.ttft)}")
    if rate := speed(answer):
        found.append(f"{rate} tok/s")
    tokens = generated_tokens(answer)
    if timings.total is not None:
        found.append(f"{tokens} tok in {numbers.latency(timings.total)}" if tokens else numbers.latency(timings.total))
    elif tokens:
        found.append(f"{tokens} tok")
    if detail:
        if usage.prompt_tokens is not None:
            found.append(f"prompt {usage.prompt_tokens}")
        if usage.cached_tokens:
            found.append(f"cached {usage.cached_tokens}")
        if usage.reasoning_tokens:
            found.append(f"thinking {usage.reasoning_tokens}")
    return found
