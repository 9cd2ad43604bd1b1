"""A recording: a session of facts (samples, runs, events) in a file, for reports and demos.

Compressed lines of JSON. The first says what it is, then one for each sample, and the events as they become known.
Each `WHOLE` samples everything is said anew, so that a reader can begin there. Secrets are masked; no text of chats, no
lines of logs and no names of people are in it.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_studio_tui import __version__
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.domain.spec import ReadyProbe, RunSpec
from vllm_studio_tui.domain.timeline import TimelineEvent
from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.remote.contract import shapes
from vllm_studio_tui.remote.samples import SampleWriter
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.snapshot import Snapshot

FORMAT = "vllm-studio-recording"
VERSION = 1
#: Samples from one that says everything to the next.
WHOLE = 60
#: Samples after which all that was written so far can be read, also when the recorder is killed.
FLUSH = 5
#: Fields of a recipe that say what was launched, and nothing that is somebody's own.
_RECIPE = frozenset(
    {"id", "name", "engine", "backend", "model", "max_model_len", "max_num_seqs", "kv_cache_dtype", "quantization",
     "dtype", "gpu_memory_utilization", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"}
)  # fmt: skip


class Recorder:
    """Writes samples to a file.

    Raises:
        UsageError: The file is there, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise UsageError(f"{path} is there already", advice="Name another file, or remove that one.") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be written", cause=str(error)) from None
        self._path = path
        self._file = os.fdopen(handle, "wb")
        self._pack = zlib.compressobj(6, zlib.DEFLATED, 31)  # gzip
        self._writer = SampleWriter()
        self._names = _People()
        self._count = 0
        self._told: set[TimelineEvent] = set()
        self._line({"format": FORMAT, "version": VERSION, "made": iso_time(time.time()), "studio": __version__})

    @property
    def count(self) -> int:
        """Return how many samples were written."""
        return self._count

    def sample(self, snapshot: Snapshot) -> None:
        """Write a sample.

        Raises:
            StudioError: The disk is full.
        """
        whole = self._count % WHOLE == 0
        if whole:
            self._writer = SampleWriter()
        document = self._writer.document(without_own(snapshot, self._names))
        # Time and kind stand first, so that a reader need not understand a line to find its way.
        self._line({"at": round(snapshot.tick.at, 3), "whole": whole, "sample": document})
        self._count += 1
        if self._count % FLUSH == 0:
            self._put(self._pack.flush(zlib.Z_SYNC_FLUSH))

    def events(self, found: Iterable[TimelineEvent]) -> None:
        """Write the events that were not written yet."""
        new = [one for one in found if one not in self._told]
        self._told.update(new)
        if new:
            shape = shapes().of(tuple[TimelineEvent, ...])
            self._line({"events": shape.encode(tuple(_plain(one) for one in new))})

    def close(self) -> None:
        """End the file. What was written can be read even where this fails."""
        try:
            self._put(self._pack.flush(zlib.Z_FINISH))
        finally:
            self._file.close()

    def _line(self, document: dict[str, Any]) -> None:
        text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
        self._put(self._pack.compress(text.encode() + b"\n"))

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise StudioError(
                "the recording cannot go on", cause=str(error), advice=f"What {self._path} has so far can be replayed."
            ) from None


class _People:
    """Names for people, so that they can be told apart and are not named."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, name: str | None) -> str | None:
        if name in (None, "root"):
            return name
        return self._known.setdefault(str(name), f"user{len(self._known) + 1}")


def without_own(snapshot: Snapshot, people: _People | None = None) -> Snapshot:
    """Return a sample without secrets, lines of logs, names of people and directories."""
    names = people or _People()
    made = {run.run_id: _run(run) for run in snapshot.every}
    engines = {
        key: one if one.error is None else replace(one, error=mask_text(one.error))
        for key, one in snapshot.tick.engines.items()
    }
    tick = replace(snapshot.tick, gpus=_gpus(snapshot.tick.gpus, names), engines=engines)
    foreign = tuple(
        replace(one, user=names.of(one.user) or "", model=_model(one.model), base_url=None) for one in snapshot.foreign
    )
    return replace(
        snapshot,
        tick=tick,
        every=tuple(made.values()),
        runs=tuple(made.get(run.run_id) or _run(run) for run in snapshot.runs),
        foreign=foreign,
        alerts=tuple(replace(one, words=mask_text(one.words)) for one in snapshot.alerts),
    )


def _gpus(report: GpuReport, people: _People) -> GpuReport:
    def one(gpu: Gpu) -> Gpu:
        processes = tuple(
            replace(process, user=people.of(process.user), command=_command(process.command))
            for process in gpu.processes
        )
        return replace(gpu, processes=processes, xids=tuple(replace(xid, words="") for xid in gpu.xids))

    return replace(report, gpus=tuple(one(gpu) for gpu in report.gpus))


def _command(command: str | None) -> str | None:
    """Return the program of a command: its arguments are somebody's own."""
    return None if command is None else mask_text(command.split(" ", 1)[0].rpartition("/")[2])[:60]


def _run(run: RunView) -> RunView:
    status = replace(
        run.status,
        title=_masked(run.status.title),
        advice=None,
        evidence=[],
        fix={},
        fixes=None,
        groups=[],
        heard=_masked(run.status.heard),
        stranger={},
        place={},
        members={},
        faults=[],
    )
    return replace(run, folder=Path("/replay") / run.run_id, spec=_spec(run.spec), status=status)


def _spec(spec: RunSpec | None) -> RunSpec | None:
    if spec is None:
        return None
    return replace(
        spec,
        model=_model(spec.model) or "",
        argv=(),
        recipe={
            name: value
            for name, value in spec.recipe.items()
            if name in _RECIPE and isinstance(value, str | int | float) and not str(value).startswith("/")
        },
        host="",
        base_url="",
        env={},
        env_refs={},
        env_unset=(),
        api_key_ref=None,
        cwd=None,
        ready=ReadyProbe(),
        stages=(),
        failures=(),
        counters=None,
        stop_argv=(),
        energy_argv=(),
        holders_argv=(),
    )


def _model(model: str | None) -> str | None:
    """Return what a model is called; of a path its last part."""
    return None if model is None else mask_text(model.rpartition("/")[2] if model.startswith("/") else model)


def _masked(text: str | None) -> str | None:
    return None if text is None else mask_text(text)


def _plain(event: TimelineEvent) -> TimelineEvent:
    """Return an event without what a person wrote."""
    title = "an answer" if event.kind == "chat" else mask_text(event.title)
    return replace(event, title=title, subject="" if event.kind == "chat" else event.subject)
