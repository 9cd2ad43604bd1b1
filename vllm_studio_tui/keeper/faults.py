"""Faults of what the keeper itself does: told once, where a person sees them, and never the end of a keeper."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator

from vllm_studio_tui.domain.run import RunState

#: So many are told in the state; keeper.log has each once.
MOST = 8


class Faults:
    """Keeps what went wrong in the state, and its traceback in keeper.log."""

    def __init__(self, state: RunState, save: Callable[[], None]) -> None:
        self._state, self._save = state, save
        self._told: set[tuple[str, str]] = set()
        #: How many there were, told or not.
        self.count = 0

    def begin(self) -> None:
        """A new engine: what it does wrong is told again."""
        self._told.clear()
        self._state.faults = []

    @contextlib.contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Whatever goes wrong within is told, and the keeper goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # a keeper that dies leaves an engine that nobody looks after
            self.note(what, error)

    def note(self, what: str, error: BaseException) -> None:
        """Tell a fault, but the same one only once."""
        self.count += 1
        kind = (what, type(error).__name__)
        if kind in self._told:
            return
        self._told.add(kind)
        with contextlib.suppress(Exception):  # of a full disk, or of an error that cannot be printed
            sys.stderr.write(f"fault of the keeper, {what}:\n")
            traceback.print_exception(error, limit=-8)
        text = f"{what}: {type(error).__name__}: {_words(error)}"
        if len(self._state.faults) < MOST:
            self._state.faults = [*self._state.faults, text]
            if self._state.title is None:
                self._state.title = f"fault of its keeper, {text}"
            self._save()


def _words(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        return str(error)[:200]
    return ""
