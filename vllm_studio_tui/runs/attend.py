"""`python -m vllm_studio_tui.runs.attend RUN_DIRECTORY OFFSET EVERY`: tells of one rank to who watches its unit.

It prints lines of JSON: what the run's state is, what its log says from byte OFFSET on, and every EVERY seconds that it
is there. It reads lines of JSON: that the unit is watched, which renews the run's lease, that the run shall stop, and
the question whether its log tells of a failure although it goes on.
Where nobody reads any more it stays until the run is over, so that a run which loses its keeper meanwhile has a new
one, which lets the lease run out.

Standard library only and light: one of it lives beside every rank.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_studio_tui.keeper.lease import renew
from vllm_studio_tui.kit import process, safe_json
from vllm_studio_tui.kit.paths import boot_id, write_atomic
from vllm_studio_tui.runs.control import dismiss, start_keeper
from vllm_studio_tui.runs.ending import find_keeper
from vllm_studio_tui.runs.read import RunView, view

#: What the id of a rank's run may be: it names a directory, and stands in a command line.
RUN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,120}")
#: Who attends a run now: whoever came last. The others leave.
ATTENDED = "attended"
#: Seconds between two looks at the run.
LOOK = 0.25
#: Seconds between two thorough looks at the run: whether keeper and engine live is not in its files.
THOROUGH = 2.0
#: Bytes of the log in a line, and of what waits for a slow reader before no more is read.
PIECE, MOST_WAITING = 48 * 1024, 512 * 1024
#: Bytes of a line that is read; more was not written by us.
LONGEST = 64 * 1024
#: Bytes at the end of a log in which a failure is looked for.
EXPLAINED = 256 * 1024
#: What is told of a state.
TOLD = (
    "state", "stage", "progress", "reason", "title", "advice", "evidence", "exit_code", "exit_signal", "ready_at",
    "ended_at",
)  # fmt: skip


class Attendant:
    """Attends one run.

    Args:
        offset: Bytes of its log that are known already.
        every: Seconds between two lines that say that it is there.
    """

    def __init__(self, folder: Path, offset: int, every: float) -> None:
        self._folder, self._offset, self._every = folder, offset, every
        self._mark = f"{os.getpid()} {process.start_ticks(os.getpid())} {boot_id()}"
        self._out = bytearray()
        self._in = bytearray()
        self._heard = True  # somebody reads, as far as we know
        self._beat_at, self._beats = 0.0, 0
        self._echo = 0.0
        self._told: dict[str, Any] = {}
        self._wish, self._signals = 0, dict[tuple[int, int], int]()
        self._looked_at = 0.0
        self._looked: tuple[int, int] | None = None
        self._view: RunView | None = None
        self._over = False

    def run(self) -> None:
        """Attend until the run is over and told, or another one attends it."""
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        write_atomic(self._folder / ATTENDED, self._mark.encode())
        while self._folder.is_dir() and self._ours():
            now = time.monotonic()
            self._look(now)
            if self._heard:
                self._speak(now)
                if self._over and not self._out:
                    return
            elif self._over:
                return
            self._wait()

    def _ours(self) -> bool:
        try:
            return (self._folder / ATTENDED).read_text() == self._mark
        except (OSError, ValueError):
            return True

    # --- the run ----------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Look at the run; give it a keeper where it has none, and tell its keeper what is wished."""
        with contextlib.suppress(OSError):
            found = (self._folder / "state.json").stat()
            mark = (found.st_mtime_ns, found.st_ino)
            if mark == self._looked and now - self._looked_at < THOROUGH:
                return
            self._looked = mark
        self._looked_at = now
        one = self._view = view(self._folder)
        if one.lost:
            with contextlib.suppress(OSError):
                start_keeper(self._folder, adopt=True)
            self._looked = None
        elif self._wish and one.live:
            self._stop(one)
        # A keeper that is about to leave still writes.
        self._over = one.status.final and not one.keeper_alive
        if self._over and self._wish and not one.dismissed:
            dismiss(one)  # it fell with the others before it was told: nobody has to look at that

    def _stop(self, one: RunView) -> None:
        state = one.status
        keeper = (state.keeper_pid, state.keeper_start)
        if keeper[0] is None or keeper[1] is None or not process.alive(*keeper):
            keeper = find_keeper(self._folder) or (None, None)
        if keeper[0] is None or keeper[1] is None:
            return
        told = (keeper[0], keeper[1])
        while self._signals.get(told, 0) < self._wish:
            process.send(*told, signal.SIGTERM)
            self._signals[told] = self._signals.get(told, 0) + 1
            time.sleep(0.05)  # two at once are one

    # --- what is said -----------------------------------------------------------------------------------

    def _speak(self, now: float) -> None:
        one = self._view
        if one is not None:
            told = told_of(one)
            if told != self._told:
                self._told = told
                self._say({"run": told})
        self._read_log()
        if self._over and not self._told.get("over"):
            self._told["over"] = True
            self._say({"run": self._told})
        if now >= self._beat_at:
            self._beat_at = now + self._every
            self._beats += 1
            self._say({"beat": self._beats, "at": time.monotonic(), "now": time.time()})
        self._flush()

    def _read_log(self) -> None:
        """Say what the log has new, as long as it is taken."""
        with contextlib.suppress(OSError), (self._folder / "engine.log").open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < self._offset:  # it was cut
                self._offset = 0
            stream.seek(self._offset)
            while len(self._out) < MOST_WAITING and (piece := stream.read(PIECE)):
                self._offset += len(piece)
                self._say({"log": piece.decode("latin-1"), "to": self._offset})
                self._flush()

    def _say(self, document: Mapping[str, Any]) -> None:
        self._out += json.dumps(document, separators=(",", ":")).encode() + b"\n"

    def _flush(self) -> None:
        try:
            while self._out:
                written = os.write(1, self._out[: 64 * 1024])
                del self._out[:written]
        except BlockingIOError:
            pass
        except OSError:
            self._alone()

    def _why(self) -> dict[str, Any]:
        """Return what the end of the log says has failed, although the engine goes on; empty: nothing that is known."""
        from vllm_studio_tui.keeper.explanation import explain  # not before something has failed

        one = self._view
        if one is None or one.spec is None:
            return {}
        lines: list[str] = []
        with contextlib.suppress(OSError), (self._folder / "engine.log").open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - EXPLAINED))
            lines = stream.read(EXPLAINED).decode("utf-8", "replace").split("\n")
        found = explain(lines, one.spec.failures, served=one.status.ready_at is not None)
        if found is None or not found.explained:
            return {}
        return {"reason": found.reason, "title": found.title, "advice": found.advice, "evidence": [found.line]}

    # --- what is heard ----------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait a moment, or until something is heard."""
        if not self._heard:
            time.sleep(LOOK * 2)
            return
        ready, _, _ = select.select([0], [1] if self._out else [], [], LOOK)
        if 0 not in ready:
            return
        try:
            piece = os.read(0, LONGEST)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._alone()
            return
        self._in += piece
        *lines, rest = self._in.split(b"\n")
        self._in = bytearray(rest[-LONGEST:])
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                data = safe_json.loads(bytes(line))
                if isinstance(data, dict):
                    self._hear(data)

    def _hear(self, data: Mapping[str, Any]) -> None:
        wish = data.get("stop")
        if wish in (1, 2):
            self._wish = max(self._wish, int(wish))
            self._looked = None
        if data.get("why") is True:
            self._say({"why": self._why()})
        echo = data.get("echo")
        # What is echoed is when we last said that we are there: a line that waited in a cut connection renews nothing.
        if isinstance(echo, int | float) and self._echo < echo <= time.monotonic():
            self._echo = float(echo)
            with contextlib.suppress(OSError):  # a full disk: the lease runs out, and that is said
                renew(self._folder, self._echo, str(data.get("words") or ""))

    def _alone(self) -> None:
        """Nobody reads any more: go on without those who wait for our end."""
        if not self._heard:
            return
        self._heard = False
        self._out.clear()
        if os.fork():
            os._exit(0)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        with contextlib.suppress(OSError):
            if self._ours():
                self._mark = f"{os.getpid()} {process.start_ticks(os.getpid())} {boot_id()}"
                write_atomic(self._folder / ATTENDED, self._mark.encode())


def told_of(run: RunView) -> dict[str, Any]:
    """Return what is told of a run."""
    state = run.status
    told: dict[str, Any] = {name: getattr(state, name) for name in TOLD}
    told["stopped"] = state.final and state.reason == "stopped"
    told["retry"] = state.retry is not False
    told["keeper"] = run.keeper_alive
    told["engine"] = run.engine_alive
    return told


def main(argv: list[str] | None = None) -> int:
    """Attend a run until it is over; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Attendant(Path(arguments[0]), int(arguments[1]), float(arguments[2])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
