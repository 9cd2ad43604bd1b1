"""A home that was copied: what lives belongs to the original. And launches beside switches."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.house import House, until
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.keeper.files import STATE
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services.launching.launcher import Launcher


@pytest.mark.parametrize("torn", [False, True])
def test_a_copied_home_neither_adopts_nor_kills_what_the_original_runs(
    house: House, tmp_path: Path, torn: bool
) -> None:
    run = house.ready(house.launch("--grandchildren", "1", "--reparent"))
    copy = Places.under(tmp_path / "copy")
    # What is being written at this moment has another name, and is gone in the next.
    shutil.copytree(house.root, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns(".*"))
    (copied,) = read.all_runs(copy)
    if torn:
        (copied.folder / STATE).write_text("{")
        (copied,) = read.all_runs(copy)
    else:
        assert (copied.state, copied.status.reason, copied.engine_alive) == (State.FAILED, "copied", False)
    control.settle(copy)
    until(lambda: not read.view(copied.folder).lost, "its end is written")
    ended = control.stop(copied, force=True)
    assert (ended.state, ended.status.reason) == (State.FAILED, "copied")
    time.sleep(0.3)  # a keeper that was wrong would have begun to end it
    now = house.now(run)
    assert (now.state, now.engine_alive, now.keeper_alive) == (State.READY, True, True)
    house.ask(run)
    control.stop(run)
    house.check_nothing_is_left()


def test_a_home_that_was_moved_keeps_its_runs(house: House, tmp_path: Path) -> None:
    run = house.ready(house.launch())
    house.kill_keeper(run)
    house.root.rename(tmp_path / "elsewhere")
    house.root = tmp_path / "elsewhere"
    house.places = Places.under(house.root)
    (moved,) = control.settle(house.places)
    assert moved.engine_alive
    until(lambda: read.view(moved.folder).keeper_alive, "adopted")
    assert control.stop(moved).state is State.EXITED
    house.check_nothing_is_left()


def test_a_launch_beside_a_switch_of_the_same_recipe_waits_for_its_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch has stopped the old run and not started the new one: the launch must not slip in between."""
    port = free_port()
    command = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"
    recipe = Recipe.model_validate({"id": "c1", "name": "C1", "backend": "custom", "port": port, "command": command})
    launcher = Launcher(house.places, Settings(), lambda: None)  # type: ignore[arg-type, return-value]
    between, go_on = threading.Event(), threading.Event()
    make_room = launcher._make_room

    def slow(*given: Any) -> None:
        make_room(*given)
        between.set()
        go_on.wait(20)

    monkeypatch.setattr(launcher, "_make_room", slow)
    ends: dict[str, object] = {}

    def keep(name: str, work: Any) -> threading.Thread:
        def run() -> None:
            try:
                ends[name] = work(recipe)
            except LaunchRefused as refused:
                ends[name] = refused

        one = threading.Thread(target=run, name=name)
        one.start()
        return one

    switching = keep("switch", launcher.switch)
    assert between.wait(20)
    launching = keep("launch", launcher.launch)
    time.sleep(0.3)  # it would have started by now
    assert read.live_runs(house.places) == []
    go_on.set()
    switching.join(30)
    launching.join(30)
    assert isinstance(ends["switch"], read.RunView)
    assert isinstance(ends["launch"], LaunchRefused)
    assert ends["launch"].title == "c1 already runs"
    (run,) = read.live_runs(house.places)
    control.stop(run)
