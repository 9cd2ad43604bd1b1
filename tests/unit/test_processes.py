"""Processes of runs and on GPUs: the tree, what a signal would do, signals. The processes are real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.family import Family, wait_for
from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.processes import Process, ProcessRow, as_tree
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.sample import Host, Tick
from vllm_studio_tui.kit import process as kit
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes import process_table
from vllm_studio_tui.probes.process_table import OnGpus, ProcessTable, RunRoots, command_of
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching import processes as service
from vllm_studio_tui.services.watching.processes import Processes
from vllm_studio_tui.services.watching.snapshot import Snapshot

MIB = 1024**2


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path, more=("--api-key", "sk-verysecretindeed"))
    yield made
    made.end()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path, deaf=True)
    yield made
    made.end()


def report(*using: tuple[int, int, int], user: str | None = None) -> GpuReport:
    """What a driver says of processes, given by GPU, number and MiB."""
    gpus = [
        Gpu(index, f"GPU-{index}", "H100", processes=tuple(GpuProcess(pid, user, gpu_memory=size * MIB)
            for at, pid, size in using if at == index))
        for index in sorted({at for at, _, _ in using})
    ]  # fmt: skip
    return GpuReport(time.time(), tuple(gpus))


def run_of(family: Family, state: State = State.READY, **status: object) -> RunView:
    told = RunState("qwen-1", state, pid=family.pids[0], pid_start=family.starts[0], **status)  # type: ignore[arg-type]
    return RunView(Path("/nowhere/qwen-1"), "qwen-1", None, told, True, True, False)


def watching(
    tmp_path: Path, gpus: GpuReport, runs: tuple[RunView, ...] = (), engines: dict[str, EngineMetrics] | None = None
) -> Processes:
    def latest() -> Snapshot:
        return Snapshot(Tick(time.time(), gpus, Host(), engines or {}), runs, runs)

    return Processes(Places.under(tmp_path), latest, lambda: gpus)


def shape(rows: tuple[ProcessRow, ...], pids: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(row.process.pid, row.depth) for row in rows if row.process.pid in pids]


# --- the tree ---------------------------------------------------------------------------------------------


def test_a_run_is_shown_as_the_whole_tree_of_its_processes(tmp_path: Path, family: Family) -> None:
    rows = watching(tmp_path, report((1, family.pids[2], 71)), (run_of(family),)).tree()
    first, second, third = family.pids
    assert shape(rows, family.pids) == [(first, 0), (second, 1), (third, 2)]
    assert rows[0].process.pid == first, "what started it is not of the run"
    assert {row.process.run_id for row in rows} == {"qwen-1"} and all(row.process.ours for row in rows)
    worker = rows[2].process
    assert (worker.gpus, worker.gpu_memory) == ((1,), 71 * MIB)
    assert worker.memory and worker.seconds is not None and worker.user
    assert "sk-verysecretindeed" not in str(rows), "a command line is shown without its secrets"


def test_a_worker_that_left_the_tree_is_known_by_what_its_keeper_saw(tmp_path: Path, family: Family) -> None:
    run = run_of(family, members={str(family.pids[2]): family.starts[2]})
    os.kill(family.pids[1], signal.SIGKILL)  # its child is an orphan now
    wait_for(lambda: (found := kit.stat(family.pids[2])) is not None and found.parent != family.pids[1])
    rows = watching(tmp_path, report((0, 1, 1)), (run,)).tree()
    assert family.pids[2] in [row.process.pid for row in rows if row.process.run_id == "qwen-1"]


def test_who_holds_a_gpu_is_shown_with_its_parents_and_not_as_ours(tmp_path: Path, family: Family) -> None:
    rows = watching(tmp_path, report((0, family.pids[2], 600), (1, family.pids[2], 14))).tree()
    chain = {row.process.pid: row for row in rows}
    assert set(family.pids) <= chain.keys()
    holder = chain[family.pids[2]].process
    assert (holder.gpus, holder.gpu_memory, holder.ours) == ((0, 1), 614 * MIB, False)
    assert chain[family.pids[1]].depth == chain[family.pids[2]].depth - 1
    assert not {row.process.pid for row in rows} & {1}


def test_parents_end_below_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(pid: int, parent: int, name: str) -> process_table._Now:
        return process_table._Now(pid, name, "S", parent, pid, 10 + pid, 0, 0)

    table = {
        one.pid: one
        for one in (
            one(1, 0, "systemd"),
            one(5, 1, "sshd"),
            one(6, 5, "zsh"),
            one(7, 6, "jupyter"),
            one(8, 7, "python3"),
        )
    }
    assert list(process_table._parents(8, table)) == [7]


def test_a_number_that_is_not_to_be_seen_here_is_shown_as_the_driver_tells_it(tmp_path: Path) -> None:
    rows = watching(tmp_path, report((3, 5_060_412, 614), user="alice")).tree()
    assert [(row.process.pid, row.process.user, row.process.start) for row in rows] == [(5_060_412, "alice", 0)]


def test_the_use_of_a_cpu_is_that_between_two_looks(tmp_path: Path) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        looked = watching(tmp_path, report((0, busy.pid, 1)))
        assert next(row.process.cpu for row in looked.tree() if row.process.pid == busy.pid) is None
        found = next(row.process.cpu for row in looked.tree(seconds=0.3) if row.process.pid == busy.pid)
        time.sleep(0.3)
        found = next(row.process.cpu for row in looked.tree() if row.process.pid == busy.pid)
        assert found is not None and 5 < found <= 130
    finally:
        busy.kill()
        busy.wait()


def test_a_tick_reads_only_the_processes_that_are_shown(monkeypatch: pytest.MonkeyPatch, family: Family) -> None:
    table = ProcessTable()
    runs = [RunRoots("qwen-1", ((family.pids[0], family.starts[0]),))]
    assert len(table.read({}, runs)) == 3
    monkeypatch.setattr(process_table, "_all_pids", lambda: pytest.fail("it went through all processes"))
    monkeypatch.setattr(process_table, "_last_pid", lambda: table._last_pid)
    assert len(table.read({}, runs)) == 3
    os.kill(family.pids[2], signal.SIGKILL)
    wait_for(lambda: not kit.alive(family.pids[2], family.starts[2]))
    left = [one.pid for one in table.read({}, runs) if one.state != "Z"]
    assert left == list(family.pids[:2]), "who has gone is not shown until the next look at all"


def test_what_is_new_is_found_at_the_next_look_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process_table, "SCAN_EVERY", 0.0)
    monkeypatch.setattr(process_table, "SCAN_SHARE", 0.0)
    table = ProcessTable()
    own = [RunRoots("self", ((os.getpid(), kit.start_ticks(os.getpid()) or 0),))]
    before = {one.pid for one in table.read({}, own)}
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert {one.pid for one in table.read({}, own)} - before == {child.pid}
    finally:
        child.kill()
        child.wait()


def test_one_that_took_over_a_number_is_not_taken_for_the_other(family: Family) -> None:
    table = ProcessTable()
    assert table.read({}, [RunRoots("qwen-1", ((family.pids[0], family.starts[0] - 1),))]) == []
    assert table.read({}, [RunRoots("qwen-1", (), {family.pids[0]: family.starts[0] - 1})]) == []


def test_the_driver_names_one_process_of_several_gpus() -> None:
    found = service.on_gpus(report((0, 7, 3), (2, 7, 4), (2, 8, 5)))
    assert found[7] == OnGpus((0, 2), 7 * MIB)
    assert found[8].memory == 5 * MIB


@pytest.mark.parametrize(
    ("argv", "name", "words"),
    [
        (["/usr/bin/python3.12", "/opt/venv/bin/vllm", "serve", "Qwen/Qwen3"], "python3.12", "vllm serve Qwen/Qwen3"),
        (["python3", "-u", "-m", "sglang.launch_server", "--port", "1"], "python3", "sglang.launch_server --port 1"),
        (["VLLM::Worker_TP0", "", ""], "VLLM::Worker", "VLLM::Worker_TP0"),
        (["python3", "-c", "import x"], "python3", "python3 -c import x"),
        (["/venv/bin/python", "/opt/bin/python3", "-m", "serve", "x"], "python", "serve x"),
        (["python", *["python"] * 190, "a.py"], "python", "a.py"),
        ([], "kworker/0:1", "kworker/0:1"),
        (["/usr/local/bin/llama-server", "-m", "a.gguf"], "llama-server", "llama-server -m a.gguf"),
    ],
)
def test_a_command_is_told_without_what_stands_before_it(argv: list[str], name: str, words: str) -> None:
    assert command_of(argv, name) == words


def test_a_tree_holds_each_process_once_whatever_they_say_of_their_parents() -> None:
    circle = [Process(1, parent=2, start=1), Process(2, parent=1, start=2), Process(3, parent=3, start=3)]
    assert sorted(row.process.pid for row in as_tree([*circle, Process(4, parent=2, start=4)])) == [1, 2, 3, 4]


def test_siblings_are_ordered_by_what_is_asked_and_children_stay_below_their_parents() -> None:
    some = [
        Process(1, start=1, gpu_memory=None),
        Process(2, parent=1, start=2, gpu_memory=5),
        Process(3, parent=1, start=3, gpu_memory=9),
        Process(4, start=4, gpu_memory=12),
        Process(5, start=5),
    ]

    def memory(family: object) -> int | None:
        known = [one.gpu_memory for one in family if one.gpu_memory is not None]  # type: ignore[attr-defined]
        return sum(known) if known else None

    rows = as_tree(some, memory, falling=True)
    assert [row.process.pid for row in rows] == [1, 3, 2, 4, 5]
    assert [row.last for row in rows] == [(), (False,), (True,), (), ()]
    assert [row.process.pid for row in as_tree(some, memory)] == [4, 1, 2, 3, 5], "unknown ones come last either way"


# --- what a signal would do -------------------------------------------------------------------------------


def test_the_consequence_for_a_run_names_it_its_requests_and_how_many_end(tmp_path: Path, family: Family) -> None:
    looked = watching(
        tmp_path, report((0, family.pids[2], 9)), (run_of(family),), {"qwen-1": EngineMetrics(running=30, waiting=6)}
    )
    told = looked.consequence(family.pids[0])
    assert (told.run_id, told.requests, told.ends, told.refusal) == ("qwen-1", 36, 3, None)
    assert told.words[0] == f"It is {told.run}, ready: 3 processes end with it."
    assert "36 requests" in " ".join(told.words)
    assert "a part of" in looked.consequence(family.pids[2]).words[0]


def test_the_consequence_for_one_of_somebody_else_says_what_it_holds_and_offers_no_kill(
    tmp_path: Path, family: Family
) -> None:
    told = watching(tmp_path, report((3, family.pids[2], 614))).consequence(family.pids[1])
    assert (told.run_id, told.ends) == (None, 2)
    assert "614 MiB of GPU 3" in " ".join(told.words) and "no run of this studio" in told.words[0]
    assert told.signals[0] == "TERM" and "KILL" not in told.signals


def test_only_what_is_in_the_list_can_be_signalled(tmp_path: Path, family: Family) -> None:
    looked = watching(tmp_path, report((0, 5_060_412, 1)))
    with pytest.raises(NotFound):
        looked.consequence(family.pids[0])
    sent = looked.signal([(family.pids[0], family.starts[0]), (5_060_412, 0)], "TERM")
    assert [one.sent for one in sent] == [None, None]
    assert "cannot be reached" in sent[1].words
    assert all(kit.alive(pid, None) for pid in family.pids)


def test_a_signal_reaches_the_very_process_and_no_later_one_of_its_number(tmp_path: Path, family: Family) -> None:
    looked = watching(tmp_path, report((0, family.pids[2], 9)), (run_of(family),))
    pid, start = family.pids[2], family.starts[2]
    assert looked.signal([(pid, start - 1)], "TERM")[0].sent is None
    assert kit.alive(pid, start)
    assert looked.signal([(pid, start)], "sigterm")[0].sent == "TERM"
    wait_for(lambda: not kit.alive(pid, start))
    with pytest.raises(UsageError):
        looked.signal([(pid, start)], "SEGV")


def test_one_of_somebody_else_is_asked_to_end_before_it_is_killed(
    tmp_path: Path, deaf: Family, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "GRACE", 0.2)
    looked = watching(tmp_path, report((0, deaf.pids[2], 9), (1, family.pids[2], 9)))
    hears = looked.signal([(family.pids[2], family.starts[2])], "KILL")[0]
    assert (hears.sent, "did" in hears.words) == ("TERM", True)
    stubborn = looked.signal([(deaf.pids[2], deaf.starts[2])], "KILL")[0]
    assert stubborn.sent == "KILL" and "asked to end first" in stubborn.words
    wait_for(lambda: not kit.alive(deaf.pids[2], None))
    # Once it was asked, it may be killed at once.
    assert looked.signal([(deaf.pids[1], deaf.starts[1])], "TERM")[0].sent == "TERM"
    assert "KILL" in looked.consequence(deaf.pids[1]).signals


def test_this_program_is_not_signalled(tmp_path: Path) -> None:
    looked = watching(tmp_path, report((0, os.getpid(), 9)))
    assert "this studio" in (looked.consequence(os.getpid()).refusal or "")
    assert looked.signal([(os.getpid(), kit.start_ticks(os.getpid()) or 0)], "TERM")[0].sent is None


def test_signals_work_where_the_kernel_has_no_pidfd(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", none)
    pid, start = family.pids[2], family.starts[2]
    with pytest.raises(ProcessLookupError):
        kit.send_or_raise(pid, start + 1, signal.SIGTERM)
    kit.send_or_raise(pid, start, signal.SIGTERM)
    wait_for(lambda: not kit.alive(pid, start))


# --- environment ------------------------------------------------------------------------------------------


def test_an_environment_is_shown_without_its_secrets(tmp_path: Path, family: Family) -> None:
    looked = watching(tmp_path, report((0, family.pids[2], 9)))
    found = dict(looked.environment(family.pids[2], family.starts[2]))
    assert found["HF_TOKEN"] == "***" and found["PLAIN"] == "yes\x1b[31m"
    assert list(found) == sorted(found)
    with pytest.raises(NotFound):
        looked.environment(family.pids[2], family.starts[2] + 1)
    with pytest.raises(NotFound):
        looked.environment(1, kit.start_ticks(1) or 0)
