"""One look at every place: the models that lie there, each once, and what could not be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vllm_studio_tui.domain.model import ModelPlace, Source
from vllm_studio_tui.kit.file_access import Trouble, status
from vllm_studio_tui.models.inventory.below import in_folders
from vllm_studio_tui.models.inventory.found import Found
from vllm_studio_tui.models.inventory.hub import of_cache
from vllm_studio_tui.models.inventory.ollama import is_store, of_store
from vllm_studio_tui.models.inventory.places import Place
from vllm_studio_tui.models.inventory.walking import Budget, read_folder


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, by name, and what each place held."""

    models: tuple[Found, ...]
    places: tuple[ModelPlace, ...]


def look_at(places: Iterable[Place]) -> Look:
    """Look at places; a model that several lead to is one of the first. Blocking; it never raises."""
    models: dict[str, Found] = {}
    held: list[ModelPlace] = []
    for place in places:
        budget = Budget()
        new: list[Found] = []
        there = _there(place.path, budget)
        for one in _in_place(place, budget) if there and not budget.troubles else ():
            key = _key(one)
            if key not in models:
                models[key] = one
                new.append(one)
            elif models[key].name != one.name:
                known = models[key]
                names = ", ".join(filter(None, (known.about.get("also_called"), one.name)))
                models[key] = replace(known, about={**known.about, "also_called": names})
        size = sum(one.bytes for one in new)
        held.append(ModelPlace(place.path, place.source, place.why, there, len(new), size, tuple(budget.troubles)))
    return Look(tuple(sorted(models.values(), key=lambda one: (one.name.lower(), one.path))), tuple(held))


def _there(path: str, budget: Budget) -> bool:
    """Return whether a place exists; one that we may not come to is told of, and counts as there."""
    found = status(path)
    if isinstance(found, Trouble):
        if found.reason in ("missing", "broken_link"):
            return False
        budget.trouble(f"{found.words}. {found.advice}".rstrip(". "))
        return True
    return stat.S_ISDIR(found.st_mode)


def _key(found: Found) -> str:
    """Return what is the same of one model that several places lead to: its path, with links to folders resolved."""
    if not found.path.startswith("/"):
        return found.path
    folder, _, name = found.path.rstrip("/").rpartition("/")
    return _real(found.path) if found.kind != "gguf" else f"{_real(folder)}/{name}"


def _in_place(place: Place, budget: Budget) -> Iterator[Found]:
    if place.source == Source.HUB:
        folder = read_folder(place.path, budget)
        return of_cache(folder, budget, by_name=True) if folder is not None else iter(())
    if place.source == Source.OLLAMA:
        folder = read_folder(place.path, budget)
        if folder is None or not is_store(folder):
            return iter(())
        budget.seen.clear()
        return of_store(place.path, budget)
    found = in_folders(place.path, budget, source=place.source)
    return map(_of_lm_studio, found) if place.source == Source.LMSTUDIO else found


def _of_lm_studio(found: Found) -> Found:
    """Return a model by the name that LM Studio shows: publisher, repository, and the file of several."""
    inside = os.path.relpath(os.path.dirname(found.path) if found.kind == "gguf" else found.path, found.origin)  # noqa: PTH120, RUF100
    if found.source != Source.LMSTUDIO or inside.startswith("."):
        return found
    return replace(found, about={**found.about, "published_as": inside})


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path
