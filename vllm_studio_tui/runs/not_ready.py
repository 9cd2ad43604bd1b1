"""Why a start is not ready yet, in words: the last answer to its probe, and how long its log has been silent."""

from __future__ import annotations

import time

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.numbers import duration
from vllm_studio_tui.runs.elsewhere import told_why, trouble_of
from vllm_studio_tui.runs.read import RunView

#: Seconds that an answer must have been the same before it is worth a word: most are passing.
HEARD_AFTER = 30.0
#: Seconds of silence of the log that are remarked on.
SILENT_AFTER = 90.0
WAITING = (State.STARTING, State.LOADING)


def log_silence(run: RunView, now: float | None = None) -> float | None:
    """Return seconds since a run that is not ready yet wrote to its log; None for others.

    What waits elsewhere for its turn has no log to write to, and may wait for days.
    """
    if run.state not in WAITING or run.log_at is None or told_why(run):
        return None
    return max(0.0, (time.time() if now is None else now) - run.log_at)


def remarks(run: RunView, now: float | None = None) -> list[str]:
    """Return remarks on a run that is not ready yet, without their durations."""
    return [words for words, _ in _remarks(run, now)]


def waiting_for(run: RunView, now: float | None = None) -> str:
    """Return the same remarks in one line, with their durations; empty where there are none."""
    return "; ".join(
        f"{words}, for {duration(seconds, days=False)}" if seconds is not None else words
        for words, seconds in _remarks(run, now)
    )


def _remarks(run: RunView, now: float | None) -> list[tuple[str, float | None]]:
    now = time.time() if now is None else now
    status = run.status
    if run.state not in WAITING:
        return []
    found: list[tuple[str, float | None]] = []
    if trouble := trouble_of(run):
        found.append((trouble, None))
    if told_why(run) and not status.stranger:
        return found
    if status.heard and status.stranger:
        found.append((status.heard, None))
    elif status.heard and status.heard_at is not None and now - status.heard_at >= HEARD_AFTER:
        found.append((status.heard, now - status.heard_at))
    silence = log_silence(run, now)
    if silence is not None and silence >= SILENT_AFTER:
        found.append(("its log is silent", silence))
    return found
