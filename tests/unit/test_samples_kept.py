"""Samples on the disk: what is read is what was written, whatever its age; no peak is lost; the size is held."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.store.sample_blocks import STEPS, TIERS, Block
from vllm_studio_tui.store.sample_reader import SampleReader
from vllm_studio_tui.store.sample_writer import SampleWriter

MIB = 1024 * 1024
DAY = 86_400
HALF_AN_HOUR = 1800
#: A whole multiple of every block.
BEGIN = 4166 * 432_000
OUT = "run/r1/out"
values = st.floats(-1e9, 1e9, width=32)
steps = st.tuples(values, values, values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "here" / "samples.db"


def reader(path: Path, now: float) -> SampleReader:
    return SampleReader(path, clock=lambda: now)


def bytes_of(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.iterdir())


@given(st.dictionaries(st.integers(0, STEPS - 1), steps))
def test_a_block_that_was_written_is_the_same_again(known: dict[int, tuple[float, float, float]]) -> None:
    block = Block()
    for index, step in known.items():
        block.put(index, step)
    assert dict(Block.read(block.write()).known()) == known


@given(st.binary(max_size=80) | st.none() | st.text(max_size=9) | st.integers())
def test_bytes_that_are_no_block_are_an_empty_one(data: object) -> None:
    assert list(Block.read(data).known()) == []


def test_values_that_no_float_of_four_bytes_holds_are_unknown() -> None:
    block = Block()
    for index, value in enumerate((math.nan, math.inf, 1e300)):
        block.put(index, (value, value, value))
    assert list(Block.read(block.write()).known()) == []


def test_what_is_left_of_a_step_is_added_to_what_was_known_of_it() -> None:
    block = Block()
    block.add(3, (2.0, 1.0, 3.0))
    block.add(3, (4.0, 4.0, 9.0))
    assert dict(block.known()) == {3: (3.0, 1.0, 9.0)}


@settings(max_examples=12, deadline=None)
@given(st.lists(st.none() | st.floats(0, 1e6, width=32), min_size=200, max_size=400), st.integers(1, 40), st.data())
def test_any_part_of_it_is_what_was_put_in(
    tmp_path_factory: pytest.TempPathFactory, given_values: list[float | None], columns: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("samples") / "samples.db"
    writer = SampleWriter(path, 8 * MIB)
    known = {BEGIN + index * 10: value for index, value in enumerate(given_values) if value is not None}
    end = BEGIN + len(given_values) * 10
    for begin in range(BEGIN, end, 60):  # a minute at a time, as it is done
        some = {at: (value, value - 1, value + 1) for at, value in known.items() if begin <= at < begin + 60}
        writer.write({OUT: some} if some else {}, {}, begin + 60)
    writer.close()
    first = data.draw(st.integers(0, len(given_values) - columns))
    width = data.draw(st.sampled_from([10, 30, 60, 120, 600]))
    since = BEGIN + (first * 10) // width * width
    until = since + columns * width
    found = {
        take: reader(path, end).over([OUT], since, until, columns, take=take)[OUT] for take in ("mean", "max", "min")
    }
    for column in range(columns):
        inside = [v for at, v in known.items() if since + column * width <= at < since + (column + 1) * width]
        if not inside:
            assert found["mean"][column] is None
            continue
        assert found["max"][column] == pytest.approx(max(inside) + 1)
        assert found["min"][column] == pytest.approx(min(inside) - 1)
        low, high = min(inside), max(inside)
        assert low - 1e-3 <= (found["mean"][column] or 0.0) <= high * (1 + 1e-6) + 1e-3
        if width == 10:
            assert found["mean"][column] == pytest.approx(math.fsum(inside) / len(inside), rel=1e-6)


def month(writer: SampleWriter, names: list[str], days: int) -> Iterator[float]:
    """Write days of samples, half an hour at a time; the highest of each day stands in one step alone."""
    for begin in range(BEGIN, BEGIN + days * DAY, HALF_AN_HOUR):
        made = {
            at: (
                value := 50 + (at // 10 * 7919 % 97) / 10,
                value - 1,
                1000.0 + at // DAY if at % DAY == 1020 else value,
            )
            for at in range(begin, begin + HALF_AN_HOUR, 30)
        }
        writer.write(dict.fromkeys(names, made), {"r1": "recipe"}, begin + HALF_AN_HOUR)
        yield begin + HALF_AN_HOUR


def test_a_month_of_samples_stays_under_its_size_and_no_peak_of_it_is_lost(path: Path) -> None:
    writer = SampleWriter(path, 4 * MIB)
    names = [OUT]
    sizes = [bytes_of(path) for _ in month(writer, names, 31)]
    now = BEGIN + 31 * DAY
    assert max(sizes) <= 4 * MIB
    assert max(sizes[-2 * 48 :]) <= max(sizes[-4 * 48 : -2 * 48]), "it has stopped growing"
    seen = reader(path, now)
    peaks = seen.over([OUT], now - 30 * DAY, now, 30, take="max")[OUT]
    assert peaks == [1000.0 + day for day in range((now - 30 * DAY) // DAY, now // DAY)]
    means = seen.over([OUT], now - 30 * DAY, now, 90)[OUT]
    assert means == pytest.approx([54.8] * 90, rel=0.02)
    assert seen.runs_of("recipe") == ["r1"]
    figures = seen.figures([OUT], now - 7 * DAY, now)[OUT]
    assert figures.max == 1000.0 + now // DAY - 1
    assert figures.known == pytest.approx(1.0)
    with sqlite3.connect(path) as db:
        kept = dict(db.execute("SELECT tier, COUNT(*) FROM blocks GROUP BY tier").fetchall())
    for tier in TIERS:
        assert kept[tier.step] <= (tier.keep // tier.block + 3)
    writer.close()


def noise(writer: SampleWriter, names: list[str], days: float) -> Iterator[float]:
    """Write samples that hardly can be compressed, half an hour at a time."""
    rolls = random.Random(7)
    for begin in range(BEGIN, int(BEGIN + days * DAY), HALF_AN_HOUR):
        made = {}
        for at in range(begin, begin + HALF_AN_HOUR, 10):
            low, mean, high = sorted((rolls.random(), rolls.random(), rolls.random()))
            made[at] = mean, low, high
        writer.write(dict.fromkeys(names, made), {}, begin + HALF_AN_HOUR)
        yield begin + HALF_AN_HOUR


def test_where_there_is_no_room_for_all_the_oldest_of_each_resolution_goes(path: Path) -> None:
    most = int(2.3 * MIB)
    writer = SampleWriter(path, most)
    names = [f"gpu/{number}/util" for number in range(12)]
    largest = max(bytes_of(path) for _ in noise(writer, names, 0.7))
    assert largest <= most
    now = BEGIN + int(0.7 * DAY)
    newest = reader(path, now).over([names[0]], now - 600, now, 60)[names[0]]
    assert None not in newest
    oldest = reader(path, now).over([names[0]], BEGIN, BEGIN + 600, 60)[names[0]]
    assert oldest.count(oldest[0]) == 60, "the first hours are there in steps of ten minutes at most"
    writer.close()


def test_a_size_that_was_made_smaller_is_held_from_then_on(path: Path) -> None:
    writer = SampleWriter(path, 16 * MIB)
    names = [f"gpu/{number}/util" for number in range(12)]
    (*_, now) = noise(writer, names, 0.7)
    writer.close()
    before = bytes_of(path)
    writer = SampleWriter(path, int(2.3 * MIB))
    writer.write({names[0]: {int(now): (1.0, 1.0, 1.0)}}, {}, now + 10)
    writer.close()
    assert bytes_of(path) < 0.4 * MIB < before


def test_a_block_that_a_killed_program_left_is_folded_by_the_next_one(path: Path) -> None:
    first = SampleWriter(path, 8 * MIB)
    first.write({OUT: {BEGIN + 590: (5.0, 4.0, 6.0)}}, {}, BEGIN + 599)
    first.close()
    second = SampleWriter(path, 8 * MIB)
    assert second.written_until == BEGIN + 599
    second.write({}, {}, BEGIN + 2000)
    second.close()
    late = BEGIN + 20 * DAY
    assert reader(path, late).over([OUT], BEGIN, BEGIN + 600, 1, take="max")[OUT] == [6.0]


def test_a_clock_that_was_wrong_and_was_put_right_loses_nothing_of_what_comes_after(path: Path) -> None:
    writer = SampleWriter(path, 8 * MIB)
    writer.write({OUT: {BEGIN + 400 * DAY: (9.0, 9.0, 9.0)}}, {}, BEGIN + 400 * DAY + 10)
    for begin in range(BEGIN, BEGIN + 3600, 60):
        writer.write({OUT: {begin: (1.0, 1.0, 2.0)}}, {}, begin + 60)
    writer.close()
    assert reader(path, BEGIN + 3600).over([OUT], BEGIN, BEGIN + 3600, 6, take="max")[OUT] == [2.0] * 6


def test_a_damaged_file_is_put_aside_and_charts_go_on(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 500)
    assert reader(path, BEGIN).over([OUT], BEGIN - 60, BEGIN, 3)[OUT] == [None] * 3
    writer = SampleWriter(path, 8 * MIB)
    writer.write({OUT: {BEGIN: (1.0, 1.0, 1.0)}}, {}, BEGIN + 10)
    writer.close()
    assert reader(path, BEGIN + 10).over([OUT], BEGIN, BEGIN + 10, 1)[OUT] == [1.0]
    assert path.with_name("samples.db.broken").read_bytes().startswith(b"no database")


def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    writer = SampleWriter(path, 8 * MIB)
    writer.write({OUT: {BEGIN: (1.0, 1.0, 1.0)}}, {}, BEGIN + 10)
    writer.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    assert reader(path, BEGIN + 10).over([OUT], BEGIN, BEGIN + 10, 1)[OUT] == [None]
    with pytest.raises(StoreError, match="newer version"):
        SampleWriter(path, 8 * MIB)


def test_names_from_outside_do_no_harm(path: Path) -> None:
    writer = SampleWriter(path, 8 * MIB)
    names = ["run/'; DROP TABLE blocks; --/out", "run/\x1b[31m/out", "x" * 5000, "run//", "\ud800"]
    writer.write({name: {BEGIN: (1.0, 1.0, 1.0)} for name in names[:4]}, {}, BEGIN + 10)
    writer.close()
    found = reader(path, BEGIN + 10).over(names[:4], BEGIN, BEGIN + 10, 1)
    assert found == {name: [1.0 if len(name) < 200 else None] for name in names[:4]}
    assert reader(path, BEGIN + 10).over(names, BEGIN, BEGIN + 10, 1)["\ud800"] == [None]
