"""Recipes that follow another one: what a recipe has in common with its base changes when the base does.

A recipe is kept whole, so that it can be read, exported and launched without its base. A field follows the base as long
as both have the same value in it; one that a person sets to something else stays that way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vllm_studio_tui.domain.errors import InvalidRecipe, UsageError

#: Fields that are a recipe's own: two recipes with the same in them would stand in each other's way.
OWN = frozenset({"id", "name", "extends", "served_model_name", "aliases", "port", "description", "tags", "preload"})
#: Recipes above one another.
DEEPEST = 8

Data = Mapping[str, Any]


def with_base(data: Data, base: Data) -> dict[str, Any]:
    """Return data with the values of the base where it has none; of objects each key by itself."""
    found = dict(data)
    for name, value in base.items():
        if name in OWN:
            continue
        if found.get(name) is None:
            if name not in found:
                found[name] = value
        elif isinstance(value, Mapping) and isinstance(found[name], Mapping):
            found[name] = {**value, **found[name]}
    return {name: value for name, value in found.items() if value is not None}


def based(data: Any, lookup: Callable[[str], Data | None], *, imported: bool = False) -> Any:
    """Return what a person wrote of a new recipe with what its base has; anything else as it is.

    Args:
        lookup: Returns the data of a recipe that is kept.
        imported: A base that is not here may come with the same file.

    Raises:
        InvalidRecipe: There is no such base.
    """
    base = data.get("extends") if isinstance(data, Mapping) else None
    if not isinstance(base, str) or not base or lookup(str(data.get("id"))) is not None:
        return data
    found = lookup(base)
    if found is None and not imported:
        raise InvalidRecipe("not a recipe", [("extends", f"there is no recipe {base[:80]}")])
    return data if found is None else with_base(data, found)


def following(data: Data, base: Data) -> list[str]:
    """Return the names of fields in which a recipe follows its base; a dot stands before the keys of objects."""
    names = []
    for name, value in base.items():
        if name in OWN or name not in data:
            continue
        if data[name] == value:
            names.append(name)
        elif isinstance(value, Mapping) and isinstance(data[name], Mapping):
            names += [f"{name}.{key}" for key, one in value.items() if key in data[name] and data[name][key] == one]
    return names


def followed(data: Data, before: Data, after: Data) -> dict[str, Any]:
    """Return what becomes of a recipe when its base changes from `before` to `after`."""
    found = dict(data)
    for name in {*before, *after} - OWN:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if found.get(name) == old:
            _put(found, name, new)
        elif all(value is None or isinstance(value, Mapping) for value in (found.get(name), old, new)):
            inner = dict(found.get(name) or {})
            was, now = old or {}, new or {}
            for key in {*was, *now}:
                if inner.get(key) == was.get(key):
                    _put(inner, key, now.get(key))
            _put(found, name, inner or None)
    return found


def _put(data: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        data.pop(name, None)
    else:
        data[name] = value


def with_followers(wanted: Mapping[str, Data | None], stored: Mapping[str, Data]) -> dict[str, dict[str, Any] | None]:
    """Return changes of recipes with those that follow from them.

    Args:
        wanted: The new data of each; None deletes it.
        stored: All recipes as they are.

    Raises:
        UsageError: A recipe would follow itself, or one is deleted that others follow.
    """
    changes: dict[str, dict[str, Any] | None] = {
        name: None if data is None else _newly_based(name, dict(data), stored) for name, data in wanted.items()
    }
    _rename(changes, stored)
    _refuse_deletion(changes, stored)
    queue = [name for name, data in changes.items() if data is not None and name in stored]
    seen: set[str] = set()
    while queue:
        base = queue.pop(0)
        if base in seen:
            continue
        seen.add(base)
        after = changes[base]
        assert after is not None
        for name, follower in stored.items():
            if follower.get("extends") != base or name in wanted:
                continue
            now = changes.get(name, dict(follower))
            assert now is not None
            then = followed(now, stored[base], after)
            if then != now or name in changes:
                changes[name] = then
                queue.append(name)
    for name, data in changes.items():
        if data is not None and data.get("extends"):
            _refuse_loop(name, changes, stored)
    return changes


def _newly_based(name: str, data: dict[str, Any], stored: Mapping[str, Data]) -> dict[str, Any]:
    """Return a recipe that begins to follow another one with what that one has and it has not."""
    base, before = data.get("extends"), stored.get(name)
    if not isinstance(base, str) or before is None or before.get("extends") == base or base not in stored:
        return data
    return with_base(data, stored[base])


def _rename(changes: dict[str, dict[str, Any] | None], stored: Mapping[str, Data]) -> None:
    """Let the followers of a recipe that gets another id follow it there."""
    gone = [name for name, data in changes.items() if data is None]
    new = [name for name, data in changes.items() if data is not None and name not in stored]
    if len(gone) == len(new) == 1:
        for name, data in stored.items():
            if data.get("extends") == gone[0] and name not in changes:
                changes[name] = {**data, "extends": new[0]}


def _refuse_deletion(changes: Mapping[str, Data | None], stored: Mapping[str, Data]) -> None:
    for base, data in changes.items():
        if data is not None:
            continue
        followers = [
            name for name, one in stored.items() if one.get("extends") == base and changes.get(name, one) is not None
        ]
        followers = [name for name in followers if (changes.get(name) or stored[name]).get("extends") == base]
        if followers:
            raise UsageError(
                f"{base} is the base of {', '.join(sorted(followers)[:5])}",
                advice="Delete those too, or let them follow nobody: recipes edit ID --set extends=null",
            )


def _refuse_loop(name: str, changes: Mapping[str, Data | None], stored: Mapping[str, Data]) -> None:
    path = [name]
    while len(path) <= DEEPEST:
        data = changes.get(path[-1], stored.get(path[-1]))
        base = data.get("extends") if data is not None else None
        if not isinstance(base, str):
            return
        path.append(base)
        if base == name:
            raise UsageError(
                f"{name} would follow itself", cause=" -> ".join(path), advice="Choose another base in `extends`."
            )
    raise UsageError(f"{name} has more than {DEEPEST} recipes above it", advice="Choose another base in `extends`.")
