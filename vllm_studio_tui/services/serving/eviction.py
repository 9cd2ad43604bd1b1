"""What fits beside what, and which runs to stop so that another model fits. Pure.

What was measured is advice: memory that cannot be had by stopping anything is not waited for, the engine then says
itself what it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

#: So many seconds of loading more or less are no reason to stop the one that was used last.
ALIKE = 5.0
#: Of so many runs every set is looked at; of more, one after the other.
EVERY_SET = 10


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Recipes that are loaded together or one at a time; see `config.setting_types.Group`."""

    members: frozenset[str]
    together: bool = False
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """What a model takes when it is loaded.

    Attributes:
        port: The recipe's own; None: any.
        gpus: Those that it claims.
        any_gpus: How many it takes of those that are free.
        memory: Bytes of the host's memory; None: not known.
    """

    key: str
    port: int | None = None
    gpus: frozenset[str] = frozenset()
    any_gpus: int = 0
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """A run, or a launch under way, and what it holds.

    Attributes:
        now: It may be stopped now.
        later: It may be stopped once it is idle and was warm for long enough.
        cost: Seconds to load it again.
        used: When it was last used.
    """

    id: str
    key: str
    port: int | None = None
    gpus: frozenset[str] = frozenset()
    memory: int | None = None
    now: bool = False
    later: bool = True
    cost: float = 0.0
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """What there is for all runs together; None: not known.

    Attributes:
        gpus: GPUs that nobody else uses.
        memory: Bytes of the host's memory, with what our engines hold.
    """

    max_loaded: int | None = None
    groups: tuple[GroupRule, ...] = ()
    gpus: frozenset[str] | None = None
    memory: int | None = None


def fits(need: Need, holders: Iterable[Holder], room: Room) -> bool:
    """Return whether a model can be loaded beside these."""
    holders = tuple(holders)
    return not any(_clash(need, one, room) for one in holders) and _counts(need, holders, room)


def plan(need: Need, holders: Sequence[Holder], room: Room, *, later: bool = False) -> tuple[Holder, ...] | None:
    """Return the runs to stop so that a model fits, the cheapest set of those that may be; None: there is none.

    Args:
        later: Count on those that are busy now.
    """
    allowed = [one for one in holders if (one.later if later else one.now) and not _kept(need, one, room)]
    must = [one for one in holders if _clash(need, one, room)]
    if any(one not in allowed for one in must):
        return None
    rest = [one for one in holders if one not in must]
    room = _reachable(need, rest, room)
    if _counts(need, rest, room):
        return tuple(must)
    more = _cheapest(need, rest, [one for one in allowed if one not in must], room)
    return None if more is None else (*must, *more)


def _reachable(need: Need, rest: Sequence[Holder], room: Room) -> Room:
    """Return the room without limits that hold even when all that may ever be stopped is gone."""
    last = [one for one in rest if not one.later or _kept(need, one, room)]
    memory, gpus = room.memory, room.gpus
    if not _memory(need, last, memory):
        memory = None
    if not _free_gpus(need, last, gpus):
        gpus = None
    return Room(room.max_loaded, room.groups, gpus, memory)


def _clash(need: Need, one: Holder, room: Room) -> bool:
    """Return whether the two cannot be loaded at once."""
    if (need.port is not None and need.port == one.port) or need.gpus & one.gpus:
        return True
    return one.key != need.key and any(
        not group.together and need.key in group.members and one.key in group.members for group in room.groups
    )


def _kept(need: Need, one: Holder, room: Room) -> bool:
    """Return whether a group keeps a run from being stopped for this model."""
    return any(group.persistent and one.key in group.members and need.key not in group.members for group in room.groups)


def _counts(need: Need, holders: Sequence[Holder], room: Room) -> bool:
    if room.max_loaded is not None and len(holders) + 1 > room.max_loaded:
        return False
    return _free_gpus(need, holders, room.gpus) and _memory(need, holders, room.memory)


def _free_gpus(need: Need, holders: Sequence[Holder], gpus: frozenset[str] | None) -> bool:
    if not need.any_gpus or gpus is None:
        return True
    return len(gpus.difference(*(one.gpus for one in holders))) >= need.any_gpus


def _memory(need: Need, holders: Sequence[Holder], memory: int | None) -> bool:
    if need.memory is None or memory is None:
        return True
    return need.memory + sum(one.memory or 0 for one in holders) <= memory


def _cheapest(need: Need, rest: Sequence[Holder], allowed: Sequence[Holder], room: Room) -> tuple[Holder, ...] | None:
    def enough(chosen: Iterable[Holder]) -> bool:
        gone = {one.id for one in chosen}
        return _counts(need, [one for one in rest if one.id not in gone], room)

    if not enough(allowed):
        return None
    if len(allowed) <= EVERY_SET:
        sets = (some for size in range(1, len(allowed) + 1) for some in combinations(allowed, size))
        return min((some for some in sets if enough(some)), key=_price)
    chosen: list[Holder] = sorted(allowed, key=lambda one: _price((one,)), reverse=True)
    for one in list(chosen):  # the dearest are kept first
        without = [other for other in chosen if other is not one]
        if enough(without):
            chosen = without
    return tuple(chosen)


def _price(some: Sequence[Holder]) -> tuple[int, float, float]:
    cost = sum(one.cost for one in some)
    return round(cost / ALIKE), max(one.used for one in some), cost
