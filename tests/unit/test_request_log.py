"""The log of requests: each that ends is one row, whatever dies, fills up or is in use meanwhile."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.disks import fill, small_disk
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.serving import request_log
from vllm_studio_tui.services.serving.journal import forgotten_of, journal_folder, line_of, read_journal, request_of
from vllm_studio_tui.services.serving.request_log import RequestLog, settle_journals
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import PROGRAM_ENDED
from vllm_studio_tui.store.peaks import read_peaks
from vllm_studio_tui.store.requests import RequestRows

AT = 1_800_000_000.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "BATCH_SECONDS", 0.05)
    monkeypatch.setattr(request_log, "RETRY_SECONDS", (0.05, 0.2))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


@pytest.fixture
def db(places: Places) -> Iterator[Database]:
    opened = Database.open(places.database)
    yield opened
    opened.close()


@pytest.fixture
def log(places: Places, db: Database) -> Iterator[RequestLog]:
    made = RequestLog(places, db)
    yield made
    made.close()


def asked(name: str, finish: str = "stop", **values: object) -> CompletedRequest:
    return replace(CompletedRequest(AT, "proxy", finish, id=name, model="m"), **values)  # type: ignore[arg-type]


def rows(db: Database) -> dict[str, str]:
    return {row["id"]: row["finish"] for row in db.rows("SELECT id, finish FROM requests")}


def journals(places: Places) -> list[Path]:
    return sorted(journal_folder(places).glob("*"))


def eventually(true: Callable[[], object], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def kill(log: RequestLog) -> None:
    """Take a log away as the end of its process does: nothing is written any more, and its lock is free."""
    with log._wake:
        for one in (*log._old, log._file):
            if one is not None:
                os.close(one.fd)
        log._file, log._old = None, []
        log._rows.clear()
        log._open.clear()
        log._ending = True
        log._wake.notify()
    log._thread.join()


# --- as it should be ------------------------------------------------------------------------------------


def test_a_request_is_a_row_a_moment_later_with_all_that_is_known(log: RequestLog, db: Database) -> None:
    whole = asked(
        "a", run_id="r", attempt=2, recipe_id="rec", prompt_tokens=7, completion_tokens=5, cached_tokens=3, ttft=0.1,
        total_seconds=1.5, tokens_per_second=50.0, key_id="k", key_name="web", endpoint="/v1/messages", status=200,
        streamed=True, queued_seconds=0.0, load_seconds=2.0, overhead_seconds=0.001, upstream_id="u", client="c",
        bytes_in=10, bytes_out=20, requested_model="M",
    )  # fmt: skip
    log.begin(replace(whole, status=None))
    log.put(whole)
    log.put(replace(whole, finish="failed"))
    eventually(lambda: rows(db))
    assert RequestRows(db).recent() == [whole]
    eventually(lambda: log.health()["written"] == 2)
    assert RequestRows(db).recent() == [whole]
    assert log.health() == {
        "degraded": False, "waiting": 0, "journaled": 0, "written": 2, "lost": 0, "not_journaled": 0,
        "error": None, "since": None,
    }  # fmt: skip


def test_two_hundred_rows_wait_for_no_more(log: RequestLog, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "BATCH_SECONDS", 60.0)
    for number in range(request_log.BATCH):
        log.put(asked(f"r{number}"))
    eventually(lambda: len(rows(db)) == request_log.BATCH)


def test_an_end_in_order_leaves_rows_and_no_journal(places: Places, db: Database) -> None:
    log = RequestLog(places, db)
    log.begin(asked("a"))
    log.put(asked("a"))
    log.close()
    assert rows(db) == {"a": "stop"}
    assert journals(places) == []
    log.put(asked("late"))
    log.begin(asked("later"))
    assert log.health()["lost"] == 1


def test_what_is_under_way_at_the_end_is_interrupted(places: Places, db: Database) -> None:
    log = RequestLog(places, db)
    log.begin(asked("a"))
    log.close()
    assert rows(db) == {"a": "interrupted"}
    assert journals(places) == []


def test_the_fastest_answer_of_a_model_is_remembered_without_its_wait(log: RequestLog, db: Database) -> None:
    log.put(asked("a", completion_tokens=500, tokens_per_second=50.0, ttft=3.5, load_seconds=3.0, queued_seconds=0.25))
    log.put(asked("b", completion_tokens=500, tokens_per_second=40.0, ttft=0.5))
    log.put(asked("short", completion_tokens=400, tokens_per_second=90.0, ttft=0.5))  # not held for ten seconds
    log.put(asked("c", completion_tokens=3, tokens_per_second=900.0, ttft=0.001))
    log.put(asked("d", "failed", completion_tokens=100, tokens_per_second=900.0, ttft=0.001))
    eventually(lambda: read_peaks(db).get("m"))
    assert read_peaks(db)["m"] == {"prefill_tps": None, "generation_tps": 50.0, "ttft": 0.25}


# --- kills ----------------------------------------------------------------------------------------------


def test_what_ended_is_kept_and_what_was_under_way_is_interrupted(places: Places, db: Database) -> None:
    log = RequestLog(places, db)
    log.begin(asked("ended"))
    log.begin(asked("told", run_id="r"))
    log.begin(asked("told", run_id="r", completion_tokens=12, prompt_tokens=4))
    log.begin(asked("silent"))
    log.put(asked("ended", completion_tokens=9))
    kill(log)
    assert settle_journals(places, db) == 3
    found = {one.id: one for one in RequestRows(db).recent()}
    assert found["ended"] == asked("ended", completion_tokens=9)
    assert (found["told"].finish, found["told"].error) == ("interrupted", PROGRAM_ENDED)
    assert (found["told"].completion_tokens, found["told"].estimated, found["told"].prompt_tokens) == (12, True, 4)
    assert (found["silent"].completion_tokens, found["silent"].estimated) == (None, False)
    assert journals(places) == []
    assert settle_journals(places, db) == 0


def test_a_live_journal_is_left_alone_and_one_that_is_settled_twice_counts_once(places: Places, db: Database) -> None:
    dead, live = RequestLog(places, db), RequestLog(places, db)
    try:
        dead.put(asked("of the dead"))
        live.begin(asked("of the living"))
        kill(dead)
        [copy] = [path for path in journals(places) if b"of the dead" in path.read_bytes()]
        text = copy.read_bytes()
        assert live.settle() == 1
        copy.write_bytes(text)
        assert live.settle() == 1
        assert rows(db) == {"of the dead": "stop"}
        live.put(asked("of the living"))
        eventually(lambda: rows(db) == {"of the dead": "stop", "of the living": "stop"})
    finally:
        live.close()


def test_a_journal_is_settled_when_a_home_is_opened(places: Places, db: Database) -> None:
    from vllm_studio_tui.studio import Studio

    log = RequestLog(places, db)
    log.put(asked("a"))
    kill(log)
    with Studio.open_sync(places) as studio:
        assert rows(studio.db) == {"a": "stop"}


def test_a_file_that_was_never_locked_is_removed_when_it_is_old(places: Places, db: Database) -> None:
    folder = journal_folder(places)
    folder.mkdir(parents=True)
    old, young = folder / "1-a.jsonl.new", folder / "2-b.jsonl.new"
    for path in (old, young):
        path.touch()
    os.utime(old, (1, 1))
    settle_journals(places, db)
    assert journals(places) == [young]


# --- refusals that are left out -------------------------------------------------------------------------


@pytest.mark.parametrize("dies", [True, False])
@pytest.mark.parametrize("anew", [True, False])
def test_what_was_forgotten_is_under_way_no_more_whatever_ends_the_process(
    places: Places, db: Database, monkeypatch: pytest.MonkeyPatch, dies: bool, anew: bool
) -> None:
    other = sqlite3.connect(places.database, isolation_level=None)
    log = RequestLog(places, db)
    for name in ("first", "left out", "last"):
        log.begin(asked(name))
    if anew:  # the older file stays, since a row of it is not written
        other.execute("BEGIN IMMEDIATE")
        log.put(asked("waits"))
        monkeypatch.setattr(request_log, "JOURNAL_BYTES", 1)
        log._begin_anew()
        assert len(journals(places)) == 2
    log.put(asked("first", "refused"))
    log.forget("left out")
    log.forget("last")
    log.forget("never begun")
    assert log._open == {}
    log.put(asked("last", "refused", error="stands for 2"))
    if dies:
        kill(log)
    other.close()
    if dies:
        settle_journals(places, db)
    else:
        log.close()
    assert rows(db) == {"first": "refused", "last": "refused", **({"waits": "stop"} if anew else {})}
    assert journals(places) == []


def test_a_crowd_that_was_forgotten_leaves_nothing_at_a_clean_end(places: Places, db: Database) -> None:
    log = RequestLog(places, db)
    for number in range(100):
        log.begin(asked(f"r{number}"))
        log.forget(f"r{number}")
    assert log._open == {}
    log.close()
    assert rows(db) == {}
    assert journals(places) == []


# --- bad input ------------------------------------------------------------------------------------------


@given(
    st.binary(max_size=200)
    | st.from_regex(rb'\{"id":"a",.{0,60}\}', fullmatch=True)
    | st.from_regex(rb'\{"forget":.{0,20}\}\n', fullmatch=True)
)
def test_any_line_is_read(line: bytes) -> None:
    request_of(line)
    forgotten_of(line)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            one.name: st.none()
            | st.text(max_size=5)
            | st.integers()
            | st.floats()
            | st.lists(st.integers(), max_size=2)
            for one in fields(CompletedRequest)
        },
    ),
    st.text(max_size=10),
)
def test_whatever_stands_in_a_line_can_be_kept(data: dict[str, object], name: str) -> None:
    import json

    found = request_of(json.dumps({"id": "a", "source": "proxy", "finish": "stop", "at": 1.0, **data}).encode())
    if found is not None:
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(Database.open(Path(folder) / "db")) as db:
            RequestRows(db).record_all([found], None)
            assert len(db.rows("SELECT 1 FROM requests")) == 1


def test_long_and_strange_texts_are_cut_and_kept(log: RequestLog, db: Database) -> None:
    log.put(asked("a", requested_model="m" * 10_000_000, client="\x1b[31m\ud800\n", error="x" * 5000))
    eventually(lambda: rows(db))
    [row] = RequestRows(db).recent()
    assert (len(row.requested_model or ""), len(row.error or "")) == (1000, 1000)
    assert row.client == "\x1b[31m�\n"


def test_values_that_cannot_be_written_stop_nothing(log: RequestLog, db: Database) -> None:
    log.put(asked("a", error=object(), prompt_tokens=10**400, at=float("nan")))
    log.put(asked("b"))
    eventually(lambda: set(rows(db)) == {"a", "b"})


# --- no room, no rights, no time ------------------------------------------------------------------------


def test_rows_wait_while_another_process_writes_and_nobody_waits_for_them(
    log: RequestLog, db: Database, places: Places
) -> None:
    other = sqlite3.connect(places.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    took: list[float] = []
    for number in range(50):
        begun = time.perf_counter()
        log.put(asked(f"r{number}"))
        took.append(time.perf_counter() - begun)
    eventually(lambda: log.health()["degraded"])
    health = log.health()
    assert (health["waiting"], health["lost"], health["written"]) == (50, 0, 0)
    assert health["error"] == "the database is in use"
    assert health["since"]
    assert sorted(took)[40] < request_log.PATIENCE, "a few may have met a machine that was busy"
    other.execute("ROLLBACK")
    other.close()
    eventually(lambda: len(rows(db)) == 50)
    eventually(lambda: not log.health()["degraded"])
    assert log.health()["waiting"] == 0


def test_what_has_no_room_in_memory_is_read_from_the_journal_later(
    log: RequestLog, db: Database, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "MOST_WAITING", 10)
    other = sqlite3.connect(places.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(35):
        log.put(asked(f"r{number}"))
    health = log.health()
    assert (health["waiting"], health["journaled"], health["lost"]) == (10, 25, 0)
    other.execute("ROLLBACK")
    other.close()
    eventually(lambda: len(rows(db)) == 35)
    eventually(lambda: log.health()["journaled"] == 0)
    assert log.health()["written"] == 35
    log.close()
    assert journals(places) == []


def test_without_a_place_for_the_journal_rows_are_kept_in_memory_as_far_as_there_is_room(
    db: Database, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.state.write_text("no directory")
    log = RequestLog(places, db)
    try:
        assert log.health()["degraded"]
        log.begin(asked("a"))
        log.put(asked("a"))
        eventually(lambda: rows(db))
        other = sqlite3.connect(places.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(request_log, "MOST_WAITING", 2)
        for number in range(5):
            log.put(asked(f"r{number}"))
        assert (log.health()["waiting"], log.health()["lost"]) == (2, 3)
        other.execute("ROLLBACK")
        other.close()
        eventually(lambda: len(rows(db)) == 3)
        # What was lost stays said.
        assert log.health()["degraded"]
        places.state.unlink()
        log.put(asked("z"))
        eventually(lambda: journals(places))
    finally:
        log.close()


def test_a_full_disk_costs_no_request(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        places = Places.under(disk)
        db = Database.open(places.database)
        log = RequestLog(places, db)
        filler = fill(disk)
        for number in range(300):
            log.begin(asked(f"r{number}", client="x" * 200))
            log.put(asked(f"r{number}", client="x" * 200))
        eventually(lambda: log.health()["error"] is not None)
        assert log.health()["lost"] == 0
        filler.unlink()
        eventually(lambda: log.health()["waiting"] == 0, seconds=30.0)
        assert len(rows(db)) == 300
        log.put(asked("after"))
        eventually(lambda: rows(db).get("after"))
        log.close()
        assert journals(places) == []
        db.close()


def test_a_journal_begins_anew_and_takes_along_what_is_under_way(
    log: RequestLog, db: Database, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "JOURNAL_BYTES", 20_000)
    log.begin(asked("long", prompt_tokens=3))
    for number in range(2000):
        log.begin(asked(f"r{number}"))
        log.put(asked(f"r{number}"))
    eventually(lambda: len(rows(db)) == 2000)
    eventually(lambda: not log.health()["waiting"])
    log.put(asked("last"))
    eventually(lambda: rows(db).get("last"))
    eventually(lambda: sum(path.stat().st_size for path in journals(places)) < 30_000)
    assert len(log._open) == 1
    kill(log)
    settle_journals(places, db)
    assert rows(db)["long"] == "interrupted"
    assert len(rows(db)) == 2002


# --- any order ------------------------------------------------------------------------------------------


class Still(RequestLog):
    """A log whose thread does nothing: the test writes."""

    def _run(self) -> None:
        return

    def write(self, most: int) -> bool:
        """Write at most so many rows, as the thread does."""
        with self._wake:
            batch = [self._rows[number] for number in range(min(most, len(self._rows)))]
        return self._write(batch)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["begin", "tell", "put", "put", "forget", "write", "lock", "unlock", "kill", "tear", "cut", "settle"]
        ),
        st.integers(0, 1),
        st.integers(0, 7),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(STEPS)
def test_each_request_is_one_row_in_any_order_of_work_locks_and_kills(steps: list[tuple[str, int, int]]) -> None:
    """Two processes serve one home. Each is killed at any moment, also within a line."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_log, "JOURNAL_BYTES", 1200)
        patch.setattr(request_log, "MOST_WAITING", 4)
        locked = False
        whole = RequestRows.record_all

        def record_all(*words: object, **named: object) -> None:
            if locked:
                raise StoreError("the database is in use")
            whole(*words, **named)  # type: ignore[arg-type]

        patch.setattr(RequestRows, "record_all", record_all)
        places = Places.under(Path(folder))
        db = Database.open(places.database)
        logs = [Still(places, db), Still(places, db)]
        under_way: list[dict[str, int | None]] = [{}, {}]
        wanted: dict[str, tuple[str, int | None]] = {}
        made = 0
        for step, who, number in steps:
            log, open_ = logs[who], under_way[who]
            names = sorted(open_)
            name = names[number % len(names)] if names else None
            if step == "begin":
                made += 1
                open_[f"r{made}"] = None
                log.begin(asked(f"r{made}"))
            elif step == "tell" and name:
                open_[name] = number
                log.begin(asked(name, completion_tokens=number))
            elif step == "put" and name:
                del open_[name]
                wanted[name] = ("stop", number)
                log.put(asked(name, completion_tokens=number))
            elif step == "forget" and name:
                del open_[name]
                log.forget(name)
                if number % 2:  # the last of a crowd, which stands for all of them
                    wanted[name] = ("refused", None)
                    log.put(asked(name, "refused"))
            elif step == "write":
                log.write(number)
            elif step in ("lock", "unlock"):
                locked = step == "lock"
            elif step == "settle":
                log.settle()
            elif step in ("kill", "tear", "cut"):
                file = log._file
                assert file is not None
                if step == "tear":
                    # Killed while it wrote a line: a part of it is there, and nobody was told that it was.
                    torn = line_of(asked(f"torn {number}"))
                    os.write(file.fd, torn[: len(torn) * number // 8])
                elif step == "cut" and name:
                    # The same for the end of one that was under way.
                    torn = line_of(asked(name, completion_tokens=99))
                    os.write(file.fd, torn[:-2])
                kill(log)
                wanted |= {key: ("interrupted", told) for key, told in open_.items()}
                open_.clear()
                logs[who] = Still(places, db)
        locked = False
        for log, open_ in zip(logs, under_way, strict=True):
            while log._rows or log._spilled:
                assert log.write(3)
            log.close()
            wanted |= {key: ("interrupted", told) for key, told in open_.items()}
        found = {row["id"]: (row["finish"], row["completion_tokens"]) for row in db.rows("SELECT * FROM requests")}
        assert found == wanted
        assert journals(places) == []
        assert all(log.health()["lost"] == 0 for log in logs)
        db.close()


def test_a_torn_line_hides_no_other(tmp_path: Path) -> None:
    lines = [line_of(asked("a", "streaming")), line_of(asked("a"))[:20], b"\n", line_of(asked("b"))]
    path = tmp_path / "journal"
    path.write_bytes(b"".join(lines) + b'{"id":"c"')
    story = read_journal(path)
    assert [one.id for one in story.ended] == ["b"]
    assert list(story.open) == ["a"]
