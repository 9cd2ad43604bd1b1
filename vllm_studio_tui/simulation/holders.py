"""Who holds which simulated GPU: a file for each engine, written by it, read by the simulated driver.

An engine that was killed cannot say so: the first that notices writes down when it ended, a moment later than now, so
that nobody who reads meanwhile counts otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.simulation.kinds import CONTEXT, GIB

if TYPE_CHECKING:  # where there is no engine its models and their traffic are not imported
    from vllm_studio_tui.simulation.models import Layout
    from vllm_studio_tui.simulation.traffic import Traffic

#: Seconds for which a look at the files holds.
FRESH = 0.5
#: An end that is noticed lies so many seconds ahead.
AHEAD = 1.0


@dataclass(frozen=True)
class Holder:
    """An engine on simulated GPUs, from its first to its last instant.

    Attributes:
        start: The start of its process in clock ticks, by which a later one of its number is told apart.
        began: When it began to load; `seconds` is how long that takes.
        ended: When it ended; None: it lives.
        asked: Seconds in which only a person's own requests kept it busy, up to `asking`; since then one runs.
    """

    name: str
    model: str
    gpus: tuple[int, ...]
    began: float
    seconds: float
    pid: int = 0
    start: int | None = None
    run: str = ""
    share: float = 0.9
    cache_bytes: float = 1.0
    traffic: float = 1.0
    ended: float | None = None
    asked: float = 0.0
    asking: float | None = None
    version: int = field(default=1, compare=False)

    @cached_property
    def layout(self) -> Layout:
        from vllm_studio_tui.simulation.models import Layout, model_of, pace_of

        return Layout(model_of(self.model), max(1, len(self.gpus)), self.share, self.cache_bytes, pace_of(self.began))

    @property
    def ready(self) -> float:
        return self.began + self.seconds

    @cached_property
    def served(self) -> Traffic:
        from vllm_studio_tui.simulation.traffic import Traffic

        return Traffic(self.layout, self.name, self.ready, share=self.traffic)

    def here(self, moment: float) -> bool:
        """Return whether it held its GPUs at a moment."""
        return self.began <= moment and (self.ended is None or moment < self.ended)

    def memory(self, moment: float) -> int:
        """Return the bytes that it holds on each of its GPUs."""
        if not self.here(moment):
            return 0
        done = (moment - self.began) / self.seconds if self.seconds > 0 else 1.0
        return int(self.layout.held(min(1.0, done)) * GIB)

    def load(self, moment: float) -> float:
        """Return how busy it keeps its GPUs, 0-1."""
        if not self.here(moment):
            return 0.0
        if moment < self.ready:
            return 0.03
        return max(self.served.at(moment).load, 0.35 if self.asking is not None and moment >= self.asking else 0.0)

    def power(self, moment: float, rank: int) -> float:
        """Return the watts that it adds to an idle GPU."""
        if not self.here(moment):
            return 0.0
        return CONTEXT + self.served.power(moment, rank) + (_ASKED if self._asks(moment) else 0.0)

    def energy(self, moment: float, rank: int) -> float:
        """Return the joules of `power` up to a moment."""
        if moment <= self.began:
            return 0.0
        if self.ended is not None and moment >= self.ended:
            if rank not in self._spent:
                self._spent[rank] = self._energy(self.ended, rank)
            return self._spent[rank]
        return self._energy(moment, rank)

    @cached_property
    def _spent(self) -> dict[int, float]:
        """Return what an ended one has used, by rank, as far as it was asked for."""
        return {}

    def _energy(self, until: float, rank: int) -> float:
        lasted = max(0.0, until - self.began)
        asked = self.asked + (until - self.asking if self.asking is not None and until > self.asking else 0.0)
        return CONTEXT * lasted + self.served.energy(until, rank) + _ASKED * asked

    def _asks(self, moment: float) -> bool:
        return self.asking is not None and moment >= self.asking


#: Watts that a person's own requests take on top.
_ASKED = 60.0


def folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the files lie: with the state of the home."""
    return Places.of(environ).state / "simulation"


def save(holder: Holder, where: Path | None = None) -> Path:
    """Write a holder's file and return its path."""
    where = where or folder()
    private_dir(where)
    path = where / f"{holder.run or 'engine'}-{holder.pid}-{int(holder.began)}.json"
    write_atomic(path, json.dumps(asdict(holder)).encode())
    return path


class Holders:
    """All holders, as their files say it now."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, Holder]] = {}
        self._on: dict[int, list[tuple[Holder, int]]] = {}
        self._looked = -1.0

    def all(self) -> list[Holder]:
        """Return every holder there ever was; those that have died since are written down as ended."""
        now = time.monotonic()
        if not 0 <= now - self._looked < FRESH:
            self._looked = now
            self._look()
        return [one for _, one in self._known.values()]

    def forget(self) -> None:
        """Look again the next time."""
        self._looked = -1.0

    def on(self, gpu: int) -> list[tuple[Holder, int]]:
        """Return the holders of a GPU, each with which of its own GPUs that is."""
        self.all()
        return self._on.get(gpu, [])

    def _look(self) -> None:
        found: dict[Path, tuple[int, Holder]] = {}
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder()):
                path = Path(entry.path)
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                    changed = entry.stat().st_mtime_ns
                    before = self._known.get(path)
                    holder = before[1] if before and before[0] == changed else _read(path)
                    if holder.ended is None and not process.alive(holder.pid, holder.start):
                        holder = replace(holder, ended=time.time() + AHEAD)
                        write_atomic(path, json.dumps(asdict(holder)).encode())
                        changed = path.stat().st_mtime_ns
                    found[path] = (changed, holder)
        self._known = found
        self._on = {}
        for _, holder in found.values():
            for rank, gpu in enumerate(holder.gpus):
                self._on.setdefault(gpu, []).append((holder, rank))


def _read(path: Path) -> Holder:
    data: dict[str, Any] = json.loads(path.read_bytes())
    return Holder(**{**data, "gpus": tuple(int(one) for one in data["gpus"])})
