"""Chat: a model that loads shows its stages and how long it will take; one that does not come up says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.acting import hides, shows, told
from tests.functional.stage import NOW, Staged, run_view, snapshot, staged
from tests.functional.test_chat import DONE, place
from vllm_studio_tui.domain.chat import Delta
from vllm_studio_tui.domain.run import FINAL, RunState, State
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.studio import Studio

LOADS = "deepseek-r1-70b"
ANSWER = (Delta(content="at last"), DONE)
#: Seconds after which each stage began, of a start that took 160 s.
MARKS = {"config": 5.0, "weights": 10.0, "compiling": 110.0, "graphs": 150.0}


def started(folder: Path, *times: float) -> Snapshot:
    """The usual runs, and earlier ones of the loading recipe that took so many times as long as `MARKS`."""
    now = snapshot(folder)
    loads = next(run for run in now.runs if run.recipe_id == LOADS)
    loads = replace(loads, status=replace(loads.status, marks={"config": 5.0, "weights": 10.0}))
    runs = tuple(loads if run.recipe_id == LOADS else run for run in now.runs)
    earlier = []
    for number, scale in enumerate(times):
        marks = {name: at * scale for name, at in MARKS.items()}
        begun = NOW - 9000 + 1000 * number
        one = run_view(folder / f"earlier-{number}", LOADS, State.EXITED, started_at=begun,
                       ready_at=begun + 160 * scale, ended_at=begun + 900, marks=marks)  # fmt: skip
        status = replace(one.status, run_id=f"{LOADS}-before-{number}")
        earlier.append(replace(one, run_id=status.run_id, status=status))
    return replace(now, runs=runs, every=(*earlier, *runs))


def becomes(stage: Staged, state: State, **facts: object) -> None:
    """The loading run turns into this."""
    shown = stage.studio.sampler.latest
    assert shown is not None

    def changed(status: RunState) -> RunState:
        return replace(status, state=state, **facts)  # type: ignore[arg-type]

    alive = state not in FINAL
    runs = tuple(
        replace(run, status=changed(run.status), keeper_alive=alive, engine_alive=alive)
        if run.run_id == f"{LOADS}-1"
        else run
        for run in shown.runs
    )
    stage.studio.sampler.show(replace(shown, runs=runs, every=runs))  # type: ignore[attr-defined]


async def test_stages_and_time_left_stand_in_an_empty_chat_and_a_question_is_sent_when_it_is_ready(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, place="chat", shown=lambda at: started(at, 1.0, 1.0, 1.0), script=ANSWER) as stage:
        place(stage).chat.use_recipe(LOADS)
        place(stage).update_place()
        # 100 s after the start at 43 % of weights: 57 s of them are left, then 50 s, at the present pace.
        await shows(stage, f"{LOADS} is loading, weights 43%, about")
        for words in ("left, from 3 launches", "process", "weights 43%", "compile", "graphs", "~40.0 s", " of ~1m40s"):
            await shows(stage, words)
        await stage.type("hi")
        await stage.press("enter")
        await shows(stage, "sent when it is ready")
        assert stage.engine.asked == []
        becomes(stage, State.READY)
        await shows(stage, "at last")
        await hides(stage, "from 3 launches")


async def test_starts_whose_directories_are_gone_are_looked_up(tmp_path: Path) -> None:
    def prepare(studio: Studio) -> None:
        for number in range(2):
            name, begun = f"{LOADS}-old-{number}", NOW - 90_000 + number * 1000
            spec = {"run_id": name, "recipe_id": LOADS, "backend": "vllm", "created_at": begun}
            state = {"run_id": name, "state": "exited", "started_at": begun, "ready_at": begun + 160, "marks": MARKS}
            RunRows(studio.db).record(spec, state)

    async with staged(
        tmp_path, place="chat", shown=lambda at: started(at, 1.0), script=ANSWER, prepare=prepare
    ) as stage:
        place(stage).chat.use_recipe(LOADS)
        place(stage).update_place()
        await shows(stage, "left, from 3 launches")


async def test_without_a_start_before_nothing_is_estimated(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", script=ANSWER) as stage:
        place(stage).chat.use_recipe(LOADS)
        place(stage).update_place()
        await shows(stage, "weights 43%")
        assert "left, from" not in stage.text()


async def test_a_model_that_does_not_come_up_says_the_true_cause_and_gives_the_question_back(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", shown=lambda at: started(at, 1.0), script=ANSWER) as stage:
        place(stage).chat.use_recipe(LOADS)
        await stage.type("hi")
        await stage.press("enter")
        await shows(stage, "sent when it is ready")
        becomes(stage, State.BACKOFF, title="CUDA ran out of memory", next_start_at=NOW + 12)
        await shows(stage, "again in 12 s   CUDA ran out of memory")
        title, advice = "the KV cache cannot hold one request\x1b[2J", "Set max_model_len to at most 18416."
        becomes(stage, State.FAILED, title=title, advice=advice, exit_code=1, ended_at=NOW)
        await told(stage, f"{LOADS} did not come up: the KV cache cannot hold one request")
        assert place(stage).prompt.text == "hi"
        await shows(stage, f"{LOADS}: the KV cache cannot hold one request")
        await shows(stage, "/load tries again")
        assert stage.engine.asked == []


async def test_a_model_that_was_stopped_while_it_loaded_is_no_failure(tmp_path: Path) -> None:
    async with staged(tmp_path, place="chat", shown=lambda at: started(at, 1.0), script=ANSWER) as stage:
        place(stage).chat.use_recipe(LOADS)
        await stage.type("hi")
        await stage.press("enter")
        await shows(stage, "sent when it is ready")
        becomes(stage, State.EXITED)
        await told(stage, f"{LOADS} was stopped before it was ready")
        assert place(stage).prompt.text == "hi"


@pytest.mark.parametrize("size", [(80, 24), (60, 15), (40, 6)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_small_windows_say_stage_and_time_left_in_a_line(tmp_path: Path, size: tuple[int, int]) -> None:
    async with staged(tmp_path, place="chat", size=size, shown=lambda at: started(at, 1.0), script=ANSWER) as stage:
        place(stage).chat.use_recipe(LOADS)
        place(stage).update_place()
        await shows(stage, "weights 43%")
        if size[0] >= 60:
            await shows(stage, "left")
        becomes(stage, State.FAILED, title="CUDA ran out of memory", exit_code=1, ended_at=NOW)
        await shows(stage, "CUDA ran out")
