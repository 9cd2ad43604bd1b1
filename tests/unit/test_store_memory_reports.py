"""Reports of memory are kept by run; what the table holds is read without belief."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from vllm_studio_tui.domain.memory_report import DeviceMemory, MemoryReport
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.memory_reports import KeptReport, MemoryReportRows

REPORT = MemoryReport((DeviceMemory("TP0", {"weights": 5, "kv": 7}),), kv_tokens=16, context=16, version="1.2")


def kept(run_id: str, at: float = 1.0, report: MemoryReport | None = REPORT) -> KeptReport:
    return KeptReport(run_id, at, "r", "vllm", "1.2", "/m", ("0",), {"max_model_len": 16}, report)


def test_reports_come_back_latest_first_and_the_silent_ones_are_known(tmp_path: Path) -> None:
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as db:
        rows = MemoryReportRows(db)
        for one in (kept("a"), kept("b", 3.0), kept("c", 2.0, None), kept("a", 1.5)):
            rows.put(one)
        assert rows.known() == {"a", "b", "c"}
        assert rows.of_backend("vllm") == [kept("b", 3.0), kept("a", 1.5)]
        assert rows.of_backend("sglang") == []
        assert (rows.of_run("a"), rows.of_run("c"), rows.of_run("x")) == (REPORT, None, None)


def test_rows_that_something_else_wrote_raise_nothing(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    with contextlib.closing(Database.open(path)) as db:
        MemoryReportRows(db).put(kept("a"))
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE memory_reports SET report = '[1', fields = '7', gpus = NULL, at = 'x', model = NULL")
        raw.commit()
    with contextlib.closing(Database.open(path)) as db:
        (one,) = MemoryReportRows(db).of_backend("vllm")
        assert (one.report, one.fields, one.gpus, one.at, one.model) == (None, {}, (), 0.0, "")


def test_a_database_of_before_has_the_table(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    with contextlib.closing(Database.open(path)):
        pass
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("DROP TABLE memory_reports")
        old.execute("DELETE FROM _sqlite_migrations WHERE name = '0011_memory_reports'")
        old.commit()
    with contextlib.closing(Database.open(path)) as db:
        MemoryReportRows(db).put(kept("a"))
        assert MemoryReportRows(db).of_run("a") == REPORT
