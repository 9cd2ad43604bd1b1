"""The backends there are: ours, and those that other packages add by entry point `vllm_studio_tui.backends`."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import ENGINE_FIELDS, Backend, nearest
from vllm_studio_tui.backends.custom import Custom
from vllm_studio_tui.backends.external import External
from vllm_studio_tui.backends.llamacpp import LlamaCpp
from vllm_studio_tui.backends.sglang import SGLang
from vllm_studio_tui.backends.tabbyapi import TabbyAPI
from vllm_studio_tui.backends.transformers import Transformers
from vllm_studio_tui.backends.vllm import Vllm
from vllm_studio_tui.domain.errors import NotFound

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "vllm_studio_tui.backends"

_log = logging.getLogger(__name__)


OURS: dict[str, Backend] = {
    one.name: one for one in (Vllm(), SGLang(), Transformers(), TabbyAPI(), LlamaCpp(), Custom(), External())
}


@cache
def _loaded() -> tuple[dict[str, Backend], dict[str, str]]:
    """All backends by name, and for each plug-in that is broken, why."""
    from importlib.metadata import entry_points  # reads the metadata of every installed package

    found = dict(OURS)
    broken: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        try:
            one = _plug_in(point)
        except _Broken as error:
            broken[point.name] = str(error)
        else:
            if one.name in found:
                broken[point.name] = f"a backend named {one.name} exists already"
            else:
                found[one.name] = one
    for name, why in broken.items():
        _log.warning("the backend plug-in %s cannot be used: %s", name, why)
    return found, broken


class _Broken(Exception):
    """A plug-in that is no backend."""


def _plug_in(point: EntryPoint) -> Backend:
    try:
        loaded = point.load()
        one = loaded() if isinstance(loaded, type) else loaded
    # Foreign code, run at its import: whatever it raises must not take the studio down with it.
    except Exception as error:
        raise _Broken(f"{type(error).__name__}: {error}") from error
    if not isinstance(one, Backend) or not isinstance(getattr(one, "name", None), str):
        raise _Broken(f"{point.value} is no Backend")
    return one


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
