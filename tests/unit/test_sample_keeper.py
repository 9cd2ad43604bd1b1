"""Who keeps samples: one of several programs, the next one when it ends; no disk hurts the sampler."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from tests.disks import fill, read_only, small_disk
from vllm_studio_tui.domain.gpus import GpuReport
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.series import HostSeries
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.watching.history import History
from vllm_studio_tui.services.watching.sample_keeper import SampleKeeper, samples_file
from vllm_studio_tui.services.watching.timeline import Timeline
from vllm_studio_tui.store.sample_reader import SampleReader

CPU = HostSeries.CPU
BEGIN = 4166 * 432_000.0


class Program:
    """A program that samples, with a clock that is moved by hand."""

    def __init__(self, places: Places, *, pace: float = 1.0, at: float = BEGIN, size: int = 8) -> None:
        self.now = at
        self._pace = pace
        self.history = History(pace)
        self.keeper = SampleKeeper(places, self.history, dict, size=lambda: size, clock=lambda: self.now)
        self.reader = SampleReader(samples_file(places), clock=lambda: self.now)

    def watch(self, seconds: float, value: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.history.record(Tick(self.now, GpuReport(self.now), Host(cpu=value)))
            self.now += self._pace

    def end(self) -> None:
        self.keeper._stop.set()
        self.keeper._run()

    def kept(self, since: float, until: float, columns: int) -> list[float | None]:
        return self.reader.over([CPU], since, until, columns)[CPU]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path)


def test_what_was_sampled_is_there_after_the_program_has_ended(places: Places) -> None:
    one = Program(places)
    one.watch(95, 4.0)
    one.keeper.keep()
    one.watch(3, 8.0)
    one.end()
    after = Program(places, at=one.now)
    line = Timeline(lambda: after.history, after.reader, clock=lambda: after.now)
    assert line.over([CPU], BEGIN, BEGIN + 100, 10)[CPU] == [4.0] * 9 + [pytest.approx(5.5)]


def test_of_two_programs_one_writes_and_the_other_goes_on_where_it_ended(places: Places) -> None:
    first, second = Program(places), Program(places)
    first.watch(120, 1.0)
    second.watch(120, 2.0)
    for one in (first, second):
        one.keeper.keep()
    assert (first.keeper.writing, second.keeper.writing) == (True, False)
    assert second.kept(BEGIN, BEGIN + 120, 12) == [1.0] * 12
    second.watch(60, 2.0)
    first.end()
    second.keeper.keep()
    assert second.keeper.writing
    assert second.kept(BEGIN, BEGIN + 180, 18) == [1.0] * 12 + [2.0] * 6, "from its own memory, without a gap"
    second.end()


def test_a_killed_program_holds_nobody_up(places: Places) -> None:
    samples_file(places).parent.mkdir(parents=True)
    lock = samples_file(places).with_suffix(".lock")
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    other.stdout.readline()
    one = Program(places)
    one.watch(60, 1.0)
    one.keeper.keep()
    assert not one.keeper.writing
    assert one.keeper.trouble is None, "somebody else does it"
    other.send_signal(signal.SIGKILL)
    other.communicate()
    one.keeper.keep()
    assert one.kept(BEGIN, BEGIN + 60, 6) == [1.0] * 6
    one.end()


def test_a_size_of_nothing_keeps_nothing(places: Places) -> None:
    one = Program(places, size=0)
    one.watch(120, 1.0)
    one.keeper.keep()
    one.end()
    assert not places.state.exists()


def test_a_full_disk_is_said_and_what_came_meanwhile_is_written_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        one = Program(Places.under(disk))
        one.watch(60, 1.0)
        one.keeper.keep()
        filler = fill(disk)
        for _ in range(9):
            one.watch(60, 2.0)
            one.keeper.keep()
        assert one.keeper.trouble is not None
        assert "full" in one.keeper.trouble
        filler.unlink()
        one.watch(60, 3.0)
        one.keeper.keep()
        assert one.keeper.trouble is None
        assert one.kept(BEGIN, BEGIN + 660, 11) == [1.0] + [2.0] * 9 + [3.0]
        one.end()


def test_where_nothing_can_be_written_samples_stay_in_memory(tmp_path: Path) -> None:
    places = Places.under(tmp_path / "home")
    places.state.mkdir(parents=True)
    with read_only(tmp_path / "home"):
        one = Program(places)
        one.watch(60, 1.0)
        one.keeper.keep()
        assert one.keeper.trouble is not None
        line = Timeline(lambda: one.history, one.reader, clock=lambda: one.now)
        assert line.over([CPU], BEGIN, BEGIN + 60, 6)[CPU] == [1.0] * 6
        one.end()


def test_what_is_kept_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    places = Places.under(tmp_path / "home")
    one = Program(places)
    one.watch(60, 1.0)
    one.end()
    with read_only(tmp_path / "home"):
        assert one.kept(BEGIN, BEGIN + 60, 6) == [1.0] * 6


def test_a_month_of_ticks_leaves_memory_and_disk_as_they_were(places: Places) -> None:
    one = Program(places, pace=300.0)
    tracemalloc.start()
    try:
        memory, disk = [], []
        for day in range(31):
            for _ in range(12):
                one.watch(7200, 10.0 + day)
                one.keeper.keep()
            memory.append(tracemalloc.get_traced_memory()[0])
            disk.append(sum(file.stat().st_size for file in samples_file(places).parent.iterdir()))
    finally:
        tracemalloc.stop()
    assert max(memory[3:]) < memory[2] + 200_000
    assert max(disk) < 4 * 1024 * 1024
    last = Timeline(lambda: None, one.reader, clock=lambda: one.now).over([CPU], one.now - 30 * 86_400, one.now, 30)[
        CPU
    ]
    assert last == pytest.approx([11.0 + day for day in range(30)])
    one.end()
