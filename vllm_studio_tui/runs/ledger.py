"""Folding the ledgers of all runs into the database. Folding twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from vllm_studio_tui.keeper.files import LEDGER, ledger_lines
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.read import all_runs


class RunRows(Protocol):
    """Where runs and their readings are kept."""

    def record(self, spec: Mapping[str, Any], state: Mapping[str, Any]) -> None: ...

    def fold(self, run_id: str, lines: Iterable[Mapping[str, Any]]) -> int: ...

    def folded_seq(self, run_id: str) -> int: ...


def fold_all(places: Places, rows: RunRows) -> int:
    """Bring every run's state and readings into the database; how many lines were new."""
    count = 0
    for one in all_runs(places):
        if one.spec is None:
            continue
        lines = ledger_lines(one.folder / LEDGER)
        done = rows.folded_seq(one.run_id)
        rows.record(one.spec.to_json(), one.status.to_json())
        count += rows.fold(one.run_id, [line for line in lines if line["seq"] > done])
    return count
