"""Read all runs repeatedly at low cost: an ended run is read once."""

from __future__ import annotations

import os
from pathlib import Path

from vllm_studio_tui.keeper.files import STATE
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.read import DISMISSED, RunView, view

Mark = tuple[int, bool]


class RunWatch:
    """Looks at every run directory; one whose end is written is read again only when its files change."""

    def __init__(self, places: Places) -> None:
        self._root = places.runs  # the name of this machine is read from a file
        self._ended: dict[str, tuple[Mark, RunView]] = {}

    def look(self) -> tuple[RunView, ...]:
        """Return every run in its present state, oldest first."""
        try:
            with os.scandir(self._root) as entries:
                folders = [entry.path for entry in entries if entry.name[0] != "." and entry.is_dir()]
        except OSError:
            folders = []
        found = [self._one(folder) for folder in folders]
        for gone in self._ended.keys() - set(folders):
            del self._ended[gone]
        return tuple(sorted(found, key=lambda one: (one.spec.created_at if one.spec else 0.0, one.run_id)))

    def _one(self, folder: str) -> RunView:
        mark = _mark(folder)
        known = self._ended.get(folder)
        if known is not None and known[0] == mark:
            return known[1]
        now = view(Path(folder))
        # A keeper that still holds its lock may write more of the end.
        if now.status.final and not now.keeper_alive and mark is not None and _mark(folder) == mark:
            self._ended[folder] = (mark, now)
        else:
            self._ended.pop(folder, None)
        return now


def _mark(folder: str) -> Mark | None:
    try:
        changed = Path(folder, STATE).stat().st_mtime_ns
    except OSError:
        return None
    return changed, Path(folder, DISMISSED).exists()
