"""The events of runs: started, ready, ended, failed; from the status that their keepers wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.runs.unhealthy import unhealthy_since, why_unhealthy
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row

#: The beginning of the keys of events.
EVENT = "event:"


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a run; `at` in seconds since the epoch."""

    at: float
    state: State
    name: str
    words: str
    run_id: str


def events(runs: Iterable[RunView]) -> list[Event]:
    """Return all known events, newest first."""
    found: list[Event] = []
    for run in runs:
        status = run.status
        if status.started_at:
            gpus = f" on GPU {' '.join(run.spec.gpus)}" if run.spec is not None and run.spec.gpus else ""
            words = f"started{gpus}" if status.attempt == 1 else f"started again{gpus}, attempt {status.attempt}"
            found.append(Event(status.started_at, State.STARTING, run.name, words, run.run_id))
        if status.ready_at and status.started_at and status.ready_at >= status.started_at:
            took = numbers.duration(status.ready_at - status.started_at)
            found.append(Event(status.ready_at, State.READY, run.name, f"ready after {took}", run.run_id))
        since = unhealthy_since(run)
        if since is not None:
            found.append(Event(since, State.UNHEALTHY, run.name, why_unhealthy(run), run.run_id))
        if status.ended_at and status.final:
            if run.state is State.FAILED:
                words = f"failed: {status.title or 'nothing says why'}"
            else:
                ran = numbers.duration(status.ended_at - status.started_at) if status.started_at else ""
                words = f"{status.title or 'ended'} after {ran}" if ran else status.title or "ended"
            found.append(Event(status.ended_at, run.state, run.name, words, run.run_id))
    return sorted(found, key=lambda event: event.at, reverse=True)


def rows(found: Iterable[Event], glyphs: Glyphs, x: int, width: int, now: float, *, keyed: bool = False) -> list[Row]:
    """Draw a row for each event: time, state, run, words; a click on it opens the run.

    Args:
        keyed: The cursor can be on them; the keys begin with `event:`.
    """
    out = []
    found = list(found)
    longest = max((cell_len(event.name) for event in found), default=0)
    name = max(16, min(longest, 28 if width - x > 72 else 20))
    for event in found:
        row = Row(key=f"{EVENT}{event.run_id}:{event.state}" if keyed else None)
        row.put_right(x + 6, numbers.moment(event.at, now), "faint")
        mark, colour = glyphs.state(event.state)
        row.put(x + 8, mark, colour)
        after = row.put(x + 10, event.name, "fg", name)
        start = x + 12 + name if width - x > 44 else after + 2
        row.put(start, event.words, "dim", max(0, width - start - 1))
        row.link(x, max(x, width - 1), f"run:{event.run_id}")
        out.append(row)
    return out
