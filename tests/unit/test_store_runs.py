"""Runs, their ledgers, requests and peaks: folded in any order, again and again, the totals are the same."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.domain.usage import DAY, CompletedRequest
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.peaks import PeakRows
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.store.usage import counter_parts, energy_parts

Line = dict[str, Any]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


def spec(run_id: str = "r", **values: Any) -> dict[str, Any]:
    made = RunSpec(run_id, "recipe", "Name", "vllm", "m", ("x",), "127.0.0.1", 8000, "http://127.0.0.1:8000/v1", 1000.0)
    return {**made.to_json(), **values}


def state(run_id: str = "r", now: State = State.READY, **values: Any) -> dict[str, Any]:
    return RunState(run_id, now, started_at=1001.0, **values).to_json()


def counters(seq: int, at: float, attempt: int = 1, **values: float) -> Line:
    return {"seq": seq, "t": at, "attempt": attempt, "kind": "counters", "values": values}


def energy(seq: int, at: float, gpus: Mapping[str, int], boot: str = "b", attempt: int = 1) -> Line:
    return {"seq": seq, "t": at, "attempt": attempt, "kind": "energy", "gpus": dict(gpus), "boot_id": boot}


def tokens(db: Database, name: str = "generation_tokens") -> dict[tuple[str | None, int, int], int | None]:
    found = counter_parts(db, None, None, DAY)
    return {(one.run_id, one.attempt, one.slot): one.values[name] for one in found if one.values[name] is not None}


def test_a_run_is_recorded_and_follows_its_state(db: Database) -> None:
    rows = RunRows(db)
    rows.record(spec(gpus=("0", "1")), state(now=State.LOADING))
    rows.record(spec(gpus=("0", "1")), state(now=State.EXITED, ended_at=2000.0, exit_code=0, reason="stopped"))
    (run,) = rows.list()
    assert (run["recipe_id"], run["model"], run["gpus"], run["simulated"]) == ("recipe", "m", ["0", "1"], 0)
    assert (run["state"], run["ended_at"], run["exit_code"], run["reason"]) == ("exited", 2000.0, 0, "stopped")


def test_a_run_that_ended_does_not_come_back_to_life(db: Database) -> None:
    rows = RunRows(db)
    rows.record(spec(), state(now=State.FAILED, exit_signal=9))
    rows.record(spec(), state(now=State.READY))
    run = rows.get("r")
    assert run is not None
    assert (run["state"], run["exit_signal"]) == ("failed", 9)


def test_recording_and_folding_what_is_known_writes_nothing(db: Database) -> None:
    rows = RunRows(db)
    lines = [counters(1, 10.0, prompt_tokens=5.0), energy(2, 20.0, {"g": 5})]
    rows.record(spec(), state())
    assert rows.fold("r", lines) == 2
    before = db.row("SELECT total_changes()")
    rows.record(spec(), state())
    assert rows.fold("r", lines) == 0
    after = db.row("SELECT total_changes()")
    assert before is not None
    assert after is not None
    assert before[0] == after[0]


def test_tokens_of_attempts_and_segments_are_added(db: Database) -> None:
    RunRows(db).fold(
        "r",
        [
            {"seq": 1, "t": 1.0, "attempt": 1, "kind": "spawn", "pid": 7},
            counters(2, 10.0, prompt_tokens=0.0, generation_tokens=100.0),
            counters(3, 20.0, generation_tokens=250.0),
            counters(4, 30.0, generation_tokens=40.0),  # it fell: the engine began again within the attempt
            counters(5, 40.0, generation_tokens=60.0),
            {"seq": 6, "t": 41.0, "attempt": 1, "kind": "exit", "code": 1, "signal": None},
            counters(7, 50.0, attempt=2, generation_tokens=5.0),
        ],
    )
    assert tokens(db) == {("r", 1, 0): 310, ("r", 2, 0): 5}
    assert tokens(db, "prompt_tokens") == {("r", 1, 0): 0}
    assert tokens(db, "cached_tokens") == {}


def test_tokens_belong_to_the_day_of_the_reading_that_shows_them(db: Database) -> None:
    day = 86_400.0
    RunRows(db).fold(
        "r",
        [
            counters(1, day - 10, generation_tokens=100.0),
            counters(2, day + 10, generation_tokens=130.0),
            counters(3, 3 * day + 1, generation_tokens=131.0),
        ],
    )
    assert tokens(db) == {("r", 1, 0): 100, ("r", 1, 1): 30, ("r", 1, 3): 1}


def test_the_folded_number_ends_before_the_first_gap(db: Database) -> None:
    rows = RunRows(db)
    assert rows.folded_seq("r") == 0
    rows.fold("r", [counters(2, 1.0), counters(3, 1.0)])
    assert rows.folded_seq("r") == 0
    rows.fold("r", [counters(1, 1.0)])
    assert rows.folded_seq("r") == 3
    rows.fold("r", [counters(5, 1.0), counters(9, 1.0)])
    assert rows.folded_seq("r") == 3
    rows.fold("r", [counters(4, 1.0)])
    assert rows.folded_seq("r") == 5
    assert rows.folded_seq("other") == 0


# --- property: any order, repeats, subsets --------------------------------------------------------------


@st.composite
def ledgers(draw: st.DrawFn) -> dict[str, list[Line]]:
    """Ledgers of two runs that share GPUs, with resets, gaps and unknown kinds."""
    made: dict[str, list[Line]] = {}
    for run in ("a", "b"):
        lines: list[Line] = []
        at = draw(st.integers(0, 200_000)) / 1.0
        attempt = 1
        for seq in range(1, draw(st.integers(1, 10)) + 1):
            at += draw(st.sampled_from([0.0, 0.4, 12.0, 60.0, 50_000.0]))
            kind = draw(st.sampled_from(["counters", "energy", "exit", "something new"]))
            if kind == "counters":
                names = draw(st.sets(st.sampled_from(["prompt_tokens", "generation_tokens", "requests"])))
                lines.append(
                    counters(seq, at, attempt, **{name: float(draw(st.integers(0, 1000))) for name in sorted(names)})
                )
            elif kind == "energy":
                gpus = {uuid: draw(st.integers(0, 10**7)) for uuid in draw(st.sets(st.sampled_from(["x", "y"])))}
                lines.append(energy(seq, at, gpus, draw(st.sampled_from(["boot", "boot", "other"])), attempt))
            else:
                lines.append({"seq": seq, "t": at, "attempt": attempt, "kind": kind, "code": 1})
                attempt += 1
        made[run] = lines
    return made


def totals(db: Database) -> Any:
    parts = sorted(
        (one.run_id, one.attempt, one.slot, tuple(one.values.values())) for one in counter_parts(db, None, None, DAY)
    )
    watts = sorted((one.run_id, one.slot, one.watt_hours, one.estimated) for one in energy_parts(db, None, None, DAY))
    raw = [
        [tuple(row) for row in db.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]  # noqa: RUF100, S608
        for table in ("run_readings", "gpu_energy", "run_gpus")
    ]
    return parts, watts, raw


def pieces(lines: Sequence[Line], chance: random.Random) -> list[list[Line]]:
    """The lines in random pieces, in random order, some of them again."""
    shuffled = [*lines, *(line for line in lines if chance.random() < 0.4)]
    chance.shuffle(shuffled)
    cut: list[list[Line]] = [[]]
    for line in shuffled:
        if chance.random() < 0.4:
            cut.append([])
        cut[-1].append(line)
    return cut


@settings(max_examples=60, deadline=None)
@given(made=ledgers(), chance=st.randoms(use_true_random=False))
def test_any_way_to_fold_gives_the_same_totals(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, list[Line]], chance: random.Random
) -> None:
    home = tmp_path_factory.mktemp("fold")
    straight, crooked = Database.open(home / "a.db"), Database.open(home / "b.db")
    try:
        for run, lines in made.items():
            assert RunRows(straight).fold(run, lines) == len(lines)
        work = [(run, piece) for run, lines in made.items() for piece in pieces(lines, chance)]
        chance.shuffle(work)
        new = sum(RunRows(crooked).fold(run, piece) for run, piece in work)
        assert new == sum(map(len, made.values()))
        assert totals(crooked) == totals(straight)
        for run, lines in made.items():
            assert RunRows(crooked).folded_seq(run) == len(lines)
    finally:
        straight.close()
        crooked.close()


def expected_tokens(lines: Sequence[Line], name: str) -> dict[int, int]:
    """Written down once more, step by step: the tokens of each attempt."""
    last: dict[int, float] = {}
    used: dict[int, float] = {}
    for line in lines:
        if line["kind"] == "counters" and name in line["values"]:
            attempt, value = line["attempt"], line["values"][name]
            before = last.get(attempt, 0.0)
            used[attempt] = used.get(attempt, 0.0) + (value - before if value >= before else value)
            last[attempt] = value
    return {attempt: round(value) for attempt, value in used.items()}


@settings(max_examples=60, deadline=None)
@given(made=ledgers())
def test_totals_are_those_of_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, list[Line]]
) -> None:
    db = Database.open(tmp_path_factory.mktemp("fold") / "a.db")
    try:
        RunRows(db).fold("a", made["a"])
        for name in ("prompt_tokens", "generation_tokens", "requests"):
            found: dict[int, int] = {}
            for (_, attempt, _), value in tokens(db, name).items():
                found[attempt] = found.get(attempt, 0) + (value or 0)
            assert found == expected_tokens(made["a"], name)
    finally:
        db.close()


@settings(max_examples=100, deadline=None)
@given(
    line=st.dictionaries(
        st.sampled_from(["seq", "t", "attempt", "kind", "values", "gpus", "boot_id", "code"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters(codec=None), max_size=5)
        | st.sampled_from(["counters", "energy"])
        | st.dictionaries(
            st.sampled_from(["prompt_tokens", "requests", "\ud800"]), st.integers() | st.floats() | st.text()
        )
        | st.lists(st.integers(), max_size=2),
    )
)
def test_no_line_does_harm(tmp_path_factory: pytest.TempPathFactory, line: Line) -> None:
    db = Database.open(tmp_path_factory.mktemp("fold") / "a.db")
    try:
        good = counters(7, 5.0, prompt_tokens=3.0)
        taken = RunRows(db).fold("r", [line, {**line, "seq": 3, "t": 1.0, "kind": "counters"}, good])
        assert taken >= 1
        counter_parts(db, None, None, DAY)
        energy_parts(db, None, None, DAY)
    finally:
        db.close()


def test_values_that_are_no_numbers_are_unknown(db: Database) -> None:
    RunRows(db).fold(
        "r",
        [counters(1, 1.0, prompt_tokens=math.nan, generation_tokens=math.inf, cached_tokens=-1.0, requests=True)],
    )
    assert counter_parts(db, None, None, DAY) == []


# --- energy ---------------------------------------------------------------------------------------------


def watt_hours(db: Database) -> dict[str, tuple[float, bool]]:
    found: dict[str, tuple[float, bool]] = {}
    for one in energy_parts(db, None, None, DAY):
        before = found.get(one.run_id, (0.0, False))
        found[one.run_id] = (before[0] + one.watt_hours, before[1] or one.estimated)
    return found


WH = 3_600_000  # millijoules in a watt hour


def test_energy_is_what_lies_between_the_readings_of_a_run(db: Database) -> None:
    RunRows(db).fold("r", [energy(1, 0, {"g": 7 * WH, "h": 0}), energy(2, 60, {"g": 9 * WH, "h": WH})])
    assert watt_hours(db) == {"r": (3.0, False)}


def test_one_reading_tells_nothing(db: Database) -> None:
    RunRows(db).fold("r", [energy(1, 0, {"g": 7 * WH})])
    assert watt_hours(db) == {}


def test_a_counter_that_fell_is_dropped_and_so_is_a_boot(db: Database) -> None:
    lines = [energy(1, 0, {"g": 5 * WH}), energy(2, 60, {"g": 6 * WH}), energy(3, 120, {"g": WH // 2})]
    lines += [energy(4, 180, {"g": 2 * WH + WH // 2}), energy(5, 240, {"g": 9 * WH}, boot="later")]
    RunRows(db).fold("r", lines)
    assert watt_hours(db) == {"r": (3.0, False)}


def test_a_gpu_of_two_runs_is_split_and_counted_once(db: Database) -> None:
    RunRows(db).fold("a", [energy(1, 0, {"g": 0}), energy(2, 100, {"g": 10 * WH})])
    RunRows(db).fold("b", [energy(1, 40, {"g": 4 * WH}), energy(2, 160, {"g": 16 * WH})])
    # 0-40 is a's alone, 40-100 is shared, 100-160 is b's alone.
    assert watt_hours(db) == {"a": (7.0, True), "b": (9.0, True)}
    assert sum(value for value, _ in watt_hours(db).values()) == 16.0


def test_gpus_between_two_runs_are_nobodys(db: Database) -> None:
    RunRows(db).fold("a", [energy(1, 0, {"g": 0}), energy(2, 60, {"g": WH})])
    RunRows(db).fold("b", [energy(1, 600, {"g": 50 * WH}), energy(2, 660, {"g": 52 * WH})])
    assert watt_hours(db) == {"a": (1.0, False), "b": (2.0, False)}


# --- requests and peaks ---------------------------------------------------------------------------------


def test_a_request_is_kept_once(db: Database) -> None:
    rows = RequestRows(db)
    one = CompletedRequest(5.0, "chat", "stop", id="x", model="m", prompt_tokens=3, ttft=0.5)
    assert rows.record(one) == "x"
    rows.record(CompletedRequest(9.0, "chat", "failed", id="x"))
    other = rows.record(CompletedRequest(7.0, "bench", "length", completion_tokens=2**70, error="\ud800"))
    latest, first = rows.recent()
    assert first == one
    assert (latest.id, latest.completion_tokens, latest.error) == (other, None, "\ufffd")


def test_peaks_keep_the_higher_speed_and_the_shorter_time(db: Database) -> None:
    peaks = PeakRows(db)
    assert peaks.offer("m", generation_tps=50.0)
    assert peaks.offer("m", generation_tps=40.0, ttft=0.5)
    assert not peaks.offer("m", generation_tps=50.0, ttft=0.6)
    assert peaks.offer("m", prefill_tps=900.0, generation_tps=60.0, ttft=0.2)
    assert not peaks.offer("m", generation_tps=math.nan, ttft=-1.0)
    assert peaks.all() == {"m": {"prefill_tps": 900.0, "generation_tps": 60.0, "ttft": 0.2}}


def test_lifetime_totals_are_set_and_not_added_to(db: Database) -> None:
    peaks = PeakRows(db)
    assert peaks.set_lifetime({"tokens_total": 10, "energy_wh": None})
    assert not peaks.set_lifetime({"tokens_total": 10})
    assert peaks.set_lifetime({"tokens_total": 12})
    assert peaks.lifetime() == {"tokens_total": 12.0}
