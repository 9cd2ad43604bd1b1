"""The life of a run under its keeper, with a simulated engine that can be hurt."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.disks import fill, small_disk
from tests.ports import free_port
from tests.process.cluster import Cluster
from tests.process.house import House, until
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart, Stop
from vllm_studio_tui.keeper.files import STATE
from vllm_studio_tui.kit import process
from vllm_studio_tui.runs import control, read

SERVER = str(Path(__file__).with_name("server.py"))


def test_a_run_gets_ready_answers_and_leaves_nothing_when_stopped(house: House) -> None:
    run = house.ready(house.launch("--load-seconds", "0.5"))
    assert run.engine_alive
    assert run.keeper_alive
    spent = house.ask(run)
    ended = control.stop(run)
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped")
    values = [line["values"] for line in house.ledger(run) if line["kind"] == "counters"]
    assert values[-1] == {"prompt_tokens": spent[0], "generation_tokens": spent[1], "requests": 1}
    house.check_nothing_is_left()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_keeper_whose_run_is_ready_sleeps(house: House, tmp_path: Path, elsewhere: bool) -> None:
    cluster = Cluster(tmp_path / "cluster") if elsewhere else None
    try:
        run = house.ready(house.launch(follow=cluster.place if cluster else None))
        keeper = run.status.keeper_pid
        assert keeper is not None
        time.sleep(1.0)  # what is done once after a start
        before, began = cpu_seconds(keeper), time.monotonic()
        time.sleep(3.0)
        share = (cpu_seconds(keeper) - before) / (time.monotonic() - began)
        assert share < 0.1, share  # it probes five times a second here; one that never sleeps takes all that it can get
        control.stop(house.now(run))
    finally:
        if cluster is not None:
            cluster.end()
    house.check_nothing_is_left()


def test_stages_and_their_progress_are_seen_while_it_loads(house: House) -> None:
    said = "Loading safetensors checkpoint shards:  25% Completed | 2/8"
    run = house.launch(argv=(sys.executable, SERVER, "0", "--say", said))  # it says no more
    until(lambda: (house.now(run).status.stage, house.now(run).status.progress) == ("weights", 0.25), "how far it is")
    until(lambda: house.now(run).state is State.LOADING, "loading")
    control.stop(run)
    house.check_nothing_is_left()


def test_the_launching_command_may_be_killed_at_once(house: House) -> None:
    script = (
        "import sys,os,signal; from pathlib import Path; from tests.process.house import House;"
        "h=House.__new__(House); from vllm_studio_tui.kit.paths import Places;"
        "h.root=Path(sys.argv[1]); h.places=Places.under(h.root); h.accounts=h.root/'accounts';"
        "h.launch('--load-seconds','0.3'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(house.root)], cwd=root, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    (run,) = read.live_runs(house.places)
    house.ready(run)
    control.stop(run)
    house.check_nothing_is_left()


def test_an_engine_that_ignores_sigterm_is_killed_after_its_grace(house: House) -> None:
    run = house.ready(house.launch("--ignore-term", stop=Stop(leader_grace=0.3, tree_grace=0.3)))
    ended = control.stop(run)
    assert (ended.state, ended.status.exit_signal) == (State.EXITED, signal.SIGKILL)
    house.check_nothing_is_left()


def test_a_second_term_kills_at_once(house: House) -> None:
    run = house.ready(house.launch("--ignore-term", stop=Stop(leader_grace=60, tree_grace=60)))
    began = time.monotonic()
    ended = control.stop(run, force=True)
    assert ended.state is State.EXITED
    assert time.monotonic() - began < 50
    house.check_nothing_is_left()


@pytest.mark.parametrize("kind", ["leader dies", "stopped"])
def test_reparented_grandchildren_end_with_their_run(house: House, kind: str) -> None:
    run = house.ready(house.launch("--grandchildren", "3", "--reparent"))
    until(lambda: len(house.ours()) >= 5, "engine, keeper and three workers")
    if kind == "stopped":
        control.stop(run)
    else:
        house.kill_engine(run)
        until(lambda: house.now(run).status.final, "the run has ended")
        assert house.now(run).status.exit_signal == signal.SIGKILL
    house.check_nothing_is_left()


def test_grandchildren_are_found_after_keeper_and_engine_were_killed(house: House) -> None:
    run = house.ready(house.launch("--grandchildren", "2", "--reparent"))
    until(lambda: len(house.ours()) >= 4, "engine, keeper and two workers")
    house.kill_keeper(run)
    house.kill_engine(run)
    until(lambda: not house.now(run).engine_alive, "engine gone")
    assert house.now(run).status.reason == "keeper_lost"
    control.settle(house.places)
    until(lambda: not house.now(run).lost, "its end is written")
    house.check_nothing_is_left()


def test_an_adopted_engine_is_watched_counted_and_stopped(house: House) -> None:
    run = house.ready(house.launch())
    pid = run.status.pid
    house.kill_keeper(run)
    now = house.now(run)
    assert now.engine_alive
    assert now.state is State.READY
    assert not now.keeper_alive
    control.settle(house.places)
    spent = house.ask(run)
    until(lambda: house.now(run).keeper_alive, "a new keeper")
    until(lambda: house.now(run).status.adopted, "adopted")
    assert house.now(run).status.pid == pid
    ended = control.stop(run)
    assert ended.state is State.EXITED
    assert ended.status.exit_code is None
    values = [line["values"] for line in house.ledger(run) if line["kind"] == "counters"]
    assert values[-1] == {"prompt_tokens": spent[0], "generation_tokens": spent[1], "requests": 1}
    house.check_nothing_is_left()


def test_only_one_of_many_adopters_gets_the_run(house: House) -> None:
    run = house.ready(house.launch())
    house.kill_keeper(run)
    threads = [threading.Thread(target=control.settle, args=(house.places,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: house.now(run).status.adopted, "adopted")
    until(lambda: len(keepers(house)) == 1, "the others have gone")
    keeper = house.now(run).status.keeper_pid
    assert keepers(house) == [keeper]
    control.stop(run)
    house.check_nothing_is_left()


def keepers(house: House) -> list[int]:
    found = []
    for one in house.ours():
        with contextlib.suppress(OSError):  # it has just ended
            if b"vllm_studio_tui.keeper" in Path(f"/proc/{one.pid}/cmdline").read_bytes():
                found.append(one.pid)
    return found


def test_a_torn_state_file_is_rebuilt_from_the_ledger(house: House) -> None:
    run = house.ready(house.launch())
    house.kill_keeper(run)
    (run.folder / STATE).write_bytes(b'{"run_id": "si')
    control.settle(house.places)
    until(lambda: house.now(run).keeper_alive and house.now(run).status.pid == run.status.pid, "adopted the engine")
    control.stop(run)
    house.check_nothing_is_left()


def test_two_launches_on_one_port_one_wins(house: House) -> None:
    port = free_port()
    results: list[object] = []

    def start(name: str) -> None:
        try:
            results.append(house.launch(recipe=name, port=port))
        except LaunchRefused as error:
            results.append(error)

    threads = [threading.Thread(target=start, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [one for one in results if isinstance(one, LaunchRefused)]
    (run,) = [one for one in results if isinstance(one, read.RunView)]
    assert len(refused) == 1
    assert str(port) in refused[0].title
    control.stop(run)
    house.check_nothing_is_left()


def test_gpu_claims_overlap_only_with_consent(house: House) -> None:
    run = house.launch(recipe="a", gpus=("0", "1"))
    with pytest.raises(LaunchRefused, match="GPU 1"):
        house.launch(recipe="b", gpus=("1", "2"))
    other = house.launch(recipe="c", gpus=("2",))
    control.stop(run)
    control.stop(other)
    house.check_nothing_is_left()


def test_a_core_that_died_is_started_again_although_the_exit_code_is_0(house: House) -> None:
    rule = Restart("on-failure", delay=0.05, max_delay=0.1, budget=2)
    run = house.launch("--crash-after", "0.3", "--exit-code", "0", restart=rule, failures=FAILURES)
    until(lambda: house.now(run).status.final, "given up")
    state = house.now(run).status
    assert (state.state, state.exit_code, state.restarts) == (State.FAILED, 0, 1)
    assert state.reason == "engine_died"
    house.check_nothing_is_left()


def test_a_crash_is_explained_and_restarted_until_the_budget_is_spent(house: House) -> None:
    rule = Restart("on-failure", delay=0.05, max_delay=0.1, budget=3)
    run = house.launch(argv=(sys.executable, "-c", "print('E: boom', flush=True); raise SystemExit(7)"), restart=rule)
    until(lambda: house.now(run).status.final, "given up")
    state = house.now(run).status
    assert (state.state, state.exit_code, state.restarts) == (State.FAILED, 7, 2)
    assert "exit code 7" in (state.title or "")
    assert "E: boom" in state.evidence
    assert "3 failures" in (state.advice or "")
    assert run.log.read_text().count("E: boom") == 3
    house.check_nothing_is_left()


def test_it_is_ready_again_after_a_restart(house: House) -> None:
    run = house.ready(house.launch(restart=Restart("on-failure", delay=0.05)))
    first = run.status.pid
    house.kill_engine(run)
    until(lambda: house.now(run).status.restarts == 1 and house.now(run).state is State.READY, "ready again")
    assert house.now(run).status.pid != first
    control.stop(run)
    house.check_nothing_is_left()


def test_a_keeper_killed_in_backoff_is_taken_over_and_goes_on(house: House) -> None:
    run = house.ready(house.launch(restart=Restart("on-failure", delay=600.0, max_delay=600.0)))
    house.kill_engine(run)
    until(lambda: house.now(run).state is State.BACKOFF, "backoff")
    until(lambda: bool(json.loads((run.folder / STATE).read_bytes())["next_start_at"]), "and that is written down")
    house.kill_keeper(run)
    state = json.loads((run.folder / STATE).read_bytes())
    assert state["next_start_at"] > time.time() + 60
    (run.folder / STATE).write_text(json.dumps({**state, "next_start_at": time.time() + 0.5}))  # the time has passed
    control.settle(house.places)
    until(lambda: house.now(run).state is State.READY, "ready again")
    control.stop(run)
    house.check_nothing_is_left()


def test_a_hanging_engine_is_unhealthy_and_comes_back(house: House) -> None:
    run = house.ready(house.launch())
    pid = run.status.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    until(lambda: house.now(run).state is State.UNHEALTHY, "unhealthy")
    os.kill(pid, signal.SIGCONT)
    until(lambda: house.now(run).state is State.READY, "ready")
    control.stop(run)
    house.check_nothing_is_left()


def test_an_engine_that_does_not_answer_is_started_again_under_a_policy(house: House) -> None:
    run = house.ready(house.launch(restart=Restart("on-failure", delay=0.1, hang_after=1.0)))
    pid = run.status.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    until(lambda: house.now(run).status.attempt >= 2 and house.now(run).state is State.READY, "a second attempt")
    assert house.now(run).status.pid != pid
    moves = [line for line in house.ledger(run) if line["kind"] == "move"]
    assert any(line["reason"] == "hung" for line in moves)
    control.stop(run)
    house.check_nothing_is_left()


def test_a_stage_that_is_logged_right_before_it_serves_is_marked_too(house: House) -> None:
    """As of `transformers serve`, whose weights are loaded a tenth of a second before it answers."""
    port = free_port()
    argv = (sys.executable, SERVER, str(port), "--model", "sim", "--say-first", "Starting to load model")
    run = house.ready(house.launch(argv=argv, port=port))
    until(lambda: "weights" in house.now(run).status.marks, "the stage is marked")
    now = house.now(run).status
    assert now.stage is None, "it is over"
    assert now.marks["weights"] <= (now.ready_at or 0.0) - (now.started_at or 0.0) + 0.01
    control.stop(run)
    house.check_nothing_is_left()


@pytest.mark.parametrize("policy", ["never", "on-failure"])
def test_requests_without_tokens_are_noticed(house: House, policy: str) -> None:
    restart = Restart(policy, delay=0.1, stall_after=1.0)
    run = house.ready(house.launch("--prefill-seconds", "600", restart=restart))

    def ask() -> None:
        with contextlib.suppress(OSError):
            house.ask(run)

    threading.Thread(target=ask, daemon=True).start()
    if policy == "never":
        until(lambda: house.now(run).state is State.UNHEALTHY, "unhealthy")
        now = house.now(run).status
        assert "1 requests run and no token" in (now.title or "")
        assert now.pid == run.status.pid
    else:
        until(lambda: house.now(run).status.attempt >= 2 and house.now(run).state is State.READY, "a second attempt")
        assert any(line.get("reason") == "stalled" for line in house.ledger(run))
    control.stop(run)
    house.check_nothing_is_left()


def test_an_engine_that_floods_its_log_can_be_stopped_and_its_log_stays_bounded(house: House) -> None:
    run = house.ready(house.launch("--flood", "20000"))
    began = time.monotonic()
    assert control.stop(run).state is State.EXITED
    assert time.monotonic() - began < 25
    house.check_nothing_is_left()


def test_a_living_keeper_survives_the_replacement_of_its_package(house: House, tmp_path: Path) -> None:
    """An upgrade takes the files away under a keeper: from then on it can import nothing any more."""
    copy = tmp_path / "site"
    source = Path(control.__file__).parents[1]
    shutil.copytree(source, copy / "vllm_studio_tui", ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import sys,os; from pathlib import Path; sys.path.append(sys.argv[2]);"
        "from tests.process.house import House; from vllm_studio_tui.kit.paths import Places; import vllm_studio_tui;"
        "assert vllm_studio_tui.__file__.startswith(sys.argv[1]), vllm_studio_tui.__file__;"
        "h=House.__new__(House); h.root=Path(sys.argv[3]); h.places=Places.under(h.root);"
        "h.accounts=h.root/'accounts'; from vllm_studio_tui.domain.spec import Restart;"
        "h.launch(restart=Restart('on-failure', delay=0.05))"
    )
    root = str(Path(__file__).parents[2])
    environ = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-c", script, str(copy), root, str(house.root)], check=True, timeout=30, env=environ, cwd="/"
    )
    (run,) = read.live_runs(house.places)
    run = house.ready(run)
    shutil.rmtree(copy)
    house.ask(run)
    assert run.status.pid is not None
    os.kill(run.status.pid, signal.SIGSTOP)
    until(lambda: house.now(run).state is State.UNHEALTHY, "unhealthy")
    os.kill(run.status.pid, signal.SIGCONT)
    until(lambda: house.now(run).state is State.READY, "ready")
    house.kill_engine(run)  # the restart finds the new version, as after an upgrade
    until(lambda: house.now(run).status.restarts == 1 and house.now(run).state is State.READY, "ready again")
    control.stop(run)
    assert "Traceback" not in (run.folder / "keeper.log").read_text()
    house.check_nothing_is_left()


def test_a_disk_that_is_full_loses_nothing_when_there_is_room_again(house: House, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        small = House(disk / "home")
        run = small.ready(small.launch())
        with small.standing(run):
            ballast = fill(disk)
        small.ask(run)
        small.kill_engine(run)
        until(lambda: not small.now(run).engine_alive, "engine gone")
        state = json.loads((run.folder / STATE).read_bytes())
        assert state["state"] == "ready", "the old state is whole"
        ballast.unlink()
        until(lambda: small.now(run).status.final, "the end is written when there is room")
        small.check_nothing_is_left()


def test_stopping_a_run_whose_keeper_and_engine_are_dead_settles_it(house: House) -> None:
    run = house.ready(house.launch())
    house.kill_engine(run)
    house.kill_keeper(run)
    ended = control.stop(run)
    assert ended.status.final
    assert process.alive(ended.status.keeper_pid, ended.status.keeper_start) is False
    house.check_nothing_is_left()
