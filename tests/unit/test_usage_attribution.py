"""Every token belongs to one source, key, hour and model, however requests and counters interleave."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.usage import BY, DAY, CompletedRequest, UsageQuery, UsageReport
from vllm_studio_tui.kit import local_time
from vllm_studio_tui.services.usage import report
from vllm_studio_tui.services.usage_attribution import spread
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows

#: The begin of a day, and of every world below.
BEGIN = 20_000.0 * DAY
SOURCES = ("chat", "proxy", "bench", "engine")
KEYS = {"chat": (None,), "proxy": ("ci", "phone"), "bench": (None,), "engine": (None,)}


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def set_zone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TZ", name)
    time.tzset()


@dataclass
class World:
    """Runs that are asked by four sources and restarted, and what was truly used."""

    now: float = BEGIN
    #: True totals by run, source and key: tokens of prompts, of answers, requests.
    truth: dict[tuple[str, str, str | None], Counter[str]] = field(default_factory=dict)
    lines: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    counters: dict[str, Counter[str]] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    requests: list[CompletedRequest] = field(default_factory=list)

    def line(self, run: str, kind: str, **more: object) -> None:
        lines = self.lines.setdefault(run, [])
        lines.append({"seq": len(lines) + 1, "t": self.now, "attempt": self.attempts[run], "kind": kind, **more})

    def start(self, run: str) -> None:
        if run in self.counters:
            self.read(run)
        self.attempts[run] += 1
        self.counters[run] = Counter()
        self.line(run, "spawn", pid=1)

    def read(self, run: str) -> None:
        names = ("prompt_tokens", "generation_tokens", "requests")
        self.line(run, "counters", values={name: float(self.counters[run][name]) for name in names})

    def ask(self, run: str, source: str, key: str | None, prompt: int, answer: int, seconds: float) -> None:
        """Ask a question that takes some time, in the middle of which the counters may be read."""
        if run not in self.counters:
            self.start(run)
        used = Counter(prompt_tokens=prompt, generation_tokens=answer, requests=1)
        self.truth.setdefault((run, source, key), Counter()).update(used)
        self.counters[run] += Counter(prompt_tokens=prompt, generation_tokens=answer // 2)
        self.now += seconds / 2
        if seconds > 600:
            self.read(run)
        self.counters[run] += Counter(generation_tokens=answer - answer // 2, requests=1)
        self.now += seconds / 2
        if source != "engine":
            self.requests.append(
                CompletedRequest(
                    self.now, source, "stop", id=str(len(self.requests)), run_id=run, attempt=self.attempts[run],
                    model="as-asked", prompt_tokens=prompt, completion_tokens=answer, total_seconds=seconds,
                    key_id=f"id-{key}" if key else None, key_name=key,
                )
            )  # fmt: skip

    def keep(self, db: Database) -> None:
        for run in self.counters:
            self.read(run)
            spec = {"run_id": run, "recipe_id": f"rec-{run}", "model": f"model-{run}", "created_at": BEGIN}
            RunRows(db).record(spec, {"run_id": run, "state": "ready", "started_at": BEGIN})
            RunRows(db).fold(run, self.lines[run])
        RequestRows(db).record_all(self.requests, None)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"), st.sampled_from(["a", "b"]), st.sampled_from(SOURCES), st.integers(0, 1),
            st.integers(0, 500), st.integers(0, 300), st.floats(0.1, 4000.0),
        ),
        st.tuples(st.just("start"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("read"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("wait"), st.floats(1.0, 3 * DAY)),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


def lived(doings: list[tuple[object, ...]]) -> World:
    world = World()
    for kind, *values in doings:
        if kind == "ask":
            run, source, key, prompt, answer, seconds = values
            keys = KEYS[str(source)]
            world.ask(run, source, keys[key % len(keys)], prompt, answer, seconds)  # type: ignore[arg-type, operator]
        elif kind == "start":
            world.start(str(values[0]))
        elif kind == "read" and values[0] in world.counters:
            world.read(str(values[0]))
        elif kind == "wait":
            world.now += float(str(values[0]))
    return world


def sums(made: UsageReport, by: str) -> Counter[str]:
    rows = {
        "model": made.by_model, "recipe": made.by_recipe, "day": made.daily, "hour": made.hours, "week": made.weeks,
        "key": made.by_key, "source": made.by_source,
    }[by]  # fmt: skip
    found: Counter[str] = Counter()
    for row in rows:
        found.update(prompt=row.prompt_tokens or 0, answer=row.completion_tokens or 0, requests=row.requests or 0)
    return found


@settings(max_examples=40, deadline=None)
@given(steps, st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]))
def test_each_source_key_and_run_gets_what_it_truly_used(doings: list[tuple[object, ...]], zone: str) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        set_zone(patch, zone)
        world = lived(doings)
        with contextlib.closing(Database.open(Path(folder) / "studio.db")) as db:
            world.keep(db)
            made = report(db, UsageQuery(by="hour"), now=world.now)
            part = report(db, UsageQuery(by="hour", since=BEGIN + 1.5 * DAY, until=BEGIN + 2.51 * DAY), now=world.now)
    time.tzset()
    true: dict[str, dict[str | None, Counter[str]]] = {"source": {}, "key": {}, "model": {}}
    for (run, source, key), used in world.truth.items():
        for by, name in (("source", source), ("key", key or ""), ("model", f"model-{run}")):
            true[by].setdefault(name, Counter()).update(used)
    for by, rows in (("source", made.by_source), ("key", made.by_key), ("model", made.by_model)):
        found = {
            row.key: Counter(
                prompt_tokens=row.prompt_tokens or 0, generation_tokens=row.completion_tokens or 0,
                requests=row.requests or 0,
            )
            for row in rows if row.total_tokens or row.requests
        }  # fmt: skip
        assert found == {name: used for name, used in true[by].items() if any(used.values())}, by
    # Whatever it is divided by, and in any window, the parts are the whole.
    for one in (made, part):
        whole = Counter(
            prompt=one.totals.prompt_tokens or 0, answer=one.totals.completion_tokens or 0,
            requests=one.totals.requests or 0,
        )  # fmt: skip
        for by in BY:
            if by != "session":
                assert sums(one, by) == whole, by
        heat = [cell for hours in one.heatmap for cell in hours]
        assert sum(cell.tokens for cell in heat) == (one.totals.total_tokens or 0)
        assert sum(cell.requests for cell in heat) == (one.totals.requests or 0)


@settings(max_examples=25, deadline=None)
@given(
    steps,
    st.lists(
        st.tuples(
            st.floats(0, 3 * DAY), st.sampled_from([None, "a", "b"]), st.sampled_from(SOURCES[:3]),
            st.sampled_from([None, "ci", "phone"]), st.integers(0, 900) | st.none(), st.integers(0, 400) | st.none(),
            st.integers(0, 90) | st.none(), st.booleans(), st.sampled_from(["stop", "error", "cancelled", "refused"]),
        ),
        max_size=12,
    ),
)  # fmt: skip
def test_what_is_not_divided_by_askers_has_the_same_rows_as_what_is(
    doings: list[tuple[object, ...]], more: list[tuple[Any, ...]]
) -> None:
    world = lived(doings)
    world.requests += [
        CompletedRequest(
            BEGIN + at, source, finish, id=f"more-{number}", run_id=run, attempt=1, model=f"m-{number % 3}",
            prompt_tokens=prompt, completion_tokens=answer, cached_tokens=cached, reasoning_tokens=cached,
            estimated=guess, total_seconds=1.0, key_id=key, key_name=key,
        )
        for number, (at, run, source, key, prompt, answer, cached, guess, finish) in enumerate(more)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Database.open(Path(folder) / "studio.db")) as db:
        world.keep(db)
        for since, until in ((None, None), (BEGIN + 0.4 * DAY, BEGIN + 1.51 * DAY)):
            whole = report(db, UsageQuery(by="hour", since=since, until=until), now=world.now)
            rows = {"model": whole.by_model, "recipe": whole.by_recipe, "day": whole.daily, "week": whole.weeks,
                    "key": whole.by_key, "source": whole.by_source, "hour": whole.hours}  # fmt: skip
            for by, expected in rows.items():
                query = UsageQuery(by=by, since=since, until=until, every=False)
                made = report(db, query, now=world.now)
                found = {"model": made.by_model, "recipe": made.by_recipe, "day": made.daily, "week": made.weeks,
                         "key": made.by_key, "source": made.by_source, "hour": made.hours}[by]  # fmt: skip
                assert found == expected, by
                assert made.totals == whole.totals


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 50)), max_size=8, unique_by=lambda one: one[0]),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 50)), max_size=12),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 50)), max_size=4),
)
def test_what_was_counted_is_divided_without_rest_and_nobody_gets_too_much(
    counted: list[tuple[int, int]], sure: list[tuple[int, int]], guessed: list[tuple[int, int]]
) -> None:
    counted, sure, guessed = sorted(counted), sorted(sure), sorted(guessed)
    amounts = [amount for _, amount in counted]
    wanted = [(slot, 0, amount) for slot, amount in sure]
    others = [(slot, 0, amount) for slot, amount in guessed]
    shares = list(spread([(slot, 0) for slot, _ in counted], amounts, wanted, others))
    by_place, by_asker = Counter[int](), Counter[int | None]()
    for place, share, index in shares:
        by_place[place] += share
        by_asker[index] += share
    assert [by_place[place] for place in range(len(counted))] == amounts
    for index, (_, _, amount) in enumerate((*wanted, *others)):
        assert by_asker[index] <= amount
    asked = sum(amount for _, _, amount in wanted)
    assert sum(by_asker[index] for index in range(len(wanted))) == min(asked, sum(amounts))
    if asked + sum(amount for _, _, amount in others) <= sum(amounts):
        assert all(by_asker[index] == one[2] for index, one in enumerate((*wanted, *others)))


def test_tokens_are_looked_for_in_the_nearest_hour() -> None:
    """An answer that ended at eleven was counted at ten; the hour after it belongs to somebody else."""
    shares = list(spread([(10, 0), (11, 0), (12, 0)], [80, 20, 100], [(11, 0, 100), (12, 0, 100)]))
    assert (0, 80, 0) in shares
    assert (1, 20, 0) in shares
    assert (2, 100, 1) in shares


def test_an_hour_that_comes_twice_is_two_hours_and_a_day_without_midnight_begins_at_one(
    tmp_path: Path, zone: pytest.MonkeyPatch
) -> None:
    set_zone(zone, "Europe/Berlin")
    first = 1_792_886_400.0 + 900  # 2026-10-25 00:15 UTC: 02:15 by the clock, in summer time
    db = Database.open(tmp_path / "studio.db")
    for number, at in enumerate((first, first + 3600, first + 7200)):
        request = CompletedRequest(at, "chat", "stop", id=str(number), model="m", prompt_tokens=10**number)
        RequestRows(db).record(request)
    made = report(db, UsageQuery(by="hour", days=1), now=first + 8 * 3600)
    assert [(row.key, row.total_tokens) for row in made.hours] == [
        ("2026-10-25T03:00+01:00", 100),
        ("2026-10-25T02:00+01:00", 10),
        ("2026-10-25T02:00+02:00", 1),
    ]
    assert [(row.key, row.total_tokens) for row in made.daily] == [("2026-10-25", 111)]
    assert (made.heatmap[6][2].tokens, made.heatmap[6][3].tokens, made.zone) == (11, 100, "CET")
    assert [row.key for row in made.weeks] == ["2026-W43"]
    db.close()
    set_zone(zone, "America/Sao_Paulo")  # in 2018 its clock was put forward at midnight
    day = local_time.day_of(1_541_300_400.0)
    assert local_time.date_of(day) == "2018-11-04"
    assert local_time.moment(local_time.begin_of(day)).hour == 1
    assert local_time.begin_of(day + 1) - local_time.begin_of(day) == 23 * 3600


@pytest.mark.parametrize(
    "zone_name", ["UTC", "Europe/Berlin", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "America/Santiago"]
)
def test_a_day_begins_with_its_first_second(zone_name: str, zone: pytest.MonkeyPatch) -> None:
    set_zone(zone, zone_name)
    for day in range(17_000, 21_000):
        begin = local_time.begin_of(day)
        assert local_time.day_of(begin) == day > local_time.day_of(begin - 1)


def test_a_week_has_the_number_of_its_thursday() -> None:
    import datetime

    for day in range(15_000, 24_000):
        year, week, _ = (datetime.date(1970, 1, 1) + datetime.timedelta(day)).isocalendar()
        assert local_time.week_of(day) == f"{year:04d}-W{week:02d}"
