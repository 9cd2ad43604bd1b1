"""Folding the ledgers of all runs into the database. Folding twice changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from vllm_studio_tui.keeper.files import LEDGER, ledger_after, read_ledger
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.read import all_runs

#: Lines that are kept in one transaction.
BATCH = 5000


class RunRows(Protocol):
    """Where runs and their readings are kept."""

    def record(self, spec: Mapping[str, Any], state: Mapping[str, Any]) -> None: ...

    def fold(self, run_id: str, lines: Iterable[Mapping[str, Any]]) -> int: ...

    def last_seq(self, run_id: str) -> int: ...


def fold_all(places: Places, rows: RunRows) -> int:
    """Bring every run's state and readings into the database; how many lines were new.

    A ledger is read from where the last fold ended: a busy one grows by 30 MB a month.
    """
    count = 0
    for one in all_runs(places):
        if one.spec is None:
            continue
        rows.record(one.spec.to_json(), one.status.to_json())
        path, last = one.folder / LEDGER, rows.last_seq(one.run_id)
        lines = (line for _, line in read_ledger(path, ledger_after(path, last) if last else 0))
        while batch := list(itertools.islice(lines, BATCH)):
            count += rows.fold(one.run_id, batch)
    return count
