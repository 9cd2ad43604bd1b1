"""A cluster that a test plays: a directory of jobs, run with simulated engines outside of every keeper."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.ports import free_port


class Cluster:
    """Runs the jobs of its directory one after the other, as a scheduler does, outside of every keeper."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.engines: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[str] = []
        self.wrong: list[str] = []
        self.full = False
        self.ending = True
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            for order in self.place.glob("*.order"):
                try:
                    self._serve(order.stem)
                except AssertionError as error:
                    self.wrong.append(str(error))

    def _serve(self, name: str) -> None:
        engine = self.engines.get(name)
        told = any((self.place / f"{name}.{suffix}").exists() for suffix in ("stop", "kill"))
        if engine is None and told:
            self.tell(name, phase="ended", state="CANCELLED", stopped=True)
            (self.place / f"{name}.order").unlink()
        elif engine is None and not self.full:
            port = free_port()
            log = (self.place / f"{name}.log").open("ab")
            argv = [sys.executable, "-m", "vllm_studio_tui.simulation.engine", "--port", str(port), "--model", "sim"]
            self.engines[name] = subprocess.Popen(argv, stdout=log, stderr=log)
            self.started.append(name)
            run = name.rpartition(".")[0]
            assert [one.rpartition(".")[0] for one in self.engines].count(run) == 1, f"{run} runs twice"
            rank = {"name": "rank 0", "where": "n1", "state": "RUNNING"}
            self.tell(name, phase="running", state="RUNNING", address=["127.0.0.1", port], parts=[rank])
        elif engine is not None and self.ending:
            for suffix, number in (("stop", signal.SIGTERM), ("kill", signal.SIGKILL)):
                if (self.place / f"{name}.{suffix}").exists():
                    engine.send_signal(number)
            if engine.poll() is not None:
                del self.engines[name]
                cause = None if told else {"reason": "node_fail", "title": "node n1 failed", "advice": "Launch again."}
                self.tell(name, phase="ended", state="CANCELLED" if told else "NODE_FAIL", cause=cause, stopped=told)
                (self.place / f"{name}.order").unlink()

    def tell(self, name: str, **values: Any) -> None:
        new = self.place / f"{name}.new"
        new.write_text(json.dumps(values))
        new.rename(self.place / f"{name}.status")

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        (self.place / "down").touch()
        try:
            yield
        finally:
            (self.place / "down").unlink()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        for one in self.engines.values():
            one.kill()
            one.wait()
