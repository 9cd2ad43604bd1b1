"""Load plug-ins of other packages by entry points. Whatever their code raises is reported and affects nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_log = logging.getLogger(__name__)


class NotUsable(Exception):
    """The object that an entry point names is not of the kind its group is for; the text says why."""


@dataclass(frozen=True, slots=True)
class PlugIn(Generic[T]):
    """What an entry point brings.

    Attributes:
        name: The entry point's.
        package: The package that it is installed with.
    """

    name: str
    package: str
    value: T

    @property
    def title(self) -> str:
        """Its name for messages, with who brought it."""
        return f"{self.name} of the package {self.package}"


def load_all(group: str, accept: Callable[[str, object], T]) -> tuple[list[PlugIn[T]], dict[str, str]]:
    """Load what is installed under a group of entry points.

    Args:
        accept: Gets an entry point's name and the object it names, gives what to keep, or raises `NotUsable`.

    Returns:
        What is usable, and by name, for each that is not, why.
    """
    from importlib.metadata import entry_points  # reads the metadata of every installed package

    found: list[PlugIn[T]] = []
    broken: dict[str, str] = {}
    for point in entry_points(group=group):
        package = point.dist.name if point.dist is not None else point.module.partition(".")[0]
        try:
            found.append(PlugIn(point.name, package, _take(point, accept)))
        except NotUsable as error:
            broken[point.name] = f"{error} (package {package})"
    for name, why in broken.items():
        _log.warning("the plug-in %s of %s cannot be used: %s", name, group, why)
    return found, broken


def load(group: str, accept: Callable[[str, object], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Load as `load_all` does, for groups where a name is there once."""
    found, broken = load_all(group, accept)
    return {one.name: one.value for one in found}, broken


def _take(point: EntryPoint, accept: Callable[[str, object], T]) -> T:
    try:
        return accept(point.name, point.load())
    except NotUsable:
        raise
    # Foreign code, run at its import: whatever it raises must not take the studio down with it.
    except Exception as error:
        raise NotUsable(f"{type(error).__name__}: {error}") from error
