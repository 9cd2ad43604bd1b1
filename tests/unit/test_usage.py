"""Usage: counted once, by model, recipe, day and session; unknown is not zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.usage import (
    DAY,
    CompletedRequest,
    Price,
    UsageQuery,
    UsageReport,
    UsageRow,
    percentiles_of,
)
from vllm_studio_tui.services.usage import keep_lifetime, report
from vllm_studio_tui.store import usage as usage_rows
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.peaks import PeakRows
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.store.usage import energy_parts, runs_within

WH = 3_600_000
#: Noon of a day far from the epoch, and "now" of every report.
NOW = 20_000 * DAY + DAY / 2


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


def run(db: Database, run_id: str, model: str = "m", recipe: str = "rec", **state: Any) -> None:
    RunRows(db).record(
        {"run_id": run_id, "recipe_id": recipe, "model": model, "created_at": NOW},
        {"run_id": run_id, "state": "ready", "started_at": NOW - 100, **state},
    )


def counted(db: Database, run_id: str, at: float, *, seq: int = 1, attempt: int = 1, **values: float) -> None:
    RunRows(db).fold(run_id, [{"seq": seq, "t": at, "attempt": attempt, "kind": "counters", "values": {**values}}])


def asked(db: Database, at: float = NOW, **values: Any) -> None:
    RequestRows(db).record(replace(CompletedRequest(at, "chat", "stop"), **values))


def made(db: Database, **query: Any) -> UsageReport:
    return report(db, UsageQuery(**query), now=NOW)


def test_nothing_used_is_zero_tokens_and_no_measured_energy(db: Database) -> None:
    document = made(db).to_json()
    totals = document["totals"]
    assert {name: totals[name] for name in ("total_tokens", "prompt_tokens", "completion_tokens")} == {
        "total_tokens": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }
    assert (totals["total_requests"], totals["energy_wh"]) == (0, None)
    assert document["cache"] == {"hit_tokens": None, "prompt_tokens": None, "hit_rate": None}
    assert (document["by_model"], document["daily"]) == ([], [])


def test_counters_count_and_the_requests_within_them_do_not(db: Database) -> None:
    run(db, "r")
    counted(db, "r", NOW, prompt_tokens=1000.0, generation_tokens=500.0, requests=10.0)
    asked(db, run_id="r", attempt=1, prompt_tokens=100, completion_tokens=50)
    totals = made(db).totals
    assert (totals.prompt_tokens, totals.completion_tokens, totals.requests) == (1000, 500, 10)
    assert totals.seen == 1


def test_requests_are_a_lower_bound_of_what_a_crash_kept_from_the_counters(db: Database) -> None:
    run(db, "r")
    counted(db, "r", NOW, prompt_tokens=80.0, generation_tokens=500.0)
    asked(db, run_id="r", attempt=1, prompt_tokens=100, completion_tokens=50)
    # The second attempt crashed before its first reading.
    asked(db, run_id="r", attempt=2, prompt_tokens=7, completion_tokens=3)
    totals = made(db).totals
    assert (totals.prompt_tokens, totals.completion_tokens) == (107, 503)
    assert totals.requests == 2


def test_servers_that_are_not_ours_count_by_their_requests(db: Database) -> None:
    asked(db, model="gpt", prompt_tokens=5, completion_tokens=6)
    asked(db, model="gpt", prompt_tokens=5, completion_tokens=6)
    asked(db, model="other", recipe_id="ext", prompt_tokens=1)
    found = made(db)
    assert [(row.key, row.total_tokens, row.requests) for row in found.by_model] == [("gpt", 22, 2), ("other", 1, 1)]
    assert [(row.key, row.total_tokens) for row in found.by_recipe] == [("", 22), ("ext", 1)]
    assert found.to_json()["by_recipe"][0]["recipe"] is None


def test_a_request_without_usage_has_unknown_tokens(db: Database) -> None:
    asked(db, model="silent", finish="stopped")
    document = made(db).to_json()
    assert document["totals"]["total_requests"] == 1
    assert document["totals"]["total_tokens"] is None
    assert document["by_model"][0]["completion_tokens"] is None


def test_models_recipes_and_days_each_add_up_to_the_total(db: Database) -> None:
    run(db, "a", "big", "rec-a")
    run(db, "b", "small", "rec-b")
    counted(db, "a", NOW - DAY, prompt_tokens=100.0, generation_tokens=10.0)
    counted(db, "a", NOW, seq=2, prompt_tokens=150.0, generation_tokens=30.0)
    counted(db, "b", NOW, prompt_tokens=8.0)
    asked(db, NOW - 5 * DAY, model="gpt", prompt_tokens=3, completion_tokens=4)
    found = made(db)
    for rows in (found.by_model, found.by_recipe, found.daily):
        assert sum(row.total_tokens or 0 for row in rows) == found.totals.total_tokens == 195
    assert [row.key for row in found.by_model] == ["big", "small", "gpt"]
    assert [(row.key, row.total_tokens) for row in found.daily] == [
        ("2024-10-04", 78),
        ("2024-10-03", 110),
        ("2024-09-29", 7),
    ]


def test_days_are_a_window_that_ends_with_today(db: Database) -> None:
    run(db, "r")
    for seq, back in enumerate((3, 2, 1, 0), 1):
        counted(db, "r", NOW - back * DAY, seq=seq, generation_tokens=100.0 * seq)
    asked(db, NOW - 3 * DAY, model="gpt", completion_tokens=1)
    assert made(db).totals.completion_tokens == 401
    assert made(db, days=1).totals.completion_tokens == 100
    assert made(db, days=2).totals.completion_tokens == 200
    assert made(db, days=2).totals.requests is None
    assert made(db, since=NOW - 2 * DAY, until=NOW).totals.completion_tokens == 200
    assert made(db, days=1).lifetime == {}
    keep_lifetime(db, made(db))
    assert made(db, days=1).lifetime["completion_tokens_total"] == 401


def test_the_larger_source_is_chosen_over_the_whole_attempt_not_over_the_window(db: Database) -> None:
    run(db, "r")
    counted(db, "r", NOW - DAY, generation_tokens=100.0)
    counted(db, "r", NOW, seq=2, generation_tokens=110.0)
    asked(db, NOW, run_id="r", attempt=1, completion_tokens=60)
    assert made(db).totals.completion_tokens == 110
    assert made(db, days=1).totals.completion_tokens == 10


def test_cache_hits_are_a_share_of_the_prompts_of_which_it_is_known(db: Database) -> None:
    run(db, "a")
    counted(db, "a", NOW, prompt_tokens=100.0, cached_tokens=40.0)
    run(db, "b")
    counted(db, "b", NOW, prompt_tokens=1000.0)
    asked(db, model="gpt", prompt_tokens=100, cached_tokens=20)
    asked(db, model="gpt", prompt_tokens=50)
    found = made(db)
    assert found.to_json()["cache"] == {"hit_tokens": 60, "prompt_tokens": 200, "hit_rate": 0.3}
    assert found.totals.prompt_tokens == 1250


def test_energy_is_shared_marked_and_counted_once(db: Database) -> None:
    for name in ("a", "b"):
        run(db, name, f"model-{name}", f"rec-{name}")
    first, second = int(NOW), int(NOW) + 60

    def drew(name: str, begin: int, end: int) -> list[dict[str, Any]]:
        return [
            {"seq": 1, "t": first, "attempt": 1, "kind": "energy", "gpus": {"g": begin}, "boot_id": "b"},
            {"seq": 2, "t": second, "attempt": 1, "kind": "energy", "gpus": {"g": end}, "boot_id": "b"},
        ]

    RunRows(db).fold("a", drew("a", 5 * WH, 9 * WH))
    assert made(db).totals.energy_wh == 4.0
    assert not made(db).totals.energy_estimated
    RunRows(db).fold("b", drew("b", 5 * WH, 9 * WH))
    counted(db, "a", NOW, seq=3, prompt_tokens=2_000_000.0)
    found = made(db)
    assert found.totals.energy_wh == 4.0
    assert {row.key: (row.energy_wh, row.energy_estimated) for row in found.by_model} == {
        "model-a": (2.0, True),
        "model-b": (2.0, True),
    }
    assert found.totals.kwh_per_million_tokens == 0.002


def test_an_interval_counts_in_the_window_that_holds_its_end(db: Database) -> None:
    run(db, "r")
    lines = [
        {"seq": n, "t": NOW + n * 60, "attempt": 1, "kind": "energy", "gpus": {"g": n * n * WH}, "boot_id": "b"}
        for n in range(1, 6)
    ]
    RunRows(db).fold("r", lines)
    assert made(db).totals.energy_wh == 24.0
    assert made(db, since=NOW + 180).totals.energy_wh == 21.0
    assert made(db, since=NOW + 150, until=NOW + 240).totals.energy_wh == 5.0
    assert made(db, since=NOW + 310).totals.energy_wh is None


def test_success_latency_and_sessions_come_from_the_requests_we_saw(db: Database) -> None:
    session = ChatRows(db).create("A talk").id
    for number in range(1, 101):
        asked(db, NOW - number, model="m", session_id=session, ttft=number / 100, total_seconds=float(number))
    asked(db, model="m", finish="failed", session_id="gone", tokens_per_second=40.0)
    asked(db, model="m", finish="stopped", tokens_per_second=20.0)
    found = made(db, by="session")
    assert (found.totals.ttft.p50, found.totals.ttft.p95, found.totals.ttft.p99) == (0.5, 0.95, 0.99)
    assert (found.totals.latency.p50, found.totals.latency.count) == (50.0, 100)
    assert found.totals.success_rate == pytest.approx(101 / 102)
    assert (found.totals.stopped, found.totals.failed, found.totals.tokens_per_second) == (1, 1, 30.0)
    assert found.sessions == 2
    assert {(row.key, row.title, row.requests) for row in found.by_session} == {
        (session, "A talk", 100),
        ("gone", None, 1),
        ("", None, 1),
    }
    assert found.rows == found.by_session
    assert "by_session" in found.to_json()


def test_peaks_stand_beside_their_model(db: Database) -> None:
    asked(db, model="m")
    PeakRows(db).offer("m", generation_tps=70.0)
    assert made(db).to_json()["by_model"][0]["peaks"] == {"prefill_tps": None, "generation_tps": 70.0, "ttft": None}


def test_the_lifetime_is_derived_and_kept_idempotently(db: Database) -> None:
    run(db, "a", ended_at=NOW)
    run(db, "b")
    counted(db, "b", NOW - 40, prompt_tokens=5.0, generation_tokens=6.0, requests=1.0)
    found = made(db)
    assert found.lifetime == {
        "tokens_total": 11,
        "prompt_tokens_total": 5,
        "completion_tokens_total": 6,
        "requests_total": 1,
        "energy_wh": None,
        "uptime_seconds": 160.0,
        "first_started_at": NOW - 100,
    }
    assert keep_lifetime(db, found)
    assert not keep_lifetime(db, made(db))
    assert PeakRows(db).lifetime()["tokens_total"] == 11
    assert "energy_wh" not in PeakRows(db).lifetime()


def test_readings_of_a_run_that_was_never_recorded_still_count(db: Database) -> None:
    counted(db, "stray", NOW, generation_tokens=5.0)
    found = made(db)
    assert found.totals.completion_tokens == 5
    assert found.to_json()["by_model"][0]["model"] is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_a_percentile_is_a_value_with_that_share_at_or_below_it(values: list[float]) -> None:
    found = percentiles_of(values)
    for share, value in ((50, found.p50), (95, found.p95), (99, found.p99)):
        assert value is not None
        assert value in values
        assert sum(one <= value for one in values) * 100 >= share * len(values)
        assert sum(one < value for one in values) * 100 < share * len(values)


def test_only_answers_that_came_whole_say_how_long_answers_take(db: Database) -> None:
    for seconds in (3.0, 4.0, 5.0):
        asked(db, total_seconds=seconds)
    for finish in ("failed", "interrupted", "stopped"):
        for _ in range(5):
            asked(db, finish=finish, total_seconds=0.01)
    totals = made(db).totals
    assert (totals.latency.p50, totals.latency.count) == (4.0, 3)
    assert (totals.seen, totals.stopped, totals.failed) == (18, 5, 10)


def test_a_request_counts_when_it_is_over_and_once(db: Database) -> None:
    RequestRows(db).begin(CompletedRequest(NOW, "chat", "streaming", id="a"))
    assert (made(db).totals.seen, made(db).totals.requests) == (0, 0)
    asked(db, id="a", completion_tokens=7)
    asked(db, id="a", completion_tokens=9)
    assert (made(db).totals.seen, made(db).totals.completion_tokens) == (1, 7)


def test_estimated_tokens_are_marked_and_never_outweigh_an_engines_count(db: Database) -> None:
    asked(db, model="a", finish="interrupted", completion_tokens=40, estimated=True)
    totals = made(db).totals
    assert (totals.completion_tokens, totals.tokens_estimated) == (40, True)
    run(db, "r", model="b")
    counted(db, "r", NOW, generation_tokens=30.0, requests=1.0)
    asked(db, run_id="r", attempt=1, finish="interrupted", completion_tokens=99, estimated=True)
    rows = {row.key: row for row in made(db).by_model}
    assert (rows["a"].completion_tokens, rows["a"].tokens_estimated) == (40, True)
    assert (rows["b"].completion_tokens, rows["b"].tokens_estimated) == (30, False)
    assert made(db).to_json()["totals"]["tokens_estimated"]


def test_requests_of_other_programs_count_as_those_of_the_chat_do(db: Database) -> None:
    run(db, "r")
    counted(db, "r", NOW, prompt_tokens=1000.0, generation_tokens=500.0, requests=10.0)
    asked(db, run_id="r", attempt=1, prompt_tokens=100, completion_tokens=50)
    asked(db, source="proxy", run_id="r", attempt=1, prompt_tokens=200, completion_tokens=80, key_id="k", status=200)
    totals = made(db).totals
    assert (totals.prompt_tokens, totals.completion_tokens, totals.requests, totals.seen) == (1000, 500, 10, 2)
    run(db, "uncounted")
    asked(db, source="proxy", run_id="uncounted", attempt=1, prompt_tokens=7, completion_tokens=3, key_id="k")
    assert made(db).totals.total_tokens == 1510


def test_what_never_reached_an_engine_is_no_request_of_a_model(db: Database) -> None:
    asked(db, source="proxy", prompt_tokens=100, completion_tokens=50)
    asked(db, source="proxy", finish="refused", status=403, model="m", error="this key may not launch")
    row = made(db).totals
    assert (row.requests, row.seen, row.failed, row.stopped, row.success_rate) == (1, 1, 0, 0, 1.0)


def test_a_client_that_left_is_no_failure_and_its_tokens_count(db: Database) -> None:
    asked(db, source="proxy", finish="cancelled", prompt_tokens=100, completion_tokens=50)
    asked(db, source="proxy", finish="failed", status=502)
    row = made(db).totals
    assert (row.total_tokens, row.requests, row.seen, row.failed, row.stopped) == (150, 2, 2, 1, 1)


def test_the_kinds_of_tokens_are_together_all_tokens(db: Database) -> None:
    asked(db, model="a", prompt_tokens=100, cached_tokens=30, completion_tokens=50, reasoning_tokens=20)
    asked(db, model="b", prompt_tokens=40, completion_tokens=10)
    found = made(db)
    rows = {row.key: row for row in found.by_model}
    assert rows["a"].kinds == {"computed": 70, "cached": 30, "untold": 0, "thinking": 20, "answer": 30}
    assert rows["b"].kinds == {"computed": None, "cached": None, "untold": 40, "thinking": None, "answer": 10}
    assert found.totals.kinds == {"computed": 70, "cached": 30, "untold": 40, "thinking": 20, "answer": 40}
    assert sum(found.totals.kinds.values()) == found.totals.total_tokens == 200  # type: ignore[arg-type]


def test_a_window_reads_only_the_runs_that_reach_into_it_and_all_of_those(db: Database) -> None:
    for name, begin, end in (("before", 9, 5), ("across", 9, 1), ("in", 1, 0)):
        run(db, name, model=name)
        counted(db, name, NOW - begin * DAY, generation_tokens=100.0)
        counted(db, name, NOW - end * DAY, seq=2, generation_tokens=130.0)
    found = made(db, days=3)
    assert {row.key: row.completion_tokens for row in found.by_model} == {"across": 30, "in": 130}
    with db.reader() as reader:
        assert runs_within(reader, NOW - 3 * DAY, None) == ["across", "in"]


def test_energy_is_priced_by_the_million_tokens_and_tokens_by_the_watt_hour() -> None:
    row = UsageRow("m", prompt_tokens=1_500_000, completion_tokens=500_000, energy_wh=4000.0)
    assert (row.kwh_per_million_tokens, row.tokens_per_watt_hour) == (2.0, 500.0)
    assert Price(0.3, "EUR").of_a_million(row) == pytest.approx(0.6)
    assert Price(0.3, "EUR").of_a_million(UsageRow("n", prompt_tokens=1)) is None


def test_of_many_readings_of_energy_those_that_matter_say_the_same(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}
    for name, begin, over in (("a", 0, 600), ("b", 200, 430)):
        run(db, name, model=name)
        for seq, minute in enumerate(range(begin, over), 1):
            drawn = minute * 3_000_000 if minute < 300 else (minute - 300) * 2_000_000  # its driver is loaded again
            lines[name].append(
                {"seq": seq, "t": NOW - (600 - minute) * 60 + (name == "b") * 7, "attempt": 1, "kind": "energy",
                 "gpus": {"g": drawn + (name == "b") * 100_000}, "boot_id": "x"}
            )  # fmt: skip
        RunRows(db).fold(name, lines[name])
    for since, until in ((None, None), (NOW - 5 * 3600, NOW - 100.0)):
        with db.reader() as reader:
            monkeypatch.setattr(usage_rows, "MANY", 10**9)
            every = energy_parts(reader, since, until, 3600)
            monkeypatch.setattr(usage_rows, "MANY", 2)
            some = energy_parts(reader, since, until, 3600)
        assert len(every) >= 8
        assert [(one.run_id, one.slot) for one in some] == [(one.run_id, one.slot) for one in every]
        assert [one.watt_hours for one in some] == pytest.approx([one.watt_hours for one in every])
