"""Following answers at the engine: which readings count, what is kept with an answer, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.domain.answer_share import AnswerShare
from vllm_studio_tui.domain.chat import Delta, Ended, Message, Timings, TokenUsage
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.chat.answer_watch import AnswerWatch, reading_of
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.events import AnswerProgressed, AnswerSaved, AnswerStarted
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

RUN = "rec-1"


def run(run_id: str = RUN, gpus: tuple[str, ...] = ("0",), state: State = State.READY) -> RunView:
    spec = RunSpec(
        run_id=run_id, recipe_id="rec", name="rec", backend="vllm", model="m", argv=("x",), host="127.0.0.1", port=1,
        base_url="http://127.0.0.1:1/v1", created_at=1.0, gpus=gpus,
    )  # fmt: skip
    alive = state is State.READY
    return RunView(Path("/nowhere"), run_id, spec, RunState(run_id, state), alive, alive, False)


def gpu(index: int = 0, joules: float | None = 0.0, **facts: Any) -> Gpu:
    energy = None if joules is None else round(joules * 1000)
    return Gpu(index, f"GPU-{index}", "H100", power_draw=300.0, energy_mj=energy, **facts)


def sample(at: float, *gpus: Gpu, runs: tuple[RunView, ...] = (run(),), preempted: int | None = None,
           running: int = 1, **report: Any) -> Snapshot:  # fmt: skip
    metrics = {RUN: EngineMetrics(running=running, preemptions_total=preempted)}
    return Snapshot(Tick(at, GpuReport(at, gpus, **report), Host(), metrics), runs, runs)


# --- readings -------------------------------------------------------------------------------------------


def test_a_run_has_the_gpus_that_it_was_given_or_those_that_its_processes_are_on() -> None:
    used = gpu(1, 5.0, processes=(GpuProcess(7, run_id=RUN),))
    given = reading_of(sample(1.0, gpu(0, 3.0), used), RUN)
    assert given is not None
    assert {uuid: one.joules for uuid, one in given.gpus.items()} == {"GPU-0": 3.0}
    found = reading_of(sample(1.0, gpu(0, 3.0), used, runs=(run(gpus=()),)), RUN)
    assert found is not None
    assert set(found.gpus) == {"GPU-1"}


def test_a_gpu_that_several_runs_have_says_how_many_and_one_that_ended_is_none_of_them() -> None:
    runs = (run(), run("b", ("GPU-0",)), run("c", ("0",), State.EXITED), run("d", ("1",)))
    reading = reading_of(sample(1.0, gpu(0), gpu(1), runs=runs), RUN)
    assert reading is not None
    assert reading.gpus["GPU-0"].runs == 2


def test_gpus_that_do_not_answer_make_no_reading_and_an_instance_of_a_board_no_energy() -> None:
    for shown in (
        sample(1.0, gpu(0), stale=3.0),
        sample(1.0, gpu(0, stale=2.0)),
        sample(1.0, gpu(0, lost="fell off the bus")),
    ):
        assert reading_of(shown, RUN) is None
    mig = reading_of(sample(1.0, gpu(0, mig=True), preempted=4), RUN)
    assert mig is not None
    assert (dict(mig.gpus), mig.preemptions) == ({}, 4)
    assert reading_of(sample(1.0), "another") is None


def test_metrics_that_are_old_say_nothing() -> None:
    late = replace(sample(1.0, gpu(0), preempted=4), ages={RUN: 9.0})
    reading = reading_of(late, RUN)
    assert reading is not None
    assert (reading.running, reading.preemptions) == (None, None)


# --- what is kept ---------------------------------------------------------------------------------------


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "studio.db")
    yield opened
    opened.close()


class Watched:
    """A bus that is followed, and a chat with one answer in it. Its clock shows `now`."""

    def __init__(self, db: Database) -> None:
        self.db, self.bus, self.now = db, Bus(), 1000.0
        AnswerWatch(lambda: db, self.bus, clock=lambda: self.now)
        self.rows = MessageRows(db)
        self.session = ChatService(db).new_session("x", model="m")
        self.saved: list[str | None] = []
        self.bus.subscribe(AnswerSaved, lambda event: self.saved.append(event.message_id))
        self.answer = self.rows.append(Message("", self.session, "assistant", "yes", finish="stop")).id

    def sample(self, at: float, *gpus: Gpu, preempted: int | None = None) -> None:
        self.now = at
        self.bus.publish(sample(at, *gpus, preempted=preempted))

    def start(self, at: float, run_id: str | None = RUN) -> None:
        self.now = at
        self.bus.publish(AnswerStarted(self.session, self.answer, run_id))

    def end(self, at: float, took: float | None = None) -> None:
        self.now = at
        self.bus.publish(AnswerProgressed(self.session, self.answer, Delta("yes")))
        ended = Ended("stop", TokenUsage(1, 1), Timings(total=took))
        self.bus.publish(AnswerProgressed(self.session, self.answer, ended))

    def kept(self, times: int = 1) -> AnswerShare | None:
        """What is kept of the answer, once so many were kept."""
        deadline = time.monotonic() + 10
        while len(self.saved) < times and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.saved) == times
        return AnswerShare.from_json(self.rows.get(self.answer).details.get("during"))


def test_the_share_is_kept_with_the_answer_at_the_first_reading_after_its_end(db: Database) -> None:
    one = Watched(db)
    one.sample(1000.0, gpu(0, 0.0), preempted=3)
    one.start(1002.0)
    one.sample(1004.0, gpu(0, 400.0), preempted=4)
    one.end(1006.0, took=3.0)  # a second before it was sent went into opening its tools
    assert one.kept(0) is None  # no reading since
    one.sample(1008.0, gpu(0, 1200.0), preempted=5)
    share = one.kept()
    assert share is not None
    assert share.joules == pytest.approx(100.0 + 400.0)
    assert (share.preemptions, share.alone) == (2, True)
    one.sample(1009.0, gpu(0, 5000.0), preempted=6)
    assert one.kept() == share


def test_of_an_answer_that_is_continued_both_parts_count(db: Database) -> None:
    one = Watched(db)
    for part in (1, 2):
        one.sample(1000.0 * part, gpu(0, 0.0), preempted=0)
        one.start(1000.0 * part + 1)
        one.end(1000.0 * part + 2)
        one.sample(1000.0 * part + 3, gpu(0, 300.0), preempted=part)
        one.kept(part)
    share = one.kept(2)
    assert share is not None
    assert (share.joules, share.preemptions) == (200.0, 3)


@pytest.mark.parametrize("run_id", [None, "elsewhere"])
def test_of_a_server_of_others_nothing_is_known(db: Database, run_id: str | None) -> None:
    one = Watched(db)
    one.sample(1000.0, gpu(0, 0.0), preempted=0)
    one.start(1001.0, run_id)
    one.end(1002.0)
    one.sample(1003.0, gpu(0, 100.0), preempted=7)
    assert one.kept(0) is None


def test_where_nothing_was_measured_nothing_is_kept(db: Database) -> None:
    one = Watched(db)
    one.sample(1000.0)
    one.start(1001.0)
    one.end(1002.0)
    one.sample(1003.0)  # no GPU, no counter
    assert one.kept(0) is None


def test_an_answer_that_was_deleted_meanwhile_is_no_fault(db: Database) -> None:
    one = Watched(db)
    there = one.answer
    one.sample(1000.0, gpu(0, 0.0))
    for name in ("gone", there):
        one.answer = name
        one.start(1001.0)
        one.end(1002.0)
    one.sample(1003.0, gpu(0, 300.0))
    share = one.kept()
    assert share is not None
    assert share.joules == pytest.approx(50.0)  # two shared that second
    assert one.saved == [there]
