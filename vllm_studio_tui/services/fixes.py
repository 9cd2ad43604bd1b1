"""From why a run failed to changes of its recipe that answer it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import RunState

#: A context below this helps nobody.
SMALLEST_CONTEXT = 512


@dataclass(frozen=True, slots=True)
class Fix:
    """A change of a recipe. `label` says exactly what it does."""

    label: str
    changes: Mapping[str, Any]


def fixes(status: RunState, recipe: Recipe) -> list[Fix]:
    """What could be changed after a failure, the best first; empty where nothing is known to help."""
    seen: set[str] = set()
    found = []
    for changes in _changes(status.reason or "", _text(status), recipe):
        wanted = {name: value for name, value in changes.items() if getattr(recipe, name) != value}
        label = ", ".join(_label(name, value) for name, value in wanted.items())
        if label and label not in seen:
            seen.add(label)
            found.append(Fix(label, wanted))
    return found


def _text(status: RunState) -> str:
    return "\n".join((status.title or "", status.advice or "", *status.evidence))


def _changes(reason: str, text: str, recipe: Recipe) -> Iterator[dict[str, Any]]:
    if reason in ("kv_cache_too_small", "context_too_long"):
        longest = _first(
            text,
            (
                r"estimated maximum model length is (\d+)",
                r"max_position_embeddings=(\d+)",
                r"max_model_len to at most (\d+)",
            ),
        )
        if longest is not None and longest >= SMALLEST_CONTEXT:
            yield {"max_model_len": longest}
    if reason == "kv_cache_too_small" and recipe.backend in ("vllm", "sglang"):
        yield {"kv_cache_dtype": "fp8"}
        if recipe.gpu_memory_utilization is not None and recipe.gpu_memory_utilization < 0.95:
            yield {"gpu_memory_utilization": 0.95}
    if reason in ("out_of_memory", "gpu_memory_taken") and recipe.backend in ("vllm", "sglang"):
        if (recipe.gpu_memory_utilization or 0.9) > 0.8:
            yield {"gpu_memory_utilization": 0.8}
        if recipe.max_num_seqs is None or recipe.max_num_seqs > 64:
            yield {"max_num_seqs": 64}
    if reason in ("out_of_memory", "kv_cache_too_small") and (recipe.max_model_len or 0) >= 2 * SMALLEST_CONTEXT:
        yield {"max_model_len": (recipe.max_model_len or 0) // 2}
    if reason == "port_in_use" and recipe.port is not None:
        yield {"port": None}
    if reason == "unknown_parser":
        if recipe.tool_call_parser:
            yield {"tool_call_parser": None}
        if recipe.reasoning_parser:
            yield {"reasoning_parser": None}
    if reason in ("unknown_flag", "unknown_flags", "invalid_value"):
        yield from _without_flags(text, recipe.extra_args)


def _without_flags(text: str, extra: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in extra:
        flag = "--" + name.replace("_", "-").lstrip("-")
        if re.search(rf"{re.escape(flag)}\b", text):
            yield {"extra_args": {key: value for key, value in extra.items() if key != name}}


def _first(text: str, patterns: Sequence[str]) -> int | None:
    for pattern in patterns:
        if match := re.search(pattern, text):
            return int(match[1])
    return None


def _label(name: str, value: Any) -> str:
    if name == "extra_args":
        return "leave out the unknown flag"
    if value is None:
        return f"no {name}"
    return f"{name} {value}"
