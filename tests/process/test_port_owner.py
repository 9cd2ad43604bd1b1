"""Whose server answers at a run's port: only the run's own makes it ready and is counted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import House, until
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.diagnosis import diagnose_run

SERVER = str(Path(__file__).with_name("server.py"))
Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server of somebody else; its process number, once it listens."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(port: int, *options: str) -> int:
        env = {key: value for key, value in os.environ.items() if key != VARIABLE}
        one = subprocess.Popen([sys.executable, SERVER, str(port), *options], env=env)
        begun.append(one)
        until(lambda: listens(port), "the stranger listens")
        return one.pid

    yield begin
    for one in begun:
        one.kill()
        one.wait()


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def counted(house: House, run: read.RunView) -> list[object]:
    return [line["values"] for line in house.ledger(run) if line["kind"] == "counters"]


def states(house: House, run: read.RunView) -> list[object]:
    return [line["to"] for line in house.ledger(run) if line["kind"] == "move"]


def test_who_listens_before_the_launch_is_named_in_the_refusal(house: House, start: Start) -> None:
    port = free_port()
    pid = start(port, "--model", "sim")
    with pytest.raises(LaunchRefused) as refused:
        house.launch(port=port)
    assert f"Process {pid} (" in refused.value.cause


@pytest.mark.parametrize("model", ["sim", "other", None])
def test_a_stranger_that_takes_the_port_while_it_loads_is_named_and_not_counted(
    house: House, start: Start, model: str | None
) -> None:
    """Under the very name of our model, under another one, and one that answers nothing but its health."""
    loaded = house.root / "loaded"
    waits = "import os,sys,time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
    waits += "os.execv(sys.argv[2], sys.argv[2:])"
    run = house.launch(before=lambda _: (sys.executable, "-c", waits, str(loaded), sys.executable), failures=FAILURES)
    pid = start(run.port or 0, *(("--model", model) if model else ()))
    until(lambda: bool(house.now(run).status.stranger), "the stranger is seen")
    until(lambda: house.now(run).status.stranger.get("model") == model, "and says what it serves")
    status = house.now(run).status
    assert status.stranger["pid"] == pid
    suffix = f", model {model})" if model else ")"
    assert status.heard is not None
    assert status.heard.startswith(f"another server answers on :{run.port} (pid {pid}, ")
    assert status.heard.endswith(suffix)
    loaded.touch()
    until(lambda: house.now(run).status.final, "our engine could not have the port")
    status = house.now(run).status
    assert status.reason == "port_in_use"
    assert f"pid {pid}, " in (status.title or "")
    assert (status.title or "").endswith(suffix)
    assert diagnose_run(house.now(run), FAILURES).title == status.title
    assert status.ready_at is None
    assert "ready" not in states(house, run)
    assert counted(house, run) == []


def test_the_commands_name_who_has_the_port_of_a_loading_run(house: House, start: Start) -> None:
    run = house.launch("--load-seconds", "60", failures=FAILURES)
    pid = start(run.port or 0, "--model", "theirs")
    until(lambda: house.now(run).status.stranger.get("model") == "theirs", "the stranger is seen")
    words = f"another server answers on :{run.port} (pid {pid}, "
    for command in (("status",), ("status", "--json"), ("diagnose", run.run_id), ("diagnose", run.run_id, "--json")):
        done = subprocess.run(
            [sys.executable, "-m", "vllm_studio_tui", *command],
            env={**os.environ, "VLLM_STUDIO_HOME": str(house.root)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert words in done.stdout, command
    control.stop(run)


def test_an_engine_that_says_that_it_serves_while_a_stranger_has_its_port_is_ended(
    house: House, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'vllm_studio_tui.keeper' in sys.orig_argv:\n"
        "    from vllm_studio_tui.keeper import readiness\n    assert readiness.PATIENCE > 10\n"
        "    readiness.PATIENCE = 1.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = house.launch(argv=(sys.executable, SERVER, "0", "--say", "INFO: Application startup complete."))
    pid = start(run.port or 0, "--model", "theirs")
    until(lambda: house.now(run).status.final, "ended")
    status = house.now(run).status
    assert status.reason == "port_in_use"
    assert f"pid {pid}, " in (status.title or "")
    assert (status.title or "").endswith("model theirs)")


def test_a_stranger_that_takes_the_port_of_a_ready_run_is_named_and_not_counted(house: House, start: Start) -> None:
    argv = (sys.executable, SERVER, "{port}", "--model", "sim")
    run = house.ready(launch(house, argv))
    until(lambda: len(counted(house, run)) == 1, "counted")
    os.kill(run.status.pid or 0, signal.SIGUSR1)
    until(lambda: not listens(run.port or 0), "its port is free")
    pid = start(run.port or 0, "--model", "sim")
    until(lambda: house.now(run).status.stranger.get("pid") == pid, "the stranger is seen")
    now = house.now(run)
    assert now.state is State.UNHEALTHY
    assert (now.status.title or "").startswith(f"another server answers on :{run.port} (pid {pid}, ")
    control.stop(run)
    assert len(counted(house, run)) == 1
    assert listens(run.port or 0)


def test_a_stranger_that_shares_the_port_keeps_it_from_being_ready(house: House, start: Start) -> None:
    """SO_REUSEPORT, as vLLM and llama.cpp set it: the kernel hands connections to either."""
    run = house.ready(launch(house, (sys.executable, SERVER, "{port}", "--model", "sim", "--reuse-port")))
    pid = start(run.port or 0, "--model", "sim", "--reuse-port")
    until(lambda: house.now(run).state is State.UNHEALTHY, "noticed")
    assert f"another server shares :{run.port} (pid {pid}, " in (house.now(run).status.title or "")
    os.kill(pid, signal.SIGKILL)
    until(lambda: house.now(run).state is State.READY, "alone again")
    assert house.now(run).status.stranger == {}
    control.stop(run)


def test_a_worker_without_parent_session_and_environment_is_still_ours(house: House) -> None:
    run = house.ready(launch(house, (sys.executable, SERVER, "{port}", "--model", "sim", "--detach")))
    assert run.status.stranger == {}
    control.stop(run)
    house.check_nothing_is_left()


def test_an_adopted_run_knows_its_own_server(house: House) -> None:
    run = house.ready(launch(house, (sys.executable, SERVER, "{port}", "--model", "sim", "--detach")))
    house.kill_keeper(run)
    before = len(counted(house, run))
    control.settle(house.places)
    until(lambda: house.now(run).keeper_alive and house.now(run).status.adopted, "adopted")
    until(lambda: len(counted(house, run)) > before, "its new keeper counts")
    control.stop(run)
    assert "unhealthy" not in states(house, run)
    house.check_nothing_is_left()


@pytest.mark.parametrize(
    ("options", "heard"),
    [
        (("--health", "500"), "/health answers 500"),
        (("--bind-only",), "port {port} is bound, not listening"),
    ],
)
def test_what_the_probe_hears_while_it_loads_is_kept(house: House, options: tuple[str, ...], heard: str) -> None:
    run = launch(house, (sys.executable, SERVER, "{port}", *options))
    wanted = heard.format(port=run.port)
    until(lambda: house.now(run).status.heard == wanted, wanted)
    assert house.now(run).status.heard_at is not None
    control.stop(run)
    assert house.now(run).status.heard is None
    house.check_nothing_is_left()


def launch(house: House, argv: tuple[str, ...]) -> read.RunView:
    port = free_port()
    return house.launch(argv=tuple(one.format(port=port) for one in argv), port=port)
