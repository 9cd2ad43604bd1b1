"""Samples on the line: what has not changed since the last one is not sent again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.sample import EngineHere, Tick
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.remote.any_value import BadShape
from vllm_studio_tui.remote.contract import shapes
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.snapshot import Snapshot


class SampleWriter:
    """Makes documents of the samples of one stream."""

    def __init__(self) -> None:
        self._sent: dict[str, RunView] = {}

    def document(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return what has changed since the last sample."""
        view, spec = shapes().of(RunView), shapes().of(RunSpec)
        runs: list[Any] = []
        specs: dict[str, Any] = {}
        for run in snapshot.every:
            before = self._sent.get(run.run_id)
            if before is run or before == run:
                continue
            runs.append(view.encode(replace(run, spec=None)))
            if run.spec is not None and (before is None or before.spec != run.spec):
                specs[run.run_id] = spec.encode(run.spec)
        self._sent = {run.run_id: run for run in snapshot.every}
        return {
            "tick": shapes().of(Tick).encode(snapshot.tick),
            "ages": dict(snapshot.ages),
            "alerts": shapes().of(tuple[Alert, ...]).encode(snapshot.alerts),
            "every": [run.run_id for run in snapshot.every],
            "shown": [run.run_id for run in snapshot.runs],
            "runs": runs,
            "specs": specs,
            "foreign": shapes().of(tuple[EngineHere, ...]).encode(snapshot.foreign),
        }


class SampleReader:
    """Makes samples of the documents of one stream.

    Args:
        here: Puts a run's directory where this machine would keep it.
    """

    def __init__(self, here: Callable[[RunView], RunView] = lambda run: run) -> None:
        self._here = here
        self._runs: dict[str, RunView] = {}
        self._specs: dict[str, RunSpec] = {}

    def snapshot(self, data: Any) -> Snapshot:
        """Return the sample of a document.

        Raises:
            BadShape: It is none, or speaks of runs that were never told.
        """
        try:
            spec_shape, view = shapes().of(RunSpec), shapes().of(RunView)
            for run_id, spec in data["specs"].items():
                self._specs[run_id] = spec_shape.decode(spec)
            for one in data["runs"]:
                run = view.decode(one)
                self._runs[run.run_id] = self._here(replace(run, spec=self._specs.get(run.run_id)))
            self._runs = {run_id: self._runs[run_id] for run_id in data["every"]}
            self._specs = {run_id: spec for run_id, spec in self._specs.items() if run_id in self._runs}
            shown = tuple(self._runs[run_id] for run_id in data["shown"])
            ages = shapes().of(dict[str, float]).decode(data["ages"])
            tick = shapes().of(Tick).decode(data["tick"])
            foreign = shapes().of(tuple[EngineHere, ...]).decode(data.get("foreign", []))
            alerts = shapes().of(tuple[Alert, ...]).decode(data.get("alerts", []))
        except (KeyError, TypeError, AttributeError):
            raise BadShape("no sample") from None
        return Snapshot(tick, shown, tuple(self._runs.values()), ages, foreign=foreign, alerts=alerts)
