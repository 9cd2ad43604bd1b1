"""The backends there are: ours, and those that other packages add by entry point `vllm_studio_tui.backends`.

An engine's file is imported when it is first asked for: a screen that shows a title needs one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from vllm_studio_tui.backends import CLASSES
from vllm_studio_tui.backends.base import ENGINE_FIELDS, Backend
from vllm_studio_tui.backends.common import plug_ins
from vllm_studio_tui.domain.errors import NotFound

GROUP = "vllm_studio_tui.backends"


class _Ours(Mapping[str, Backend]):
    """Our backends by name, each made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Backend] = {}

    def __getitem__(self, name: str) -> Backend:
        if name not in CLASSES:
            raise KeyError(name)
        if name not in self._made:
            made = getattr(import_module(f"vllm_studio_tui.backends.{name}"), CLASSES[name])
            # A command of a person's own may wrap any other engine.
            self._made[name] = made(backends) if name == "custom" else made()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES)


OURS = _Ours()


@cache
def _loaded() -> tuple[dict[str, Backend], dict[str, str]]:
    """Return the backends of other packages by name, and for each plug-in that is broken, why."""
    others: dict[str, Backend] = {}

    def accept(point: str, loaded: object) -> Backend:
        made = loaded() if isinstance(loaded, type) else loaded
        if not isinstance(made, Backend) or not isinstance(getattr(made, "name", None), str):
            raise plug_ins.NotUsable(f"{point} is no Backend")
        if made.name in OURS or made.name in others:
            raise plug_ins.NotUsable(f"a backend named {made.name} exists already")
        others[made.name] = made
        return made

    _, broken = plug_ins.load(GROUP, accept)
    return others, broken


def backends() -> dict[str, Backend]:
    """Return all backends by name, ours first."""
    return {**OURS, **_loaded()[0]}


def broken_plug_ins() -> dict[str, str]:
    """Return the plug-ins that could not be loaded, and why."""
    return dict(_loaded()[1])


def find(name: str) -> Backend | None:
    """Return the backend of this name; None where there is none, or none any more."""
    return OURS[name] if name in CLASSES else _loaded()[0].get(name)


def label(name: str) -> str:
    """Return what tables call an engine; one that there is not keeps its name."""
    found = find(name)
    return name if found is None else found.label or found.title


def backend(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        NotFound: There is none; the nearest name is in its advice.
    """
    found = find(name)
    if found is not None:
        return found
    from vllm_studio_tui.backends.common.commands import nearest

    every, broken = backends(), broken_plug_ins()
    near = nearest(name.lower(), every)
    known = ", ".join(sorted(every))
    why = f" Its plug-in is broken: {broken[name]}." if name in broken else ""
    raise NotFound(
        f"there is no backend {name[:80]!r}",
        cause=f"There are: {known}.{why}",
        advice=f"Did you mean {near}?" if near else "Correct `backend` in the recipe.",
    )


def markdown_table() -> str:
    """Return fields of a recipe and the engines of ours that use them, as docs/engines/README.md shows it."""
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
