"""The state of a run, recovered from its state file and its ledger, whichever knows more.

The state is replaced as a whole and the ledger is appended to: a full disk may keep either from being written, and
either may be torn.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.field_checks import process_id, whole
from vllm_studio_tui.domain.run import FINAL, RunState, State
from vllm_studio_tui.keeper.files import LEDGER, last_chapter, read_state
from vllm_studio_tui.keeper.verdict import describe_exit


@dataclass(frozen=True, slots=True)
class Recovered:
    """The state of a run as its files give it.

    Attributes:
        known: The state file or the ledger could be read.
        ended: The end of its last engine is on record: nobody need ask for it again.
    """

    state: RunState
    known: bool
    ended: bool


def recover(folder: Path) -> Recovered:
    """Read both files of a run and return what they say together."""
    written = read_state(folder)
    if written is not None and written.final:
        return Recovered(written, True, True)
    state = written or RunState(folder.name)
    # Before there were numbers in states: the ledger is written first.
    since = written.seq if written is not None else 0
    lines = last_chapter(folder / LEDGER)
    ended = False
    for line in lines:
        if line["seq"] > since:
            _apply(state, line)
        if line.get("kind") == "exit" and lines[0].get("kind") == "spawn":
            ended = written is None or written.pid in (None, lines[0].get("pid"))
            if ended:
                state.exit_code, state.exit_signal = _whole(line.get("code")), _whole(line.get("signal"))
    return Recovered(state, written is not None or bool(lines), ended)


def _apply(state: RunState, line: dict[str, Any]) -> None:
    state.attempt = max(1, _whole(line.get("attempt")) or state.attempt)
    kind, at = line.get("kind"), float(line["t"])
    if kind == "spawn":
        pid, start = line.get("pid"), line.get("pid_start")
        state.pid, state.pid_start = (pid, start) if process_id(pid) and whole(start) else (None, None)
        state.boot_id = str(line.get("boot_id") or "")
        state.started_at, state.ready_at = at, None
        state.place = place if isinstance(place := line.get("place"), dict) else {}
        if state.state is State.BACKOFF:
            state.state = State.STARTING
    elif kind == "move":
        with contextlib.suppress(ValueError):
            _move(state, State(str(line.get("to"))), at, line)


def _move(state: RunState, to: State, at: float, line: dict[str, Any]) -> None:
    state.state = to
    reason, title, advice = (_text(line.get(name)) for name in ("reason", "title", "advice"))
    if to is State.READY:
        state.ready_at = state.ready_at or at
    elif to in FINAL:
        if title is None:
            _, title, advice = describe_exit(state.exit_code, state.exit_signal)
        state.reason, state.title, state.advice, state.ended_at = reason, title, advice, at
        state.pid = state.pid_start = state.stage = state.progress = None
    elif to is State.BACKOFF:
        state.reason, state.pid, state.pid_start = reason, None, None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if whole(value) else None
