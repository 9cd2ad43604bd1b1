"""What a Ray cluster says, in words: resources, why there is no room for them, and what a long message comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vllm_studio_tui.domain.ray_view import RayAmount, RayBundle, RayNode
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.sanitize import clean_line, strip_ansi

MEMORY = ("memory", "object_store_memory")
#: Ray writes the kind of a GPU as a resource of which a tiny part is taken.
_KIND = "accelerator_type:"
_LONGEST = 240


def amount(value: float | None) -> str:
    """Return a number of CPUs or GPUs, which may be a part of one: `2`, `0.25`."""
    return numbers.count(None) if value is None else f"{round(value, 3):g}"


def resource(name: str, value: float | None) -> str:
    """Return how much of a resource: `2 GPU`, `0.5 CPU`, `8.0 GiB memory`, `H100`."""
    if name.startswith(_KIND):
        return name.removeprefix(_KIND)
    if name in MEMORY:
        return f"{numbers.size(value)} {'memory' if name == 'memory' else 'object store'}"
    return f"{amount(value)} {name}"


def state_words(state: str) -> str:
    """Return a state of Ray as people write: `DEPLOY_FAILED` is `deploy failed`."""
    return state.lower().replace("_", " ")


def share_words(one: RayAmount, unknown: str = "–") -> str:
    """Return how much is used of how much: `1 of 2`; unknown where a node has nothing of it."""
    if one.total is None:
        return unknown
    return f"{unknown if one.used is None else amount(one.used)} of {amount(one.total)}"


def needs_words(needs: Mapping[str, float]) -> str:
    """Return what is needed, GPUs first: `2 GPU and 0.1 CPU`."""
    order = sorted(needs, key=lambda name: (name != "GPU", name != "CPU", name))
    words = [resource(name, needs[name]) for name in order]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "nothing"


def bundles_words(bundles: Sequence[RayBundle]) -> str:
    """Return what a placement group needs: `2 times 1 GPU`."""
    many = [f"{one.count} times {needs_words(one.needs)}" if one.count > 1 else needs_words(one.needs)
            for one in bundles]  # fmt: skip
    return ", ".join(many)


def summed(bundles: Iterable[RayBundle]) -> dict[str, float]:
    """Return what bundles need together."""
    found: dict[str, float] = {}
    for one in bundles:
        for name, value in one.needs.items():
            found[name] = found.get(name, 0.0) + value * one.count
    return found


def no_room(needs: Mapping[str, float], nodes: Sequence[RayNode]) -> str:
    """Return why no node takes this, in words; empty where one could, or where that is not known."""
    if not nodes:
        return "no node is alive"
    for name, needed in needs.items():
        most = max((node.amount(name).total or 0.0 for node in nodes), default=0.0)
        if most < needed:
            if name.startswith(_KIND):
                return f"no node has {resource(name, needed)}"
            return f"no node has {'any ' + name if not most else 'more than ' + resource(name, most)}"
    whole = [node for node in nodes if all((node.amount(name).total or 0.0) >= value for name, value in needs.items())]
    if not whole:
        return "no node has all of it"
    for name, needed in needs.items():
        free = [_free(node, name) for node in whole]
        if None not in free and max(one for one in free if one is not None) < needed - 1e-9:
            most = max(one for one in free if one is not None)
            return f"no node has {resource(name, needed)} free (the most is {resource(name, most)})"
    return ""


def no_room_for_group(bundles: Sequence[RayBundle], strategy: str, nodes: Sequence[RayNode]) -> str:
    """Return why a placement group is not placed, in words; empty where that is not known."""
    total = summed(bundles)
    if strategy == "STRICT_PACK":
        return no_room(total, nodes)
    if strategy == "STRICT_SPREAD" and (parts := sum(one.count for one in bundles)) > len(nodes):
        return f"{parts} nodes are needed, and {len(nodes)} {'is' if len(nodes) == 1 else 'are'} alive"
    for one in bundles:
        if reason := no_room(one.needs, nodes):
            return reason
    for name, needed in total.items():
        free = [_free(node, name) for node in nodes]
        if None not in free and sum(one for one in free if one is not None) < needed - 1e-9:
            return f"{resource(name, sum(one for one in free if one is not None))} is free on all nodes together"
    return ""


def _free(node: RayNode, name: str) -> float | None:
    found = node.amount(name)
    return found.total - found.used if found.total is not None and found.used is not None else None


def gist(message: str) -> str:
    """Return what a message comes to: the last line of a traceback, else its first sentences."""
    lines = [line.strip() for raw in strip_ansi(message).splitlines() if (line := clean_line(raw)).strip()]
    if not lines:
        return ""
    text = mask_text(lines[-1][:2000])
    if len(text) <= _LONGEST:
        return text.rstrip(".")
    cut = text[:_LONGEST].rfind(". ")
    return text[:cut] if cut > 40 else f"{text[:_LONGEST].rstrip()} …"
