"""The backends there are: ours, and those that other packages add by entry point `vllm_studio_tui.backends`."""

from __future__ import annotations

from functools import cache

from vllm_studio_tui.backends.base import ENGINE_FIELDS, Backend, nearest
from vllm_studio_tui.backends.common import plug_ins
from vllm_studio_tui.backends.custom import Custom
from vllm_studio_tui.backends.external import External
from vllm_studio_tui.backends.llamacpp import LlamaCpp
from vllm_studio_tui.backends.sglang import SGLang
from vllm_studio_tui.backends.tabbyapi import TabbyAPI
from vllm_studio_tui.backends.transformers import Transformers
from vllm_studio_tui.backends.vllm import Vllm
from vllm_studio_tui.domain.errors import NotFound

GROUP = "vllm_studio_tui.backends"

OURS: dict[str, Backend] = {
    one.name: one for one in (Vllm(), SGLang(), Transformers(), TabbyAPI(), LlamaCpp(), Custom(), External())
}


@cache
def _loaded() -> tuple[dict[str, Backend], dict[str, str]]:
    """All backends by name, and for each plug-in that is broken, why."""
    others: dict[str, Backend] = {}

    def accept(point: str, loaded: object) -> Backend:
        one = loaded() if isinstance(loaded, type) else loaded
        if not isinstance(one, Backend) or not isinstance(getattr(one, "name", None), str):
            raise plug_ins.NotUsable(f"{point} is no Backend")
        if one.name in OURS or one.name in others:
            raise plug_ins.NotUsable(f"a backend named {one.name} exists already")
        others[one.name] = one
        return one

    _, broken = plug_ins.load(GROUP, accept)
    return {**OURS, **others}, broken


def backends() -> dict[str, Backend]:
    """All backends by name."""
    return dict(_loaded()[0])


def broken_plug_ins() -> dict[str, str]:
    """Plug-ins that could not be loaded, and why."""
    return dict(_loaded()[1])


def backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        NotFound: There is none; the nearest name is in its advice.
    """
    if name in OURS:
        return OURS[name]
    found, broken = _loaded()
    if name in found:
        return found[name]
    near = nearest(name.lower(), found)
    known = ", ".join(sorted(found))
    why = f" Its plug-in is broken: {broken[name]}." if name in broken else ""
    raise NotFound(
        f"there is no backend {name[:80]!r}",
        cause=f"There are: {known}.{why}",
        advice=f"Did you mean {near}?" if near else "Correct `backend` in the recipe.",
    )


def markdown_table() -> str:
    """Fields of a recipe and the engines of ours that use them, as docs/engines.md shows it."""
    engines = [one for one in OURS.values() if one.needs_launch and one.name != "custom"]
    lines = [
        f"| field | {' | '.join(one.title for one in engines)} |",
        f"|---|{'|'.join(':-:' for _ in engines)}|",
    ]
    lines += [
        f"| `{name}` | {' | '.join('x' if name in one.uses else '' for one in engines)} |"
        for name in sorted(ENGINE_FIELDS)
    ]
    return "\n".join(lines) + "\n"
