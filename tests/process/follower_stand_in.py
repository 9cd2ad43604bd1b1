"""A follower of a system that is a directory: `cluster.py`'s jobs, run by the test itself and not by the run's keeper.

The loop, the relay and the report are the product's; only the system is not. Its file names are what the test reads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vllm_studio_tui.domain.job import Cause, Part, Phase
from vllm_studio_tui.followers import __main__, registry
from vllm_studio_tui.followers.system import Job, Look, System, SystemTrouble

DOWN = Cause("system_down", "the cluster does not answer")


class Cluster(System):
    every = 0.05

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.place = Path(str(job.plan["cluster"]))
        self._read = int(job.memory.get("read", 0))

    def _ask(self) -> None:
        if (self.place / "down").exists():
            raise SystemTrouble(DOWN, passing=True)

    def submit(self) -> str:
        self._ask()
        if (self.place / "refuses").exists():
            raise SystemTrouble(Cause("refused", "no such partition", "Name another.", retry=False))
        # As with every scheduler: each job has a number of its own, and its name is that of the run.
        jobs = self._jobs() or [f"{self.job.run_id}.{len([*self.place.glob(f'{self.job.run_id}.*.status')])}"]
        (self.place / f"{jobs[0]}.order").touch()
        if (self.place / "dies").exists():  # after it was submitted, before that is written down
            (self.place / "dies").unlink()
            raise SystemExit(1)
        return f"cluster:{jobs[0]}"

    def _jobs(self) -> list[str]:
        """Return the jobs of this run that have not ended."""
        return [order.stem for order in self.place.glob(f"{self.job.run_id}.*.order")]

    @property
    def _name(self) -> str:
        return self.job.handle.removeprefix("cluster:")

    def look(self) -> Look:
        self._ask()
        try:
            told = json.loads((self.place / f"{self._name}.status").read_text())
        except OSError:
            return Look(Phase.WAITING, "PENDING", "waiting in the cluster: Resources")
        address = told.get("address")
        return Look(
            Phase(told["phase"]),
            told.get("state", ""),
            told.get("stage", ""),
            told.get("trouble", ""),
            (address[0], address[1]) if address else None,
            [Part(**one) for one in told.get("parts", [])],
            Cause(**told["cause"]) if told.get("cause") else None,
            stopped=told.get("stopped", False),
        )

    def stop(self, *, force: bool) -> bool:
        self._ask()
        for job in (jobs := self._jobs()):
            (self.place / f"{job}.{'kill' if force else 'stop'}").touch()
        return not jobs

    def log(self) -> bytes:
        try:
            with (self.place / f"{self._name}.log").open("rb") as stream:
                stream.seek(self._read)
                piece = stream.read(256 * 1024)
        except OSError:
            return b""
        self._read += len(piece)
        self.job.memory["read"] = self._read
        return piece


registry.SYSTEMS["cluster"] = ("cluster", "Cluster")
sys.modules["vllm_studio_tui.followers.cluster"] = sys.modules[__name__]

if __name__ == "__main__":
    sys.exit(__main__.main())
