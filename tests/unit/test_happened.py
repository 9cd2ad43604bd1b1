"""What stands on the time axis: moves of runs from their ledgers, answers of chats, pins; two ranges compared."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.series import HostSeries
from vllm_studio_tui.domain.timeline import SeriesChange, TimelineEvent
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.requests import record_request
from vllm_studio_tui.services.watching.happened import Happened
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.timeline import Timeline
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.runs import RunRows

LINES: tuple[dict[str, Any], ...] = (
    {"seq": 1, "t": 100.0, "attempt": 1, "kind": "spawn"},
    {"seq": 2, "t": 101.0, "attempt": 1, "kind": "move", "from": "starting", "to": "loading"},
    {"seq": 3, "t": 130.0, "attempt": 1, "kind": "move", "from": "loading", "to": "ready"},
    {"seq": 4, "t": 200.0, "attempt": 1, "kind": "move", "from": "ready", "to": "unhealthy", "title": "it is stuck"},
    {"seq": 5, "t": 210.0, "attempt": 1, "kind": "move", "from": "unhealthy", "to": "ready"},
    {"seq": 6, "t": 300.0, "attempt": 1, "kind": "move", "from": "ready", "to": "backoff", "title": "out of memory"},
    {"seq": 7, "t": 305.0, "attempt": 2, "kind": "spawn"},
    {"seq": 8, "t": 350.0, "attempt": 2, "kind": "move", "from": "loading", "to": "failed", "title": "out of memory"},
    {"seq": 9, "t": 360.0, "attempt": 2, "kind": "move", "to": "no such state"},
    {"seq": 10, "t": 370.0, "attempt": 2, "kind": "move"},
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(Database.open(tmp_path / "studio.db")) as made:
        yield made


def happened(db: Database, *more: TimelineEvent) -> Happened:
    return Happened(lambda: db, lambda: None, lambda: (), [lambda since, until: more] if more else ())


def test_the_ledger_of_a_run_is_told_with_the_words_of_its_keeper(db: Database) -> None:
    rows = RunRows(db)
    rows.record({"run_id": "r1", "recipe_id": "qwen", "name": "qwen3"}, {"state": "failed"})
    rows.fold("r1", LINES)
    found = happened(db).events(0.0, 1000.0)
    assert [(one.at, one.kind, one.state, one.title) for one in found] == [
        (100.0, "started", "starting", "qwen3 started"),
        (130.0, "ready", "ready", "qwen3 ready"),
        (200.0, "stalled", "unhealthy", "qwen3 does not answer: it is stuck"),
        (210.0, "ready", "ready", "qwen3 answers again"),
        (300.0, "restarted", "backoff", "qwen3 ended, to be started again: out of memory"),
        (305.0, "restarted", "starting", "qwen3 started again, attempt 2"),
        (350.0, "failed", "failed", "qwen3 failed: out of memory"),
    ]
    assert {one.subject for one in found} == {"r1"}
    assert [one.at for one in happened(db).events(200.0, 300.0)] == [200.0, 210.0]
    assert happened(db).events(300.0, 200.0) == []


def test_answers_of_chats_and_what_others_know_are_among_it_in_order(db: Database) -> None:
    for at, source in ((50.0, "chat"), (60.0, "proxy")):
        record_request(
            db, CompletedRequest(at, source, "stop", completion_tokens=412, total_seconds=8.1, session_id="s1")
        )
    alert = TimelineEvent(40.0, "alert", "KV over 95%", "r1")
    outside = TimelineEvent(4000.0, "alert", "later", "r1")
    found = happened(db, alert, outside).events(0.0, 100.0)
    assert [(one.at, one.kind) for one in found] == [(40.0, "alert"), (50.0, "chat")]
    assert found[1].title == "a chat, 412 tokens, 8.10 s"


def test_a_pin_stays_until_it_is_taken_away(db: Database) -> None:
    first = happened(db)
    pin = first.pin(77.0, "  the KV\ncache was\x00 full ")
    again = happened(db)
    assert again.pins() == [pin]
    assert "\n" not in pin.note
    assert [(one.kind, one.title) for one in again.events(0.0, 100.0)] == [("pin", pin.note)]
    again.unpin(pin.id)
    assert again.pins() == []
    with pytest.raises(NotFound):
        again.unpin(pin.id)


@pytest.mark.parametrize("at", [0.0, -5.0, 1e300, float("nan"), float("inf")])
def test_what_is_no_moment_is_not_pinned(db: Database, at: float) -> None:
    with pytest.raises(UsageError):
        happened(db).pin(at, "x")


def test_rows_that_something_else_wrote_raise_nothing(db: Database) -> None:
    RunRows(db).fold("r1", LINES)
    happened(db).pin(77.0)
    with contextlib.closing(sqlite3.connect(db.path)) as raw:
        raw.execute("UPDATE run_readings SET data = '[1', attempt = 'x' WHERE kind = 'move'")
        raw.execute("UPDATE pins SET at = 'never'")
        raw.commit()
    assert {one.kind for one in happened(db).events(0.0, 1000.0)} == {"started", "restarted"}
    assert happened(db).pins() == []


def test_a_database_of_before_gets_pins(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    with contextlib.closing(Database.open(path)):
        pass
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("DROP TABLE pins")
        old.execute("DROP INDEX run_moves")
        old.execute("CREATE TABLE samples (at)")
        old.execute("DELETE FROM _sqlite_migrations WHERE name = '0012_timeline'")
        old.commit()
    with contextlib.closing(Database.open(path)) as db:
        assert happened(db).pin(5.0, "kept").note == "kept"


def test_two_ranges_are_compared_by_mean_p95_and_largest() -> None:
    history = History()
    for at in range(1000, 1200):
        history.record(Tick(float(at), GpuReport(float(at)), Host(cpu=10.0 if at < 1100 else 20.0 + at % 2)))
    line = Timeline(lambda: history, clock=lambda: 1200.0)
    (cpu,) = line.compare([HostSeries.CPU, "run/none/out", HostSeries.CPU], (999.0, 1099.0), (1099.0, 1199.0))
    assert (cpu.before.mean, cpu.before.p95, cpu.before.max) == (10.0, 10.0, 10.0)
    assert (cpu.after.mean, cpu.after.p95, cpu.after.max) == (20.5, 21.0, 21.0)
    assert cpu.change == pytest.approx(1.05)
    assert cpu.after.known == 1.0


def test_a_change_from_nothing_is_no_share() -> None:
    line = Timeline(lambda: None)
    assert line.compare(["a"], (0.0, 1.0), (1.0, 2.0)) == []
    nothing = line.figures(["a"], 0.0, 1.0)["a"]
    assert SeriesChange("a", nothing, nothing).change is None
