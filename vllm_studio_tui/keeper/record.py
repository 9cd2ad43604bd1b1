"""The record of a run: its state and its ledger, and the moves from one state to the next."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.run import FINAL, MOVES, RunState, State
from vllm_studio_tui.keeper.causes import first_changes
from vllm_studio_tui.keeper.files import Ledger, StateFile
from vllm_studio_tui.keeper.verdict import Verdict


class Record:
    """The one writer of a run's state and ledger."""

    def __init__(self, folder: Path, state: RunState) -> None:
        self.state = state
        self.file = StateFile(folder)
        self.ledger = Ledger(folder)
        # A ledger that lost its end goes on behind what the state has seen of it.
        self.ledger.seq = max(self.ledger.seq, state.seq)
        self._fault: Exception | None = None

    def save(self) -> None:
        """Write the state as it is. An error in that does not stop the keeper."""
        self.state.seq = self.ledger.seq
        with self._carefully():
            self.file.write(self.state)

    def note(self, kind: str, **values: Any) -> None:
        """Append a line to the ledger. An error in that does not stop the keeper."""
        with self._carefully():
            self.ledger.append(kind, time.time(), self.state.attempt, **values)

    def move(self, to: State, reason: str | None = None) -> None:
        """Move to another state.

        Raises:
            RuntimeError: There is no such move.
        """
        before = self.state.state
        if to is before:
            return
        if to not in MOVES[before]:
            raise RuntimeError(f"no move from {before} to {to}")
        self.state.state = to
        # The end is told in full here too: where the disk is full this line may fit and the state not.
        words = {"title": self.state.title, "advice": self.state.advice} if to in FINAL else {}
        self.note("move", **{"from": before, "to": to, "reason": reason}, **words)
        self.save()

    @contextlib.contextmanager
    def _carefully(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001, RUF100
            if type(error) is not type(self._fault):
                self._fault = error
                with contextlib.suppress(Exception):
                    traceback.print_exc(limit=-4)

    def set_verdict(self, verdict: Verdict) -> None:
        """Put into the state why the engine ended or does not work."""
        state = self.state
        state.reason, state.title, state.advice = verdict.reason, verdict.title, verdict.advice or None
        state.evidence, state.fixes, state.groups = verdict.evidence, verdict.fixes, verdict.groups
        state.retry = verdict.retry
        state.fix = first_changes(verdict.fixes)  # which earlier versions read

    def flush(self) -> bool:
        """Write again what could not be written; return True when nothing is pending."""
        done = [True, True]
        with self._carefully():
            done[0] = self.file.flush()
        with self._carefully():
            done[1] = self.ledger.flush()
        return all(done)
