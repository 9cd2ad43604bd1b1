"""Load plug-ins of other packages by entry points. Whatever their code raises is reported and affects nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_log = logging.getLogger(__name__)


class NotUsable(Exception):
    """The object that an entry point names is not of the kind its group is for; the text says why."""


def load(group: str, accept: Callable[[str, object], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Load what is installed under a group of entry points.

    Args:
        accept: Gets an entry point's name and the object it names, gives what to keep, or raises `NotUsable`.

    Returns:
        What is usable by name, and for each that is not, why.
    """
    from importlib.metadata import entry_points  # reads the metadata of every installed package

    found: dict[str, T] = {}
    broken: dict[str, str] = {}
    for point in entry_points(group=group):
        try:
            found[point.name] = _take(point, accept)
        except NotUsable as error:
            broken[point.name] = str(error)
    for name, why in broken.items():
        _log.warning("the plug-in %s of %s cannot be used: %s", name, group, why)
    return found, broken


def _take(point: EntryPoint, accept: Callable[[str, object], T]) -> T:
    try:
        return accept(point.name, point.load())
    except NotUsable:
        raise
    # Foreign code, run at its import: whatever it raises must not take the studio down with it.
    except Exception as error:
        raise NotUsable(f"{type(error).__name__}: {error}") from error
