"""Read recipes from files and pasted commands. Everything in them is hostile until parsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.services.recipes.formats.format import Found, Source, Unreadable
from vllm_studio_tui.services.recipes.formats.registry import read_format

MAX_ENTRIES = 10_000


def read_found(raw: bytes, name: str) -> list[Found]:
    """Return the recipes of a file: of another tool, or one of ours, a list, `{"recipes": [..]}`, several documents.

    Raises:
        StudioError: It is too large, of no kind that is known, or holds nothing.
    """
    source = Source(raw, name)
    found = read_format(source)
    entries = [Found(one) for one in _own(source)] if found is None else found
    if len(entries) > MAX_ENTRIES:
        raise Unreadable(f"{name} holds too many entries", cause=f"{len(entries)}, at most {MAX_ENTRIES} are read")
    return entries


def read_documents(raw: bytes, name: str) -> list[Any]:
    """Return the entries of a file of recipes, without what is said of them.

    Raises:
        StudioError: As `read_found`.
    """
    return [one.data for one in read_found(raw, name)]


def _own(source: Source) -> list[Any]:
    if source.trouble is not None:
        raise source.trouble
    entries: list[Any] = []
    for document in source.documents:
        if isinstance(document, Mapping) and isinstance(document.get("recipes"), list):
            entries += document["recipes"]
        elif isinstance(document, list):
            entries += document
        elif document is not None:
            entries.append(document)
    if not entries:
        raise Unreadable(f"{source.name} holds no recipe", advice="Give a recipe, a list of them, or {recipes: [..]}.")
    return entries
