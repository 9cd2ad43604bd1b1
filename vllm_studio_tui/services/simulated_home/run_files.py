"""The directory of a simulated run, as its keeper would have written it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import EngineSettings, LaunchContext
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.files import LEDGER, LOG, SPEC, StateFile, place_of
from vllm_studio_tui.keeper.log_watch import LogWatch
from vllm_studio_tui.keeper.verdict import explain_exit
from vllm_studio_tui.kit.paths import Places, boot_id, write_atomic
from vllm_studio_tui.runs.make_spec import resolve
from vllm_studio_tui.runs.read import DISMISSED
from vllm_studio_tui.simulation import gpus, holders
from vllm_studio_tui.simulation.holders import Holder
from vllm_studio_tui.simulation.loading_log import Start, lines
from vllm_studio_tui.simulation.models import Layout, model_of, pace_of
from vllm_studio_tui.simulation.serving_log import served

#: Seconds between two readings of the past.
EVERY = 1800.0
#: The last seconds of a past run that its log holds: the whole of months would be hundreds of megabytes.
LOGGED = 300.0
_LICENCE = (
    "huggingface_hub.errors.GatedRepoError: 401 Client Error. Access to model {model} is restricted. You must have "
    "access to it and be authenticated to access it. Please log in."
)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """One run and what it did.

    Attributes:
        style: Whose words its engine speaks: the name of its backend.
        began: Seconds since the epoch.
        ended: When it was stopped, or crashed; None: it lives, or failed while it loaded.
    """

    places: Places
    spec: RunSpec
    recipe: Recipe
    style: str
    began: float
    ended: float | None = None
    fails: str = ""

    @property
    def folder(self) -> Path:
        return self.places.runs / self.spec.run_id

    @property
    def layout(self) -> Layout:
        small = 0.5 if (self.recipe.kv_cache_dtype or "").startswith("fp8") else 1.0
        ranks = self.recipe.tensor_parallel_size
        share = self.recipe.gpu_memory_utilization or 0.9
        return Layout(model_of(self.recipe.model_path), ranks, share, small, pace_of(self.began))

    @property
    def pid(self) -> int:
        """Return a process number that a run of the past may have had."""
        return 20_000 + zlib.crc32(self.spec.run_id.encode()) % 60_000

    @property
    def start(self) -> Start:
        context = self.recipe.max_model_len or self.layout.model.context
        path = self.recipe.model_path
        return Start(self.layout, path, self.spec.model, self.spec.port, self.pid, context, self.began)

    @property
    def holder(self) -> Holder:
        """Return how it held its GPUs."""
        return Holder(
            self.spec.model,
            self.recipe.model_path,
            tuple(int(one) for one in self.spec.gpus),
            self.began,
            sum(self.layout.loading_seconds().values()),
            run=self.spec.run_id,
            share=self.layout.share,
            cache_bytes=self.layout.cache_bytes,
            ended=self.over,
        )

    @property
    def ready(self) -> float | None:
        """Return when it was ready; None: never."""
        if self.fails == "licence" or self.start.failure is not None:
            return None
        return self.began + self.start.seconds()

    @property
    def over(self) -> float:
        """Return when it ended."""
        if self.ended is not None and self.ready is not None:
            return self.ended
        return self.began + (2.6 if self.fails == "licence" else self.start.seconds())

    def served_at(self, moment: float) -> bool:
        """Return whether it could be asked at a moment."""
        return self.ready is not None and self.ready <= moment and (self.ended is None or moment < self.ended)

    def make(self, *, held: bool = True) -> None:
        """Make the directory with its specification, and note which GPUs it held."""
        self.folder.mkdir(parents=True, mode=0o700)
        # Of a run that ended well nobody asks for the causes of failures: hundreds, which every look would read.
        spec = self.spec if self.fails or self.ready is None or not held else replace(self.spec, failures=())
        write_atomic(self.folder / SPEC, json.dumps(spec.to_json(), separators=(",", ":")).encode())
        if held and self.spec.gpus:
            holders.save(self.holder, self.places.state / "simulation")

    def write_past(self) -> None:
        """Write log, ledger and state of a run that is over."""
        (self.folder / LOG).write_text("".join(f"{line}\n" for line in self._log()))
        state = self.state()
        state.ended_at, state.pid, state.pid_start = self.over, None, None
        state.state, state.reason, state.title = State.EXITED, "stopped", "stopped"
        code: int | None = 0
        if self.ready is None or self.fails:
            code = None if self.fails == "crash" else 1
            state.exit_code, state.exit_signal = code, signal.SIGSEGV if code is None else None
            watch = LogWatch(self.folder / LOG, self.spec.stages, self.spec.failures)
            watch.begin_at(0)
            watch.follow()
            verdict = explain_exit(watch, code, state.exit_signal, was_ready=self.ready is not None)
            state.state, state.evidence = State.FAILED, verdict.evidence
            state.reason, state.title, state.advice = verdict.reason, verdict.title, verdict.advice or None
            state.fixes, state.groups = verdict.fixes, verdict.groups
            if self.fails:  # long ago, and seen
                (self.folder / DISMISSED).touch(mode=0o600)
        else:
            state.exit_code = 0
        ledger = [*self.ledger(self.over)]
        ledger.append((self.over, "exit", {"code": code, "signal": None if state.exit_signal is None else 11}))
        end = {"from": "ready" if self.ready else "loading", "to": str(state.state), "reason": state.reason}
        ledger.append((self.over, "move", {**end, "title": state.title, "advice": state.advice}))
        state.seq = self.write_ledger(ledger)
        StateFile(self.folder).write(state)

    def state(self) -> RunState:
        """Return the state that its keeper would have written while it lived."""
        return RunState(
            self.spec.run_id,
            State.READY if self.ready else State.LOADING,
            stage="serving" if self.ready else None,
            marks={**self._marks(), **({"serving": round(self.ready - self.began, 2)} if self.ready else {})},
            boot_id=boot_id(),
            started_at=self.began,
            ready_at=self.ready,
            place=place_of(self.folder),
        )

    def _marks(self) -> dict[str, float]:
        return {"config": 0.4} if self.fails == "licence" else self.start.marks()

    def ledger(self, until: float, **spawned: Any) -> Iterator[tuple[float, str, dict[str, Any]]]:
        """Yield moment, kind and values of each line up to a moment."""
        place = {"boot_id": boot_id(), "log": 0, "place": place_of(self.folder)}
        yield self.began, "spawn", {"pid": self.pid, "pid_start": 1, **place, **spawned}
        yield self.began + 0.5, "move", {"from": "starting", "to": "loading", "reason": None}
        ready = self.ready
        traffic = self.holder.served
        moments = [self.began + 1.0, *_steps(self.began + 60.0, until), until]
        moved = ready is None
        for moment in moments:
            if not moved and ready is not None and moment >= ready:
                yield ready, "move", {"from": "loading", "to": "ready", "reason": None}
                moved = True
            if ready is not None and moment > ready:
                sums = traffic.until(moment)
                names = ("prompt_tokens", "generation_tokens", "cached_tokens", "requests")
                values = (sums.prompt, sums.output, sums.cached, sums.requests)
                yield moment, "counters", {"values": {n: float(int(v)) for n, v in zip(names, values, strict=True)}}
            if self.spec.gpus:
                read = {gpus.uuid(int(one)): gpus.energy_mj(int(one), moment) for one in self.spec.gpus}
                yield moment, "energy", {"gpus": read, "boot_id": boot_id()}
        if ready is not None and until > ready:
            rate = self.layout.model.peak / self.layout.model.running
            yield until, "peak", {"tokens_per_second": round(rate * 1.16, 2)}

    def write_ledger(self, found: list[tuple[float, str, dict[str, Any]]]) -> int:
        """Write the ledger; return the number of its last line."""
        text = []
        for seq, (moment, kind, values) in enumerate(found, 1):
            line = {"seq": seq, "t": round(moment, 6), "attempt": 1, "kind": kind, **values}
            text.append(json.dumps(line, separators=(",", ":")) + "\n")
        (self.folder / LEDGER).write_text("".join(text))
        return len(text)

    def _log(self) -> Iterator[str]:
        if self.fails == "licence":
            loading = itertools.takewhile(lambda one: one[0] < 2.0, lines(self.style, self.start))
            yield from (line for _, line in loading)
            yield f"(APIServer pid={self.pid}) {_LICENCE.format(model=self.recipe.model_path)}"
            return
        yield from (line for _, line in lines(self.style, self.start))
        if self.ready is not None:
            since = max(self.ready, self.over - LOGGED)
            yield from (line for _, line in served(self.style, self.holder.served, self.pid, since, self.over))
        if self.fails == "crash":
            yield "Fatal Python error: Segmentation fault"


def spec_of(
    places: Places,
    settings: EngineSettings,
    recipe: Recipe,
    began: float,
    port: int,
    *,
    number: int | None = None,
    version: str = "",
) -> RunSpec:
    """Return the specification with which this recipe would have been launched then."""
    backend = registry.backend(recipe.backend)
    tail = zlib.crc32(f"{recipe.id}{began}".encode()) % 36**4
    run_id = f"{recipe.id}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(began))}-{_base36(tail)}"
    context = LaunchContext(settings, recipe.host, port)
    spec = resolve(recipe, backend, context, run_id, environ=os.environ)
    spec = replace(spec, created_at=began, revision_number=number)
    return replace(spec, engine_version=version) if version else spec


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(digits[number // 36**place % 36] for place in range(4))


def _steps(first: float, until: float) -> Iterator[float]:
    moment = first
    while moment < until:
        yield moment
        moment += EVERY


def older(recipe: Recipe, without: Mapping[str, Any]) -> Recipe:
    """Return a recipe as it was."""
    return recipe.model_copy(update=dict(without))
