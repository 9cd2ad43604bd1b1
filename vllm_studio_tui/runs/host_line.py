"""All hosts on one line, for a status bar: what a watcher in the background heard last, and this machine as it is.

No network is waited for: who asks for the line says so in a file, and starts the watcher (`remote.host_line`) where
none is there. It writes what it hears beside that file, and ends when nobody has asked for a while. Light, as
`status --line`: the standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.field_checks import number
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.one_line import cells, ledger_speed
from vllm_studio_tui.runs.read import RunView

if TYPE_CHECKING:
    from vllm_studio_tui.kit.paths import Places

#: The module that watches, as live versions start it.
WATCHER = "vllm_studio_tui.remote.host_line"
#: Seconds after which what was heard is shown with its age.
STALE = 20.0
#: Bytes of the file that are read, and hosts of it.
LIMIT, MOST = 256 * 1024, 200
#: The states of hosts, the most urgent first, and the state of a run whose sign each has: those of the page of hosts.
SIGNS = {
    "lost": State.FAILED,
    "failed": State.UNHEALTHY,
    "warning": State.UNHEALTHY,
    "well": State.READY,
    "asked": "queued",
}
_TROUBLE = ("lost", "failed", "warning")


@dataclass(frozen=True, slots=True)
class HostNow:
    """A host, as the line shows it.

    Attributes:
        state: One of `SIGNS`.
        trouble: What is wrong with it, in a few words.
    """

    name: str
    state: str
    trouble: str = ""
    tokens_per_second: float | None = None
    waiting: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "trouble": self.trouble,
            "tokens_per_second": self.tokens_per_second,
            "waiting": self.waiting,
        }


@dataclass(frozen=True, slots=True)
class Heard:
    """What the watcher heard; `at` None: nothing yet."""

    hosts: tuple[HostNow, ...] = ()
    at: float | None = None


def asked_file(places: Places) -> Path:
    """Return the file that is touched whenever somebody asks for the line."""
    return places.host_line.with_name("asked")


def lock_file(places: Places) -> Path:
    """Return the file that the watcher holds."""
    return places.host_line.with_name("lock")


def read_heard(places: Places) -> Heard:
    """Return what the watcher wrote; nothing where that cannot be read."""
    try:
        handle = os.open(places.host_line, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return Heard()
    try:
        at, data = os.fstat(handle).st_mtime, json.loads(os.read(handle, LIMIT))
    except (OSError, ValueError, RecursionError):
        return Heard()
    finally:
        os.close(handle)
    hosts = data.get("hosts") if isinstance(data, dict) else None
    if not isinstance(hosts, list):
        return Heard()
    return Heard(tuple(_host(one) for one in hosts[:MOST] if isinstance(one, dict)), at)


def _host(data: dict[str, Any]) -> HostNow:
    def text(name: str) -> str:
        value = data.get(name)
        return value[:80] if isinstance(value, str) else ""

    def figure(name: str) -> float | None:
        value: Any = data.get(name)
        return float(value) if number(value) and 0 <= value < 1e15 else None

    state = text("state")
    return HostNow(
        text("name"), state if state in SIGNS else "asked", text("trouble"), figure("tokens_per_second"),
        figure("waiting"),
    )  # fmt: skip


def ask_for_it(places: Places) -> None:
    """Say that the line is asked for, and start a watcher where there is none. Never waits; raises nothing."""
    import fcntl

    from vllm_studio_tui.kit.paths import private_dir

    with contextlib.suppress(OSError):
        private_dir(places.host_line.parent)
        asked_file(places).touch(mode=0o600)
        lock = os.open(lock_file(places), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # it is watched
        finally:
            os.close(lock)
        _start()


def _start() -> None:
    import subprocess
    import sys

    subprocess.Popen(
        [sys.executable, "-m", WATCHER],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def this_machine(runs: Sequence[RunView], name: str) -> HostNow:
    """Return this machine, by its runs."""
    failed = sum(run.state is State.FAILED for run in runs)
    ill = sum(run.state in (State.UNHEALTHY, State.BACKOFF) for run in runs)
    words = [f"{failed} failed" if failed else "", f"{ill} unhealthy" if ill else ""]
    state = "failed" if failed else "warning" if ill else "well"
    return HostNow(name, state, ", ".join(one for one in words if one), ledger_speed(runs))


def host_line(
    hosts: Iterable[HostNow],
    age: float | None,
    width: int,
    mark: Callable[[str], str],
) -> str:
    """Return all hosts on one line of `width` cells, trouble first; what has no room is left out, figures first.

    Args:
        age: Seconds since the watcher heard something; None: it has not yet.
        mark: Returns the sign of a state of a run.
    """
    every = list(hosts)
    groups = {state: [one for one in every if one.state == state] for state in SIGNS}
    speeds = [one.tokens_per_second for one in every if one.tokens_per_second is not None]
    waits = [one.waiting for one in every if one.waiting is not None]
    old = "" if age is not None and age <= STALE else f"{numbers.short_age(age)} old" if age is not None else "asking"
    figures = [
        *([f"{numbers.count(sum(speeds))} tok/s"] if speeds else []),
        *([f"{numbers.count(sum(waits))} waiting"] if sum(waits) else []),
    ]

    def head(words: int, named: int) -> list[str]:
        parts = []
        for state, of in groups.items():
            sign = mark(str(SIGNS[state]))
            shown = of[:named] if state in _TROUBLE else []
            if words and shown:
                parts += [f"{sign} {one.name}" + (f" {one.trouble}" if words > 1 else "") for one in shown]
                of = of[len(shown) :]
                parts += [f"{sign} +{len(of)}"] if of else []
            elif of:
                parts.append(
                    f"{sign} {len(of)}"
                    + (f" of {len(every)}" if words and state == "well" and len(of) < len(every) else "")
                )
        return parts

    for words, named in ((2, 9), (2, 2), (1, 9), (1, 2), (1, 1), (0, 0)):
        for kept in range(len(figures), -1, -1):
            line = "  ".join([*head(words, named), *([old] if old else []), *figures[:kept]])
            if cells(line) <= width:
                return line
            if words and kept == len(figures) - 1:
                break  # names come before all but one figure
    return "  ".join(head(0, 0))[:width]


def line_of_hosts(places: Places, runs: Sequence[RunView], width: int, *, plain: bool, others: bool) -> str:
    """Return the line as it is now, and have it kept up to date. Never waits.

    A status bar of tmux acts on what follows `#`, and names come from outside: they are written without it.

    Args:
        others: There are hosts in the settings.
    """
    from vllm_studio_tui.kit.sanitize import clean_line
    from vllm_studio_tui.runs.state_marks import state_mark

    heard = read_heard(places) if others else Heard(at=time.time())
    if others:
        ask_for_it(places)
    own = this_machine(runs, os.uname().nodename.partition(".")[0])
    age = max(0.0, time.time() - heard.at) if heard.at is not None else None
    line = host_line((*heard.hosts, own), age, width, lambda state: state_mark(state, plain=plain)[0])
    line = clean_line(line).replace("#", "_")
    return line.encode("ascii", "replace").decode() if plain else line
