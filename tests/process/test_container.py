"""An engine in a container: kept, stopped and cleaned up like any other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.process.house import House, until
from vllm_studio_tui.backends.base import LaunchContext
from vllm_studio_tui.backends.common.docker import container_command
from vllm_studio_tui.backends.custom import Custom
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.kit.ports import port_free
from vllm_studio_tui.runs import control, read


class Dock:
    """A stand-in for docker, and runs in it."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        folder.mkdir()
        self.docker = folder / "docker"
        source = Path(__file__).with_name("docker_stand_in.py").read_text()
        self.docker.write_text(source.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
        self.docker.chmod(0o700)
        self.containers = folder / "containers"

    def launch(self, flags: str = "", restart: Restart | None = None) -> read.RunView:
        port = free_port()
        recipe = Recipe.model_validate({
            "id": "boxed", "name": "Boxed", "backend": "custom", "runtime": "docker", "python_path": sys.executable,
            "docker": {"image": "org/engine:1", "gpus": False},
            "command": "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model sim " + flags,
        })  # fmt: skip
        environ = {"PATH": f"{self.docker.parent}:{os.environ['PATH']}"}
        context = LaunchContext(Settings(), "127.0.0.1", port, sys.executable, environ)
        command = container_command(recipe, Custom(), context, f"box-{port}", ())
        return self.house.launch(
            argv=command.argv,
            stop_argv=command.stop_argv,
            port=port,
            recipe="boxed",
            restart=restart,
            failures=FAILURES,
        )

    def running(self) -> list[str]:
        return [one.name for one in self.containers.iterdir() if one.name != "calls"]

    def calls(self) -> list[str]:
        return (self.containers / "calls").read_text().splitlines()


@pytest.fixture
def dock(house: House, tmp_path: Path) -> Iterator[Dock]:
    one = Dock(house, tmp_path / "dock")
    yield one
    for name in one.running():
        os.kill(int((one.containers / name).read_text()), 9)


def test_it_gets_ready_and_is_stopped_by_name(dock: Dock) -> None:
    run = dock.house.ready(dock.launch("--load-seconds 0.3"))
    assert dock.running() == [f"vllm-studio-box-{run.port}"]
    assert "Starting to load model" in dock.house.log(run)
    ended = control.stop(run)
    assert (ended.state, ended.status.reason) == (State.EXITED, "stopped")
    assert dock.running() == []
    assert dock.calls()[-1] == f"stop --time 15 vllm-studio-box-{run.port}"
    dock.house.check_nothing_is_left()


def test_a_client_that_is_killed_leaves_no_container_behind(dock: Dock) -> None:
    run = dock.house.ready(dock.launch())
    dock.house.kill_engine(run)
    until(lambda: dock.house.now(run).status.final, "noticed")
    until(lambda: dock.running() == [], "the container is stopped")
    assert run.port is not None
    assert port_free("127.0.0.1", run.port)
    dock.house.check_nothing_is_left()


def test_a_container_that_ends_is_explained(dock: Dock) -> None:
    run = dock.launch("--load-seconds 0.2 --simulate-failure oom")
    until(lambda: dock.house.now(run).status.final, "failed")
    assert dock.house.now(run).status.reason == "out_of_memory"
    dock.house.check_nothing_is_left()


@pytest.mark.parametrize("works", [True, False])
def test_a_run_may_be_put_into_a_scope_of_systemd(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """A stand-in for systemd-run that does as it does with --scope: it becomes the program. Or it refuses."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"
    program = folder / "systemd-run"
    rest = 'while [ "$1" != "--" ]; do shift; done; shift; exec "$@"' if works else "exit 1"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{rest}\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    run = house.ready(house.launch(scope=True))
    assert f"--user --scope --quiet --collect --unit=vllm-studio-{run.run_id} --" in calls.read_text()
    assert run.keeper_alive
    assert control.stop(run).state is State.EXITED
    house.check_nothing_is_left()
