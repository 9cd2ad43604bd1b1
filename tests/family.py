"""A real process with a child and a grandchild, to look at and to signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vllm_studio_tui.kit import process as kit

#: A leader with a child that has a child: each says that it is there. `deaf` ones do not hear TERM.
FAMILY = """
import os, signal, subprocess, sys, time
deep, deaf = int(sys.argv[1]), sys.argv[2] == "deaf"
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if deep:
    subprocess.Popen([sys.executable, sys.argv[0], str(deep - 1), sys.argv[2], *sys.argv[3:]])
open(f"{sys.argv[0]}.{deep}", "w").write(str(os.getpid()))
time.sleep(60)
"""


class Family:
    """A process with a child and a grandchild."""

    def __init__(self, where: Path, *, deaf: bool = False, more: tuple[str, ...] = ()) -> None:
        script = where / ("deaf.py" if deaf else "family.py")
        script.write_text(FAMILY)
        words = [sys.executable, str(script), "2", "deaf" if deaf else "hears", *more]
        environ = {**os.environ, "HF_TOKEN": "hf_abcdefghijklmnopqrstuv", "PLAIN": "yes\x1b[31m"}
        self._leader = subprocess.Popen(words, env=environ, start_new_session=True)
        wait_for(lambda: all(self._written(deep, script) for deep in (2, 1, 0)))
        self.pids = tuple(self._written(deep, script) for deep in (2, 1, 0))

    def _written(self, deep: int, script: Path) -> int:
        path = Path(f"{script}.{deep}")
        text = path.read_text() if path.exists() else ""
        return int(text) if text else 0

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(kit.start_ticks(pid) or 0 for pid in self.pids)

    def end(self) -> None:
        for pid in self.pids:
            if pid and kit.alive(pid, None):
                os.kill(pid, signal.SIGKILL)
        self._leader.wait(10)


def wait_for(true: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)
