"""From why a run failed to changes of its recipe that answer it.

A cause names its fixes itself (`backends/failures/`): changes as data, or one of the rules below, which compute them
from what the pattern's groups matched, and from what the recipe has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.domain.spec import Fix as Declared
from vllm_studio_tui.keeper.causes import find
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
    """Return what could be changed after a failure, the best first; empty where nothing is known to help."""
    declared, groups = (status.fixes, status.groups) if status.fixes is not None else _recognised(status)
    seen: set[str] = set()
    found = []
    for one in declared:
        for changes in _changes(one, groups, recipe):
            whole = _whole(changes, recipe)
            wanted = {name: value for name, value in whole.items() if getattr(recipe, name) != value}
            label = ", ".join(_label(name, value, getattr(recipe, name)) for name, value in wanted.items())
            if label and label not in seen:
                seen.add(label)
                found.append(Fix(label, wanted))
    return found


def fix_without_recipe(found: Diagnosis) -> dict[str, Any]:
    """Return the first change that a log alone suggests; empty where it suggests none."""
    return next((dict(changes) for one in found.fixes for changes in _changes(one, found.groups, None)), {})


def _recognised(status: RunState) -> tuple[list[Declared], Sequence[str]]:
    """Find again the row that an earlier version's keeper matched, of which it kept only the line."""
    from vllm_studio_tui.backends.failures.table import FAILURES

    rows = [row for row in FAILURES if row.reason == status.reason]
    cause = next(filter(None, (find([line], rows) for line in status.evidence)), None)
    if cause is not None:
        return [*status.known_fixes, *cause.fixes], cause.groups
    rules = [fix for row in rows for fix in row.fixes if isinstance(fix, str)]
    return [*status.known_fixes, *rules], ()


def _changes(declared: Declared, groups: Sequence[str], recipe: Recipe | None) -> Iterator[Mapping[str, Any]]:
    """Yield what a declared fix amounts to: it itself where it is data; a rule that this version lacks is nothing."""
    if not isinstance(declared, str):
        yield declared
    elif declared in FROM_GROUPS:
        yield from FROM_GROUPS[declared](groups)
    elif declared in FROM_RECIPE and recipe is not None:
        yield from FROM_RECIPE[declared](recipe, groups)


# --- rules -------------------------------------------------------------------------------------------------------


def _dividing_gpus(groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the largest number of GPUs, up to what was asked for, that divides the attention heads: (heads, GPUs)."""
    heads, size = _number(groups, 0), _number(groups, 1)
    if heads and size:
        yield {"tensor_parallel_size": max(one for one in range(1, min(int(size), 4096) + 1) if heads % one == 0)}


def _free_share(groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the share of a GPU that is free, less a margin: (free, all)."""
    free, total = _number(groups, 0), _number(groups, 1)
    if free and total and free / total - MARGIN >= 0.1:
        yield {"gpu_memory_utilization": round(free / total - MARGIN - 0.005, 2)}


def _cpu_cache(groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Half of the memory that the node has for the KV cache of vLLM on the CPU, in GiB: (free/all)."""
    free = _number([groups[0].partition("/")[0]] if groups else [], 0)
    if free and free >= 2:
        yield {"env_vars.VLLM_CPU_KVCACHE_SPACE": str(int(free / 2))}


def _number(groups: Sequence[str], at: int) -> float | None:
    try:
        return float(groups[at]) if len(groups[at]) < 16 else None
    except (IndexError, ValueError):
        return None


def _smaller_cache(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    if _shares_memory(recipe):
        yield {"kv_cache_dtype": "fp8"}


def _more_memory(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    if _shares_memory(recipe) and recipe.gpu_memory_utilization is not None and recipe.gpu_memory_utilization < 0.95:
        yield {"gpu_memory_utilization": 0.95}


def _less_memory(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    if _shares_memory(recipe) and (recipe.gpu_memory_utilization or 0.9) > 0.8:
        yield {"gpu_memory_utilization": 0.8}


def _fewer_requests(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    if _shares_memory(recipe) and (recipe.max_num_seqs is None or recipe.max_num_seqs > 64):
        yield {"max_num_seqs": 64}


def _half_context(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    if (recipe.max_model_len or 0) >= 2 * SMALLEST_CONTEXT:
        yield {"max_model_len": (recipe.max_model_len or 0) // 2}


def _free_port(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    yield {"port": None}


def _no_parsers(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    yield {"tool_call_parser": None}
    yield {"reasoning_parser": None}


def _online(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    yield {"env_vars": {key: value for key, value in recipe.env_vars.items() if key != "HF_HUB_OFFLINE"}}


def _named_flags(recipe: Recipe, groups: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Each flag of `extra_args` that the groups name, by its present name, else without it."""
    backend = registry.find(recipe.backend)
    table = backend.known() if backend is not None else None
    text = " ".join(groups)
    for mark in "=/,;:'\"()":
        text = text.replace(mark, " ")
    named = {word.removeprefix("--").replace("_", "-") for word in text.split() if word.startswith("--")}
    for name, value in recipe.extra_args.items():
        bare = name.replace("_", "-").lstrip("-")
        if bare not in named:
            continue
        rest = {key: one for key, one in recipe.extra_args.items() if key != name}
        renamed = table.gone.get(bare, "").replace("-", "_") if table else ""
        if renamed and renamed not in rest:
            yield {"extra_args": {**rest, renamed: value}}
        yield {"extra_args": rest}


def _shares_memory(recipe: Recipe) -> bool:
    backend = registry.find(recipe.backend)
    return backend is not None and backend.shares_gpu_memory


#: Rules that need only what the pattern's groups matched.
FROM_GROUPS: Mapping[str, Callable[[Sequence[str]], Iterator[Mapping[str, Any]]]] = {
    "cpu_cache": _cpu_cache,
    "dividing_gpus": _dividing_gpus,
    "free_share": _free_share,
}
#: Rules that need the recipe, too.
FROM_RECIPE: Mapping[str, Callable[[Recipe, Sequence[str]], Iterator[Mapping[str, Any]]]] = {
    "fewer_requests": _fewer_requests,
    "free_port": _free_port,
    "half_context": _half_context,
    "less_memory": _less_memory,
    "more_memory": _more_memory,
    "named_flags": _named_flags,
    "no_parsers": _no_parsers,
    "online": _online,
    "smaller_cache": _smaller_cache,
}


# --- recipes -----------------------------------------------------------------------------------------------------


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
