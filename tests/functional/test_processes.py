"""The processes of the monitor: what every key does, and what is asked before a signal is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, at, cursor, fill_in, hides, shows, told
from tests.functional.stage import Staged, staged
from tests.functional.stage_processes import StillProcesses
from vllm_studio_tui.domain.processes import SIGNALS
from vllm_studio_tui.tui.screens.monitor.processes import ProcessesView

LEADER, WORKER, OTHER = "pid:48120:481200", "pid:48812:488120", "pid:60412:604120"


async def processes_shown(stage: Staged) -> None:
    view = stage.app.current.one("#processes")
    if not view.display:
        await stage.press("v")
    await shows(stage, "Worker TP0")
    still(stage).sent.clear()


def still(stage: Staged) -> StillProcesses:
    made = stage.studio.processes
    assert isinstance(made, StillProcesses)
    return made


async def on(stage: Staged, key: str) -> None:
    await cursor(stage, "#processes-table", key)


def order(stage: Staged) -> list[str]:
    view: Any = stage.app.current.one("#processes")
    assert isinstance(view, ProcessesView)
    return [line.name.split()[0] for line in view.table.shown]


processes = Scene("processes", place="monitor", begin=processes_shown)
SCENES = (processes,)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@processes.scenario("processes.open")
async def _open(stage: Staged) -> None:
    await on(stage, WORKER)
    await stage.press("enter")
    await stage.until(lambda: stage.app.place_name == "run", "the page of the run")
    await stage.press("escape")
    await at(stage, "monitor", "Worker TP0")
    await on(stage, OTHER)
    await stage.press("enter")
    for words in ("Process 60412", "alice", "notebooks", "the studio did not start it", "HF_TOKEN=***"):
        await shows(stage, words)
    await stage.press("escape")


@processes.scenario("processes.stop")
async def _stop(stage: Staged) -> None:
    await on(stage, LEADER)
    await stage.press("s")
    await shows(stage, "End 48120 vllm serve")
    await shows(stage, "4 processes end with it")
    await shows(stage, "12 requests are under way")
    await stage.press("enter")  # the gentle answer: it stops the run, and asks what that costs
    await shows(stage, "Stop qwen3-32b?")
    await stage.press("escape")
    assert still(stage).sent == []
    await on(stage, WORKER)
    await stage.press("s")
    await shows(stage, "It is a part of qwen3-32b")
    await stage.press("s")
    await told(stage, "TERM was sent to 48812.")
    assert still(stage).sent == [(48812, "TERM")]


@processes.scenario("processes.left", "processes.right")
async def _fold(stage: Staged) -> None:
    for left, right in (("left", "right"), ("h", "l")):
        await on(stage, LEADER)
        await stage.press(left)
        await hides(stage, "Worker TP0")
        await shows(stage, "\u25b8 3")  # how many are folded away
        await shows(stage, "142.4 GiB")  # and what they hold together
        await stage.press(right)
        await shows(stage, "Worker TP0")
        await on(stage, WORKER)
        await stage.press(left)  # it has none below: to its parent
        view: Any = stage.app.current.one("#processes")
        assert view.table.key == "pid:48266:482660"


@processes.scenario("processes.fold-all")
async def _fold_all(stage: Staged) -> None:
    await on(stage, LEADER)
    await stage.press("z")
    await stage.until(lambda: order(stage) == ["vllm", "sglang.launch_server", "jupyter"], "only the roots")
    await stage.press("z")
    await shows(stage, "Worker TP0")


@processes.scenario("processes.log")
async def _log(stage: Staged) -> None:
    await on(stage, WORKER)
    await stage.press("L")
    await stage.until(lambda: stage.app.place_name == "logs", "the log of its run")


@processes.scenario("processes.copy")
async def _copy(stage: Staged) -> None:
    await on(stage, WORKER)
    await stage.press("y")
    await stage.until(lambda: stage.clip == "48812", "its number is on the clipboard")


async def test_one_of_somebody_else_is_asked_about_twice_and_never_offered_kill_first(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        await processes_shown(stage)
        await on(stage, OTHER)
        await stage.press("s")
        await shows(stage, "End 60412 python3 train.py of alice?")
        await shows(stage, "614 MiB of GPU 3")
        await stage.press("enter")  # there is no gentle answer: it is left alone
        assert still(stage).sent == []
        await stage.press("s", "s")
        await shows(stage, "Really send TERM")
        await stage.press("enter")
        assert still(stage).sent == []
        await stage.press("s", "i")
        await shows(stage, "asks it to end")
        await shows(stage, "HUP")
        assert "KILL" not in stage.text()
        await stage.press("escape")
        await stage.press("s", "s", "y")
        await told(stage, "TERM was sent to 60412.")
        assert still(stage).sent == [(60412, "TERM")]
        await stage.press("s", "i")  # it was asked to end: now it may be killed
        await shows(stage, SIGNALS["KILL"].partition(":")[0])
        await stage.press("escape")


async def test_several_are_marked_and_signalled_together(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        await processes_shown(stage)
        await on(stage, WORKER)
        await stage.press("space", "space")
        await shows(stage, "2 marked")
        await stage.press("s")
        await shows(stage, "End 2 processes?")
        await stage.press("i")
        await fill_in(stage, "int")
        await stage.press("enter")
        await told(stage, "INT was sent to 2 processes.")
        assert still(stage).sent == [(48812, "INT"), (48813, "INT")]
        await hides(stage, "marked")


async def test_read_only_sends_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor", read_only=True) as stage:
        await processes_shown(stage)
        await on(stage, OTHER)
        assert "stop, signal" not in stage.text()
        await stage.press("s")
        assert len(stage.app.screen_stack) == 1 and still(stage).sent == []


async def test_an_order_keeps_children_below_their_parents_and_a_filter_makes_a_list(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor") as stage:
        await processes_shown(stage)
        view: Any = stage.app.current.one("#processes")
        view.table.order_by("memory")
        assert order(stage) == ["vllm", "EngineCore", "Worker", "Worker", "sglang.launch_server", "scheduler",
                                "scheduler", "jupyter", "python3"]  # fmt: skip
        view.table.order_by("memory")
        assert order(stage)[:2] == ["jupyter", "python3"] and order(stage)[-4] == "vllm"
        view.table.order_by("pid")
        await stage.press("slash")
        await stage.type("worker")
        await stage.until(lambda: order(stage) == ["Worker", "Worker"], "two workers")
        assert "\u2514" not in stage.text()
        await stage.press("enter")
        await stage.press("escape")
        await stage.until(lambda: len(order(stage)) == 9, "all again")


async def test_the_machine_without_processes_says_so(tmp_path: Path) -> None:
    from tests.functional.stage import bare

    async with staged(tmp_path, place="monitor", shown=bare) as stage:
        await stage.press("v")
        await shows(stage, "No run lives here, and no process is seen on a GPU.")
        await stage.press("s")  # nothing is chosen: nothing is asked
        assert len(stage.app.screen_stack) == 1
