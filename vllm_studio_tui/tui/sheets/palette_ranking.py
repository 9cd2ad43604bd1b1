"""What stands in the palette, and in which order: what was typed decides, then what was used last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The headings of what was found, by the kind of entry: verbs before places.
FOUND = {"do": "ACTIONS", "open": "PLACES", "set": "SETTINGS"}
RECENT = "RECENT"
#: How many of those used last stand at the top, and how many found ones are listed.
LATEST = 3
MOST = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to do, to open or to set.

    Attributes:
        id: What it is, such as `stop:RUN`; the same in every session.
        label: What it is called. What was typed is looked for here first, then in `note` and `words`.
        note: Its state.
        key: The key that would have done it.
        group: The heading that it stands under before anything is typed; empty: it is only found by words.
        kind: `do`, `open` or `set`.
        words: Other words for it.
        thing: The run or recipe that it is about, so that its other verbs can be listed.
        enter: What enter does with it, in two or three words.
    """

    id: str
    label: str
    note: str = ""
    key: str = ""
    group: str = ""
    kind: str = "do"
    words: str = ""
    thing: str = ""
    enter: str = "do it"


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry with the heading that it stands under now."""

    entry: Entry
    group: str


def ranked(entries: Sequence[Entry], typed: str, used: Sequence[str]) -> list[Listed]:
    """Return what is listed for what was typed: those that hold all its words in any order, the best first."""
    words = typed.lower().split()
    return _found(entries, typed.lower().strip(), words, used) if words else _offered(entries, used)


def _offered(entries: Sequence[Entry], used: Sequence[str]) -> list[Listed]:
    """Return what is listed before anything is typed."""
    by_id = {entry.id: entry for entry in entries}
    last = [by_id[one] for one in used if one in by_id][:LATEST]
    groups = list(dict.fromkeys(entry.group for entry in entries if entry.group))
    rest = [entry for group in groups for entry in entries if entry.group == group and entry not in last]
    return [*(Listed(entry, RECENT) for entry in last), *(Listed(entry, entry.group) for entry in rest)]


def _found(entries: Sequence[Entry], typed: str, words: Sequence[str], used: Sequence[str]) -> list[Listed]:
    latest = {one: index for index, one in enumerate(used)}
    scored = []
    for index, entry in enumerate(entries):
        score = _score(entry, typed, words)
        if score is not None:
            scored.append(((score, latest.get(entry.id, len(latest)), index), entry))
    scored.sort(key=lambda one: one[0])
    best: dict[str, int] = {}
    for (score, _, _), entry in scored:
        best.setdefault(entry.kind, score)
    kinds = sorted(FOUND, key=lambda kind: best.get(kind, 99))  # stable: verbs first among equals
    return [Listed(entry, FOUND[kind]) for kind in kinds for _, entry in scored if entry.kind == kind][:MOST]


def _score(entry: Entry, typed: str, words: Sequence[str]) -> int | None:
    """Return how well an entry answers, 0 best; None where a word is missing."""
    label = entry.label.lower()
    if label.startswith(typed):
        return 0
    beginnings = label.replace("-", " ").split()
    if all(any(part.startswith(word) for part in (*beginnings, *label.split())) for word in words):
        return 1 if label.startswith(tuple(words)) else 2  # "delete the recipe" before "undo a delete of a recipe"
    if all(word in label for word in words):
        return 3
    inside = f"{label} {entry.words} {entry.note}".lower()
    return 4 if all(word in inside for word in words) else None
