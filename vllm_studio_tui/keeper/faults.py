"""Errors of the keeper itself: reported once, where a person sees them, and never the end of a keeper."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator

from vllm_studio_tui.domain.run import RunState

#: At most so many stand in the state; keeper.log has each once.
MOST = 8


class Faults:
    """Keeps errors in the state, and their tracebacks in keeper.log."""

    def __init__(self, state: RunState, save: Callable[[], None]) -> None:
        self._state, self._save = state, save
        self._reported: set[tuple[str, str]] = set()
        #: How many there were, reported or not.
        self.count = 0

    def begin(self) -> None:
        """Forget what was reported: a new engine begins."""
        self._reported.clear()
        self._state.faults = []

    @contextlib.contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Report whatever is raised within, and go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001, RUF100
            self.note(what, error)

    def note(self, what: str, error: BaseException) -> None:
        """Report an error, the same one only once."""
        self.count += 1
        kind = (what, type(error).__name__)
        if kind in self._reported:
            return
        self._reported.add(kind)
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
