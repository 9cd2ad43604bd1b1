"""Give each token that an engine counted to who asked for it, once.

A run's tokens are its engine's counters where it has them, else the requests that we saw; never the sum. Of each
attempt the larger one counts: the requests are a lower bound of it, and a crash can lose the last of an engine's
counters. What an engine counted beyond the requests that we saw was asked of it directly.

A request's tokens are known when it ends, an engine's when they are made or when its counters are next read, so the
two may lie in different stretches of time. What an engine counted stays where it was counted: so the sums by source
and by key are those of the model and the hour, in any window.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from vllm_studio_tui.domain.usage import ENGINE
from vllm_studio_tui.store.runs import COUNTERS
from vllm_studio_tui.store.usage import INSIDE, Part

#: Stretches before and after its own that a request's tokens are looked for in, the nearest first.
NEAR = (0, -1, 1, -2, 2)


class Cell(NamedTuple):
    """A figure from a single source: `name` is one of `COUNTERS`, `cache_prompt` or `thinking_tokens`."""

    name: str
    value: int
    model: str | None
    recipe_id: str | None
    slot: int
    source: str
    key: str | None = None
    estimated: bool = False


def attribute(counted: Iterable[Part], seen: Iterable[Part], *, askers: bool = True) -> Iterator[Cell]:
    """Yield the figures of the window: what engines counted and what requests reported, each token once.

    Args:
        askers: Divide what an engine counted among those who asked it; else it is all the engine's own. What is added
            up by model, recipe or time is the same.
    """
    groups: dict[Hashable, tuple[list[Part], list[Part]]] = {}
    for side, parts in enumerate((counted, seen)):
        for part in parts:
            # External servers have no counters: each of their parts is a group of its own.
            key: Hashable = (part.run_id, part.attempt) if part.run_id is not None else id(part)
            groups.setdefault(key, ([], []))[side].append(part)
    for ours, theirs in groups.values():
        if all(part.side != INSIDE for part in ours) and all(part.side != INSIDE for part in theirs):
            continue
        ours.sort(key=lambda part: (part.slot, part.side))
        theirs.sort(key=lambda part: (part.slot, part.side))
        for name in COUNTERS:
            # The choice is made over all of the attempt, so that a window cannot mix the two sources.
            if not _counts(name, ours, theirs):
                yield from _asked(name, theirs)
            else:
                yield from _counted(name, ours, theirs if askers else ())
        for part in theirs:  # thoughts are known of requests alone
            if part.side == INSIDE and part.thinking:
                yield _cell("thinking_tokens", part.thinking, part)


def _counts(name: str, counted: list[Part], seen: list[Part]) -> bool:
    """Return whether the engine knows more than the requests; estimates never outweigh what was counted."""
    known = [value for part in counted if (value := part.values[name]) is not None]
    sure = (part.values[name] or 0 for part in seen if name == "requests" or not part.estimated)
    return bool(known) and sum(known) >= sum(sure)


def _cell(name: str, value: int, part: Part) -> Cell:
    guess = part.estimated and name == "generation_tokens"
    return Cell(name, value, part.model, part.recipe_id, part.slot, part.source or ENGINE, part.key, guess)


def _asked(name: str, seen: list[Part]) -> Iterator[Cell]:
    for part in seen:
        value = part.values[name]
        if part.side == INSIDE and value is not None:
            yield _cell(name, value, part)
        if name == "cached_tokens" and part.side == INSIDE and part.cache_prompt is not None:
            yield _cell("cache_prompt", part.cache_prompt, part)


def _counted(name: str, counted: list[Part], seen: Sequence[Part]) -> Iterator[Cell]:
    here = [part for part in counted if part.values[name] is not None]
    # What a request reported comes before what is estimated.
    asked = sorted(seen, key=lambda part: part.estimated and name != "requests")
    wanted = [(part.slot, part.side, part.values[name] or 0) for part in asked]
    sure = sum(name == "requests" or not part.estimated for part in asked)
    places = [(part.slot, part.side) for part in here]
    amounts = [part.values[name] or 0 for part in here]
    inside = [part.side == INSIDE for part in here]
    for place, share, index in spread(places, amounts, wanted[:sure], wanted[sure:]):
        part = here[place]
        if not inside[place]:
            continue
        if index is None:
            yield Cell(name, share, part.model, part.recipe_id, part.slot, ENGINE)
        else:
            asker = asked[index]
            yield Cell(name, share, part.model, part.recipe_id, part.slot, asker.source or ENGINE, asker.key)
    if name == "cached_tokens":
        # Of how many prompt tokens it is known: a figure of the engine, whose requests do not always tell.
        yield from (_cell("cache_prompt", part.cache_prompt, part) for part in here
                    if part.side == INSIDE and part.cache_prompt is not None)  # fmt: skip


def spread(
    places: Sequence[tuple[int, int]], amounts: Sequence[int], *wanted: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[int, int, int | None]]:
    """Divide what was counted in each place among those who want it, each from the place that is nearest in time.

    Yields for each place the shares of it, with the number of who gets one; None: nobody wanted it. The shares of a
    place are together what was counted there. Nobody gets more than it wants, and as long as there is any left, all
    of that.

    Args:
        places: In order of time, see `Part.slot` and `Part.side`.
        wanted: Those who come first, then others; each with its place in time, in order, and an amount.
    """
    left = list(amounts)
    number = 0
    for some in wanted:
        for place, share, index in _give(places, left, some):
            yield place, share, number + index
        number += len(some)
    # A zero was counted too: it is not unknown.
    yield from ((place, amount, None) for place, amount in enumerate(left) if amount or not amounts[place])


def _give(
    places: Sequence[tuple[int, int]], left: list[int], wanted: Sequence[tuple[int, int, int]]
) -> Iterator[tuple[int, int, int]]:
    """Take from what is left what some want; yield place, share and the index of who gets it."""
    if not places:
        return
    rest = [amount for _, _, amount in wanted]
    homes = []
    place = 0
    for slot, side, _ in wanted:
        while place < len(places) - 1 and places[place] < (slot, side):
            place += 1
        homes.append(place)
    for step in NEAR:
        for index, home in enumerate(homes):
            if rest[index] and 0 <= home + step < len(left) and left[home + step]:
                share = min(rest[index], left[home + step])
                rest[index] -= share
                left[home + step] -= share
                yield home + step, share, index
    place = 0
    for index, amount in enumerate(rest):  # what is farther away, from the first place on
        while amount and place < len(left):
            share = min(amount, left[place])
            left[place] -= share
            amount -= share
            if share:
                yield place, share, index
            if not left[place]:
                place += 1
