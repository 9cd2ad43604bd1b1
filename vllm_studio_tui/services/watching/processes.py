"""Processes of runs and on GPUs: as a tree, with what a signal to one would do; signals, and their environments.

Only what is in the tree can be signalled or looked into: the studio is no `kill`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.processes import (
    SIGNALS,
    Consequence,
    Process,
    ProcessRow,
    SignalSent,
    as_tree,
)
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import MASK, is_secret, mask_text
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.process import send_or_raise
from vllm_studio_tui.probes.process_table import OnGpus, ProcessTable, RunRoots
from vllm_studio_tui.runs.process_facts import variables_of
from vllm_studio_tui.runs.read import RunView, live_runs

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: Seconds for which a sample of this program serves.
FRESH = 5.0
#: Seconds that a process of somebody else has to end, once it was asked to, before it may be killed.
GRACE = 5.0
MAX_ENVIRONMENT = 2 * 1024 * 1024
#: What asks a process to end, and lets it put away what it has.
GENTLE = frozenset({"TERM", "INT", "HUP", "QUIT"})


class Processes:
    """Processes of runs and on GPUs.

    Args:
        places: Where the runs are.
        latest: Returns the latest sample of this program, if there is one.
        gpu_report: Reads the GPUs.
    """

    def __init__(
        self,
        places: Places,
        latest: Callable[[], Snapshot | None],
        gpu_report: Callable[[], GpuReport],
        table: ProcessTable | None = None,
    ) -> None:
        self._places = places
        self._latest = latest
        self._gpu_report = gpu_report
        self._table = table or ProcessTable()
        self._lock = threading.Lock()
        self._runs: dict[str, RunView] = {}
        #: Processes of others that this program has asked to end, by number and start.
        self._asked: set[tuple[int, int]] = set()

    # --- looking ----------------------------------------------------------------------------------------

    def tree(self, *, seconds: float = 0.0) -> tuple[ProcessRow, ...]:
        """Return all processes of live runs, those on GPUs and the parents of these, as a tree. Blocking.

        Args:
            seconds: Look twice, so many seconds apart: at its first look the use of a CPU is unknown.
        """
        found = self._look()
        if seconds > 0 and any(one.start and one.cpu is None for one in found):
            time.sleep(min(seconds, 10.0))
            found = self._look()
        return as_tree(found)

    def _look(self) -> list[Process]:
        snapshot = self._latest()
        fresh = snapshot is not None and abs(time.time() - snapshot.tick.at) < FRESH
        if snapshot is not None and fresh:
            report, runs = snapshot.tick.gpus, [run for run in snapshot.runs if run.live]
        else:
            report, runs = self._gpu_report(), live_runs(self._places)
        with self._lock:
            self._runs = {run.run_id: run for run in runs}
            found = self._table.read(on_gpus(report), [roots_of(run) for run in runs])
        return [replace(one, ours=True) if one.run_id in self._runs else one for one in found]

    def _find(self, pid: int) -> tuple[ProcessRow, list[ProcessRow]]:
        """Return the row of a process and the rows of all that descends from it.

        Raises:
            NotFound: It is not in the tree.
        """
        rows = list(self.tree())
        for index, row in enumerate(rows):
            if row.process.pid == pid:
                below = []
                for one in rows[index + 1 :]:
                    if one.depth <= row.depth:
                        break
                    below.append(one)
                return row, below
        raise NotFound(
            f"process {pid} belongs to no run and is on no GPU",
            advice="See `vllm-studio gpus processes`; for others there is `kill`.",
        )

    # --- environment ------------------------------------------------------------------------------------

    def environment(self, pid: int, start: int) -> list[tuple[str, str]]:
        """Return the variables that a process was started with, by their names; secrets are masked. Blocking.

        Raises:
            NotFound: It has gone, or is not in the tree.
            StudioError: It is somebody else's.
        """
        row, _ = self._find(pid)
        if row.process.start != start or not start:
            raise _gone(pid)
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123, RUF100
                raw = file.read(MAX_ENVIRONMENT)
        except PermissionError:
            raise StudioError(
                f"the environment of process {pid} cannot be read",
                cause=f"It belongs to {row.process.user or 'somebody else'}.",
                advice="Its owner can, or root.",
            ) from None
        except OSError:
            raise _gone(pid) from None
        found = sorted(variables_of(raw).items())
        return [(name, MASK if is_secret(name, value) else mask_text(value)) for name, value in found]

    # --- signals ----------------------------------------------------------------------------------------

    def consequence(self, pid: int) -> Consequence:
        """Return what a signal to a process would do. Blocking.

        Raises:
            NotFound: It is not in the tree.
        """
        row, below = self._find(pid)
        one = row.process
        run = self._runs.get(one.run_id or "")
        told = Consequence(one, ends=1 + len(below), refusal=self._refusal(one))
        if run is None:
            return replace(told, words=tuple(_of_others(one, below)), signals=self._allowed(one))
        requests = self._requests(run)
        words = _of_ours(run, row, below, requests)
        return replace(told, run_id=run.run_id, run=run.name, requests=requests, words=tuple(words))

    def signal(self, targets: Sequence[tuple[int, int]], name: str) -> tuple[SignalSent, ...]:
        """Send a signal to processes, each given by its number and start; return what became of each. Blocking.

        KILL reaches a process of somebody else only after it was asked to end: where this studio has not done so, it
        is asked first, and killed if it lives a few seconds later.

        Raises:
            UsageError: There is no such signal.
        """
        name = name.upper().removeprefix("SIG")
        if name not in SIGNALS:
            raise UsageError(f"there is no signal {name[:20]!r} here", advice=f"There are {', '.join(SIGNALS)}.")
        here = {row.process.pid: row.process for row in self.tree()}
        return tuple(self._send(pid, start, name, here.get(pid)) for pid, start in dict.fromkeys(targets))

    def _send(self, pid: int, start: int, name: str, one: Process | None) -> SignalSent:
        if one is None or one.start != start:
            return SignalSent(pid, None, "it has gone, or was never in the list")
        refusal = self._refusal(one)
        if refusal is not None:
            return SignalSent(pid, None, refusal)
        words = ""
        if name == "KILL" and "KILL" not in self._allowed(one):
            if (problem := self._deliver(one, "TERM")) is not None:
                return SignalSent(pid, None, problem)
            self._asked.add((pid, start))
            if _gone_within(pid, start, GRACE):
                return SignalSent(pid, "TERM", "it was asked to end first, and did")
            words = f"it was asked to end first, and lived {GRACE:.0f} s later"
        problem = self._deliver(one, name)
        if problem is not None:
            return SignalSent(pid, None, problem)
        if name in GENTLE:
            self._asked.add((pid, start))
        return SignalSent(pid, name, words)

    def _refusal(self, one: Process) -> str | None:
        """Return why nothing can be sent to a process, without sending anything."""
        if not one.start:
            return "it cannot be reached from here: it is of another container, or of a simulation"
        if one.pid in (os.getpid(), os.getppid()):
            return "it is this studio, or what started it"
        if one.state == "Z":
            return "it has ended already: its parent has not taken note"
        return _problem_of(one, 0)

    def _deliver(self, one: Process, name: str) -> str | None:
        return _problem_of(one, int(getattr(signal, f"SIG{name}")))

    def _allowed(self, one: Process) -> tuple[str, ...]:
        """Return what may be sent at once: KILL to what is ours, and to what was asked to end before."""
        asked = one.ours or (one.pid, one.start) in self._asked
        return tuple(name for name in SIGNALS if asked or name != "KILL")

    def _requests(self, run: RunView) -> int | None:
        snapshot = self._latest()
        metrics = snapshot.engine(run.run_id) if snapshot is not None else None
        if metrics is None or metrics.running is None:
            return None
        return metrics.running + (metrics.waiting or 0)


def on_gpus(report: GpuReport) -> dict[int, OnGpus]:
    """Return what the driver says of each process, all its GPUs together."""
    found: dict[int, OnGpus] = {}
    for gpu in report.gpus:
        for one in gpu.processes:
            before = found.get(one.pid, OnGpus())
            sizes = [size for size in (before.memory, one.gpu_memory) if size is not None]
            shares = [share for share in (before.sm, one.sm) if share is not None]
            found[one.pid] = OnGpus(
                tuple(dict.fromkeys((*before.gpus, gpu.index))),
                sum(sizes) if sizes else None,
                max(shares) if shares else None,
                before.user or one.user,
                before.command or one.command,
                before.run_id or one.run_id,
            )
    return found


def roots_of(run: RunView) -> RunRoots:
    """Return by what the processes of a run are found."""
    status = run.status
    leaders = tuple(
        (pid, start)
        for pid, start in ((status.pid, status.pid_start), (status.server_pid, status.server_start))
        if pid and start
    )
    members = {int(pid): start for pid, start in status.members.items() if pid.isdecimal()}
    return RunRoots(run.run_id, leaders, members, status.keeper_pid)


def _of_ours(run: RunView, row: ProcessRow, below: Sequence[ProcessRow], requests: int | None) -> list[str]:
    whole = row.depth == 0
    part = "" if whole else "a part of "
    words = [f"It is {part}{run.name}, {run.state}: {_ending(1 + len(below))}."]
    if not whole:
        words[0] = f"It is {part}{run.name}, {run.state}. An engine that loses a part usually ends as a whole."
    if requests:
        words.append(f"{requests} {'request is' if requests == 1 else 'requests are'} under way there and would fail.")
    elif requests is None and run.state in ANSWERING:
        words.append("How many requests are under way is not known.")
    if run.spec is not None and run.spec.restart.policy != "never":
        words.append("Its keeper would start it again; to end it for good, stop the run.")
    return words


def _of_others(one: Process, below: Sequence[ProcessRow]) -> list[str]:
    owner = f"It belongs to {one.user}" if one.user else "It belongs to somebody"
    if one.run_id:
        words = [f"{owner} and to the run {one.run_id} of another studio: {_ending(1 + len(below))}."]
    else:
        words = [f"{owner}, and no run of this studio: {_ending(1 + len(below))}."]
    family = [one, *(row.process for row in below)]
    held = [each.gpu_memory for each in family if each.gpu_memory is not None]
    gpus = sorted({gpu for each in family for gpu in each.gpus})
    if held and gpus:
        where = f"GPU {' '.join(map(str, gpus))}"
        words.append(f"It holds {numbers.size(sum(held))} of {where}.")
    if one.state == "D":
        words.append("It waits inside the kernel: no signal reaches it before that ends, and if the driver hangs only "
                     "a reboot does.")  # fmt: skip
    return words


def _ending(count: int) -> str:
    return "nothing else ends with it" if count == 1 else f"{count} processes end with it"


def _problem_of(one: Process, number: int) -> str | None:
    """Send a signal; return what was wrong."""
    try:
        send_or_raise(one.pid, one.start, number)
    except ProcessLookupError:
        return "it has gone"
    except PermissionError:
        return f"it belongs to {one.user or 'somebody else'}: ask them, or use sudo"
    except OSError as error:
        return f"the system refuses: {error.strerror or error}"
    return None


def _gone_within(pid: int, start: int, seconds: float) -> bool:
    from vllm_studio_tui.kit.process import wait_gone

    return wait_gone(pid, start, seconds)


def _gone(pid: int) -> NotFound:
    return NotFound(f"process {pid} has gone", advice="Its number may be another's by now; look again.")


def subtree(rows: Sequence[ProcessRow], pid: int) -> Iterable[ProcessRow]:
    """Return the row of a process and of all that descends from it."""
    inside: int | None = None
    for row in rows:
        if inside is not None and row.depth <= inside:
            return
        if row.process.pid == pid:
            inside = row.depth
        if inside is not None:
            yield row
