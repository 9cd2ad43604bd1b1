"""What happened in a time: starts, readiness, failures, restarts, stalls and stops of runs, answers of chats, pins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.timeline import Pin, TimelineEvent
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.unhealthy import unhealthy_since, why_unhealthy
from vllm_studio_tui.store.conversion import from_json
from vllm_studio_tui.store.timeline import PinRows, answers, moves

if TYPE_CHECKING:
    import sqlite3

    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.store.database import Database

#: Seconds from one look into the ledgers of runs to the next.
FOLD_EVERY = 20.0
#: Seconds by which a state and the ledger may tell a different moment of one event.
SAME = 2.0
MOST = 4000

#: What is told of a move, by the state that it leads to.
KINDS = {
    State.READY: "ready",
    State.UNHEALTHY: "stalled",
    State.BACKOFF: "restarted",
    State.EXITED: "stopped",
    State.FAILED: "failed",
}

#: Returns what happened between two moments, of somebody who knows more.
Source = Callable[[float, float], Iterable[TimelineEvent]]


class Happened:
    """What is on record of a time.

    Args:
        fold: Brings in what keepers have written; what kept it from that is returned.
        runs: Returns the runs as they are now.
        sources: What else happens.
    """

    def __init__(
        self,
        db: Callable[[], Database],
        fold: Callable[[], StudioError | None],
        runs: Callable[[], Iterable[RunView]],
        sources: Iterable[Source] = (),
    ) -> None:
        self._db = db
        self._fold = fold
        self._runs = runs
        self._sources = tuple(sources)
        self._folded = -FOLD_EVERY
        self._lock = threading.Lock()

    def pins(self) -> list[Pin]:
        """Return the moments that were pinned, the latest first."""
        return PinRows(self._db()).all()

    def pin(self, at: float, note: str = "") -> Pin:
        """Pin a moment."""
        return PinRows(self._db()).add(at, note)

    def unpin(self, pin_id: int) -> None:
        """Forget a pin."""
        PinRows(self._db()).delete(pin_id)

    def events(self, since: float, until: float) -> list[TimelineEvent]:
        """Return what happened between two moments, the oldest first; at most `MOST`, the latest. Blocking."""
        if not since < until:
            return []
        with self._lock:
            if time.monotonic() - self._folded >= FOLD_EVERY:
                self._folded = time.monotonic()
                self._fold()
        found: list[TimelineEvent] = []
        db = self._db()
        found += (one for row in moves(db, since, until) if (one := _of_move(row)) is not None)
        told = {(one.subject, one.kind, round(one.at / SAME)) for one in found}
        for one in (event for run in self._runs() for event in _of_run(run)):
            near = round(one.at / SAME)
            if since <= one.at < until and not any((one.subject, one.kind, near + by) in told for by in (-1, 0, 1)):
                found.append(one)
        found += (_of_answer(row) for row in answers(db, since, until))
        found += (
            TimelineEvent(pin.at, "pin", pin.note or "pinned", str(pin.id))
            for pin in PinRows(db).all()
            if since <= pin.at < until
        )
        for source in self._sources:
            found += (one for one in source(since, until) if since <= one.at < until)
        return sorted(found, key=lambda one: one.at)[-MOST:]


def _of_move(row: sqlite3.Row) -> TimelineEvent | None:
    data: dict[str, Any] = from_json(row["data"], dict)
    at, name, run_id = float(row["at"]), str(row["name"]), str(row["run_id"])
    if row["kind"] == "spawn":
        again = row["attempt"] > 1
        words = f"{name} started again, attempt {row['attempt']}" if again else f"{name} started"
        return TimelineEvent(at, "restarted" if again else "started", words, run_id, State.STARTING)
    try:
        to = State(str(data.get("to")))
    except ValueError:
        return None
    kind = KINDS.get(to)
    if kind is None:
        return None
    title = data.get("title")
    why = str(title)[:200] if isinstance(title, str) and title else ""
    words = {
        State.READY: "answers again" if data.get("from") == State.UNHEALTHY else "ready",
        State.UNHEALTHY: f"does not answer: {why}" if why else "does not answer",
        State.BACKOFF: f"ended, to be started again: {why}" if why else "ended, to be started again",
        State.EXITED: why or "ended",
        State.FAILED: f"failed: {why}" if why else "failed: nothing says why",
    }[to]
    return TimelineEvent(at, kind, f"{name} {words}", run_id, to)


def _of_run(run: RunView) -> Iterable[TimelineEvent]:
    """Yield what a run's state tells, which its ledger may not have told yet."""
    status = run.status
    if status.started_at:
        kind = "started" if status.attempt == 1 else "restarted"
        words = f"{run.name} started" if status.attempt == 1 else f"{run.name} started again, attempt {status.attempt}"
        yield TimelineEvent(status.started_at, kind, words, run.run_id, State.STARTING)
    if status.ready_at and status.started_at and status.ready_at >= status.started_at:
        yield TimelineEvent(status.ready_at, "ready", f"{run.name} ready", run.run_id, State.READY)
    since = unhealthy_since(run)
    if since is not None:
        yield TimelineEvent(since, "stalled", f"{run.name} {why_unhealthy(run)}", run.run_id, State.UNHEALTHY)
    if status.ended_at and status.final:
        failed = run.state is State.FAILED
        words = f"failed: {status.title or 'nothing says why'}" if failed else status.title or "ended"
        yield TimelineEvent(
            status.ended_at, "failed" if failed else "stopped", f"{run.name} {words}", run.run_id, run.state
        )


def _of_answer(row: sqlite3.Row) -> TimelineEvent:
    parts = [str(row["title"] or "a chat"), *([str(row["finish"])] if row["finish"] not in ("stop", "length") else [])]
    if row["completion_tokens"]:
        parts.append(f"{numbers.count(row['completion_tokens'])} tokens")
    if row["total_seconds"]:
        parts.append(numbers.latency(row["total_seconds"]))
    return TimelineEvent(float(row["at"]), "chat", ", ".join(parts), str(row["session_id"] or ""))
