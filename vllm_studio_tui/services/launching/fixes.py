"""From why a run failed to changes of its recipe that answer it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.runs.diagnose import Diagnosis

#: A context below this helps nobody.
SMALLEST_CONTEXT = 512
#: What is left free of a GPU that others use too.
MARGIN = 0.03
_ENTRIES = ("extra_args", "env_vars")


@dataclass(frozen=True, slots=True)
class Fix:
    """A change of a recipe. `label` says exactly what it does."""

    label: str
    changes: Mapping[str, Any]


def fixes(status: RunState, recipe: Recipe) -> list[Fix]:
    """What could be changed after a failure, the best first; empty where nothing is known to help."""
    seen: set[str] = set()
    found = []
    text = "\n".join((status.title or "", status.advice or "", *status.evidence))
    for changes in (_whole(status.fix, recipe), *_changes(status.reason or "", text, recipe)):
        wanted = {name: value for name, value in changes.items() if getattr(recipe, name) != value}
        label = ", ".join(_label(name, value, getattr(recipe, name)) for name, value in wanted.items())
        if label and label not in seen:
            seen.add(label)
            found.append(Fix(label, wanted))
    return found


def fix_without_recipe(found: Diagnosis) -> dict[str, Any]:
    """The change that a log alone suggests: the table's, or one that is computed from the line."""
    if found.fix:
        return dict(found.fix)
    text = "\n".join((found.title or "", found.line or "", *found.evidence))
    return next(_from_text(found.reason or "", text), {})


def _whole(changes: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Single entries (`extra_args.name`) as the whole field; fields that this version does not know are left out."""
    made: dict[str, Any] = {}
    for name, value in changes.items():
        field, dot, entry = name.partition(".")
        if field not in Recipe.model_fields:
            continue
        if dot and field in _ENTRIES:
            value = {**made.get(field, getattr(recipe, field)), entry: value}
        made[field] = value
    if made.get("backend", recipe.backend) != recipe.backend:
        # The other engine is another program, and does not know the flags of this one.
        made |= {"executable": None, "python_path": None, "extra_args": {}}
    return made


def _from_text(reason: str, text: str) -> Iterator[dict[str, Any]]:
    """What can be computed from the engine's own words."""
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
    if reason == "tensor_parallel_indivisible":
        match = re.search(r"attention heads \((\d+)\).{0,60}parallel size \((\d+)\)", text)
        if match:
            heads, size = int(match[1]), int(match[2])
            yield {"tensor_parallel_size": max(one for one in range(1, size + 1) if heads % one == 0)}
    if reason == "gpu_memory_taken":
        match = re.search(r"\(([\d.]+)/([\d.]+) GiB\)", text)
        if match and float(match[2]) > 0:
            share = float(match[1]) / float(match[2]) - MARGIN
            if share >= 0.1:
                yield {"gpu_memory_utilization": round(share - 0.005, 2)}
    if reason == "kv_cache_too_small":
        match = re.search(r"\(([\d.]+)/[\d.]+ GiB\) on kv cache allocation", text)
        if match and float(match[1]) >= 2:
            yield {"env_vars.VLLM_CPU_KVCACHE_SPACE": str(int(float(match[1]) / 2))}


def _changes(reason: str, text: str, recipe: Recipe) -> Iterator[dict[str, Any]]:
    yield from (_whole(one, recipe) for one in _from_text(reason, text))
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
    if reason in ("unknown_flag", "invalid_value"):
        yield from _other_flags(text, recipe)
    if reason == "offline" and "HF_HUB_OFFLINE" in recipe.env_vars:
        yield {"env_vars": {key: value for key, value in recipe.env_vars.items() if key != "HF_HUB_OFFLINE"}}


def _other_flags(text: str, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """The flag by its present name, else without it."""
    from vllm_studio_tui.backends.common.known import known

    table = known(recipe.backend)
    extra = recipe.extra_args
    for name in extra:
        bare = name.replace("_", "-").lstrip("-")
        if not re.search(rf"--{re.escape(bare)}(?![\w-])", text):
            continue
        rest = {key: value for key, value in extra.items() if key != name}
        renamed = table.gone.get(bare) if table else None
        if renamed and renamed.replace("-", "_") not in rest:
            yield {"extra_args": {**rest, renamed.replace("-", "_"): extra[name]}}
        yield {"extra_args": rest}


def _first(text: str, patterns: Sequence[str]) -> int | None:
    for pattern in patterns:
        if match := re.search(pattern, text):
            return int(match[1])
    return None


def _label(name: str, value: Any, before: Any) -> str:
    if name in _ENTRIES:
        gone = [key for key in before if key not in value]
        new = [f"{key} {_short(one)}" for key, one in value.items() if key not in before or before[key] != one]
        if gone and new:
            return f"{new[0]} instead of {gone[0]}"
        return ", ".join([f"no {key}" for key in gone] or new)
    if value is None:
        return f"no {name}"
    return f"{name} {value}"


def _short(value: Any) -> str:
    return "" if value is True else str(value)[:40]
