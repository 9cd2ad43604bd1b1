"""Faults that the simulated engine injects on demand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

WORKER = (
    "import time,signal; signal.signal(signal.SIGTERM, signal.SIG_IGN if {ignore} else signal.SIG_DFL); time.sleep(1e9)"
)


class Faults:
    """The faults to inject, set by flags at the start or by `POST /simulate` later."""

    def __init__(self) -> None:
        self.hang = False
        self.health: int | None = None
        self.crash_at_token: int | None = None
        self.break_at: int | None = None
        self.break_style = "cut"
        self.exit_code: int | None = None
        self.flood = 0
        self.metrics = ""

    def apply(self, switches: dict[str, Any]) -> list[str]:
        """Set faults by name. Returns the unknown names."""
        unknown = []
        for name, value in switches.items():
            if name == "hang":
                self.hang = bool(value)
            elif name == "health":
                self.health = int(value) if value else None
            elif name == "flood":
                self.start_flood(int(value))
            elif name == "crash":
                # In a moment, so that whoever asked still gets an answer.
                threading.Timer(0.05, crash, (str(value), self.exit_code)).start()
            elif name == "metrics":
                self.metrics = str(value)
            elif name == "log":
                os.write(1, f"{value}\n".encode(errors="replace"))
            elif name == "break_at":
                self.break_at = int(value) if value is not None else None
            elif name == "break_style":
                self.break_style = str(value)
            else:
                unknown.append(name)
        return unknown

    def start_flood(self, lines_per_second: int) -> None:
        """Write so many lines a second into the log, until it is called with 0."""
        running = self.flood > 0
        self.flood = lines_per_second
        if lines_per_second > 0 and not running:
            threading.Thread(target=self._flood, daemon=True).start()

    def _flood(self) -> None:
        number = 0
        while self.flood > 0:
            batch = max(1, self.flood // 50)
            lines = "".join(f"INFO flood line {number + i} of nothing in particular\n" for i in range(batch))
            os.write(1, lines.encode())
            number += batch
            time.sleep(0.02)

    def token(self, number: int) -> None:
        """Crash if the token of this number is the one to crash at; called before each token is sent."""
        if self.crash_at_token is not None and number >= self.crash_at_token:
            crash("segv" if self.exit_code is None else f"exit:{self.exit_code}", self.exit_code)


#: vLLM, whose core was killed, warns of it and leaves with exit code 0.
CORE_DIED = b"(APIServer pid=1) WARNING 11-23 20:34:01 [core_client.py:817] [shutdown] MPClient: engine core exited"
CORE_DIED += b" unexpectedly; starting cleanup\n"


def crash(how: str, code: int | None) -> None:
    """End the process at once: `segv`, `kill`, `abort`, `exit:N`, or anything else for exit code 1."""
    kinds = {"segv": signal.SIGSEGV, "kill": signal.SIGKILL, "abort": signal.SIGABRT}
    if how in kinds:
        os.kill(os.getpid(), kinds[how])
        time.sleep(5)
    name, _, number = how.partition(":")
    if how == "exit:0":
        os.write(1, CORE_DIED)
    os._exit(int(number) if name == "exit" and number else (1 if code is None else code))


def spawn_workers(count: int, *, reparent: bool, ignore_term: bool) -> None:
    """Start worker processes as engines do; re-parented ones leave session, parent and command line behind."""
    program = [sys.executable, "-S", "-c", WORKER.format(ignore=ignore_term)]
    if not reparent:
        for _ in range(count):
            subprocess.Popen(program, stdin=subprocess.DEVNULL)
        return
    for _ in range(count):
        middle = os.fork()
        if middle == 0:
            os.setsid()
            if os.fork() == 0:
                # An erased command line, as setproctitle leaves it.
                os.execv(sys.executable, ["SIM::Worker", *program[1:]])
            os._exit(0)
        os.waitpid(middle, 0)
