"""The table of what engines said of their memory when they started: one report for each run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.memory_report import MemoryReport
from vllm_studio_tui.kit.outside_values import as_number
from vllm_studio_tui.store.conversion import from_json, optional_text, storable, to_json
from vllm_studio_tui.store.database import Database


@dataclass(frozen=True, slots=True)
class KeptReport:
    """A report as it is kept.

    Attributes:
        at: When the run became ready.
        fields: Those of the run's recipe that matter for memory.
        report: None: the engine said nothing.
    """

    run_id: str
    at: float
    recipe_id: str
    backend: str
    engine_version: str
    model: str
    gpus: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    report: MemoryReport | None = None


class MemoryReportRows:
    """The table `memory_reports`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def known(self) -> set[str]:
        """Return the runs whose logs were read."""
        return {str(row[0]) for row in self._db.rows("SELECT run_id FROM memory_reports")}

    def put(self, one: KeptReport) -> None:
        """Keep a report, in the place of an earlier one of the run."""
        row = {
            "run_id": storable(one.run_id),
            "at": as_number(one.at),
            "recipe_id": optional_text(one.recipe_id),
            "backend": optional_text(one.backend),
            "engine_version": optional_text(one.engine_version),
            "model": optional_text(one.model),
            "gpus": to_json(list(one.gpus)),
            "fields": to_json(dict(one.fields)),
            "report": "{}" if one.report is None else to_json(one.report.to_json()),
        }
        with self._db.write() as tables:
            tables.table("memory_reports").upsert(row, pk="run_id")

    def of_run(self, run_id: str) -> MemoryReport | None:
        """Return what the engine of a run said; None where it said nothing, or the run is not known."""
        row = self._db.row("SELECT * FROM memory_reports WHERE run_id = ?", (storable(run_id),))
        return None if row is None else _kept(row).report

    def of_backend(self, backend: str, limit: int = 200) -> list[KeptReport]:
        """Return the latest reports of an engine, the latest first."""
        found = self._db.rows(
            "SELECT * FROM memory_reports WHERE backend = ? AND report != '{}' ORDER BY at DESC LIMIT ?",
            (storable(backend), limit),
        )
        return [_kept(row) for row in found]


def _kept(row: Any) -> KeptReport:
    data = from_json(row["report"], dict)
    return KeptReport(
        str(row["run_id"]),
        as_number(row["at"]) or 0.0,
        str(row["recipe_id"] or ""),
        str(row["backend"] or ""),
        str(row["engine_version"] or ""),
        str(row["model"] or ""),
        tuple(str(one) for one in from_json(row["gpus"], list)),
        from_json(row["fields"], dict),
        MemoryReport.from_json(data) if data else None,
    )
