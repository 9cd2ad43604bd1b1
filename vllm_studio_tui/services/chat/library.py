"""The library: prompts, system prompts, presets of sampling and forms of answers that a person keeps by name."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.library import BUILT_IN, KINDS, LibraryText, checked_data, checked_name
from vllm_studio_tui.store.chat_texts import ChatTextRows
from vllm_studio_tui.store.database import Database


class Library:
    """What is kept by name. Every method is blocking."""

    def __init__(self, db: Database) -> None:
        self._rows = ChatTextRows(db)

    def list(self, kind: str | None = None) -> builtins.list[LibraryText]:
        """Return the entries of a kind, or all: those of the person, then those that come with the studio."""
        own = self._rows.list(kind)
        taken = {(one.kind, one.name) for one in own}
        built_in = [one for one in BUILT_IN if kind in (None, one.kind) and (one.kind, one.name) not in taken]
        return [*own, *built_in]

    def get(self, kind: str, name: str) -> LibraryText:
        """Return an entry, whatever the case of its name.

        Raises:
            NotFound: There is none.
        """
        every = self.list(kind)
        found = next((one for one in every if one.name == name), None)
        found = found or next((one for one in every if one.name.lower() == name.strip().lower()), None)
        if found is None:
            names = ", ".join(one.name for one in every[:12])
            raise NotFound(
                f"no {KINDS.get(kind, kind)} is called {name[:80]!r}",
                advice=f"There are: {names}." if names else "There is none yet.",
            )
        return found

    def save(self, kind: str, name: str, data: Mapping[str, Any]) -> LibraryText:
        """Keep an entry; one of the same name is replaced.

        Raises:
            UsageError: Name or data are none.
        """
        name, good = checked_name(name), checked_data(kind, data)
        self._rows.put(kind, name, good)
        return self.get(kind, name)

    def rename(self, kind: str, name: str, new: str) -> LibraryText:
        """Call an entry otherwise.

        Raises:
            NotFound: There is none.
            UsageError: The new name is none, is taken, or the entry comes with the studio.
        """
        one, new = self.get(kind, name), checked_name(new)
        if one.built_in:
            raise UsageError(f"{one.name} comes with the studio", advice="Save it under another name instead.")
        if new != one.name and not self._rows.rename(kind, one.name, new):
            raise UsageError(f"{new!r} is there already", advice="Choose another name.")
        return self.get(kind, new)

    def delete(self, kind: str, name: str) -> LibraryText:
        """Delete an entry, and return what it was.

        Raises:
            NotFound: There is none.
            UsageError: It comes with the studio.
        """
        one = self.get(kind, name)
        if one.built_in:
            raise UsageError(f"{one.name} comes with the studio", advice="Nothing needs to be deleted.")
        self._rows.delete(kind, one.name)
        return one
