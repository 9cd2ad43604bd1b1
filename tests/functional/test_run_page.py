"""The page of a run: it opens over any screen, says all there is to know, and goes back to where one was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.acting import Scene, asked, at, cursor, fill_in, hides, shows, told
from tests.functional.stage import NOW, Staged, run_view, snapshot, staged
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.runs.read import DISMISSED
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows
from vllm_studio_tui.studio import Studio

READY, FAILED = "qwen3-32b-1", "llama-3.3-70b-1"


async def the_ready_run(stage: Staged) -> None:
    stage.app.open_run(READY)
    await at(stage, "run", "qwen3-32b")


async def the_failed_run(stage: Staged) -> None:
    stage.app.open_run(FAILED)
    await at(stage, "run", "llama-3.3-70b")


def on_record(studio: Studio) -> None:
    """The ready run, a run of its recipe before it, and an answer in a chat."""
    rows = RunRows(studio.db)
    spec = {"recipe_id": "qwen3-32b", "name": "qwen3-32b", "backend": "vllm"}
    for run_id, began, version, state in (
        ("qwen3-32b-0", NOW - 90_000, "0.31.1", {"state": "failed", "title": "the host was restarted"}),
        (READY, NOW - 7200, "0.32.0", {"state": "ready"}),
    ):
        rows.record(
            {**spec, "run_id": run_id, "created_at": began, "engine_version": version, "recipe": {"max_num_seqs": 64}},
            {"started_at": began, "ready_at": began + 90, "marks": {"weights": 3.0, "kv_cache": 44.0}, **state},
        )
    session = studio.chat.new_session("What was asked")
    RequestRows(studio.db).record(
        CompletedRequest(
            NOW - 60, "chat", "stop", id="asked-1", run_id=READY, session_id=session, prompt_tokens=1200,
            cached_tokens=600, completion_tokens=345, ttft=0.171, tokens_per_second=51.3,
        )
    )  # fmt: skip


ready = Scene("ready", place="dashboard", begin=the_ready_run, prepare=on_record)
failed = Scene("failed", place="dashboard", begin=the_failed_run)
SCENES = (ready, failed)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_every_action_does_what_it_says(tmp_path: Path, scene: Scene) -> None:
    await scene.play(tmp_path)


@ready.scenario("run.stop")
async def _stop(stage: Staged) -> None:
    await stage.press("s")
    await shows(stage, "Stop qwen3-32b?")
    await stage.press("s")
    await asked(stage, ("stop", "qwen3-32b"))


@ready.scenario("run.chat")
async def _chat(stage: Staged) -> None:
    await stage.press("c")
    await at(stage, "chat", "qwen3-32b")


@ready.scenario("run.log")
async def _log(stage: Staged) -> None:
    await stage.press("L")
    await at(stage, "logs", "a setting is odd")


@ready.scenario("run.edit")
async def _edit(stage: Staged) -> None:
    await stage.press("e")
    await at(stage, "recipes", "qwen3-32b")
    await stage.press("escape")


@ready.scenario("run.revisions")
async def _revisions(stage: Staged) -> None:
    before = stage.studio.recipes.get("qwen3-32b")
    stage.studio.recipes.save(before.model_copy(update={"max_model_len": 4096}))
    await stage.press("R")
    await shows(stage, "bring back a revision of qwen3-32b")
    await stage.press("enter")
    await shows(stage, "It runs now, as it was: this counts from its next start.")
    await stage.press("enter")
    await told(stage, "qwen3-32b is saved: max_model_len 4096 -> 32768")
    assert stage.studio.recipes.get("qwen3-32b") == before


@ready.scenario("run.copy-url")
async def _copy(stage: Staged) -> None:
    await stage.press("y")
    assert stage.clip == "http://127.0.0.1:8000/v1"


@failed.scenario("run.run")
async def _again(stage: Staged) -> None:
    page: Any = stage.app.current
    await stage.press("r")
    await asked(stage, ("launch", "llama-3.3-70b"))
    # The page goes on to the run that was begun here, and escape leads back to the one that failed.
    await stage.until(lambda: page.run_view.run_id == stage.launcher.run.run_id != FAILED, "the new run is shown")
    await stage.press("escape")
    await stage.until(lambda: page.run_view.run_id == FAILED, "back at the one that failed")


@ready.scenario("run.copy-as")
async def _copy_as(stage: Staged) -> None:
    await stage.press("Y")
    await shows(stage, "openai SDK")
    await fill_in(stage, "curl")
    await stage.press("enter")
    await stage.until(lambda: "/v1/chat/completions" in stage.clip, "curl is copied")


@ready.scenario("run.open", "run.next-part", "run.previous-part")
async def _parts(stage: Staged) -> None:
    page = stage.app.current.one("#run-page")
    await shows(stage, "EARLIER RUNS")
    assert page.key == "request:asked-1"
    await stage.press("tab")
    assert page.key == "run:qwen3-32b-0"
    await shows(stage, "enter open run")
    await stage.press("enter")  # an earlier run opens on the same page
    await shows(stage, "the host was restarted")
    await stage.press("escape")
    await shows(stage, "1842 tok/s")
    await stage.until(lambda: page.key == "request:asked-1", "back at its beginning")
    await stage.press("shift+tab", "shift+tab", "shift+tab")
    assert page.key == "request:asked-1"
    await stage.press("enter")
    await at(stage, "chat", "What was asked")


@failed.scenario("run.previous", "run.next", "run.fix")
async def _fixes(stage: Staged) -> None:
    await shows(stage, "1 of 3")
    assert "enter save and run" in stage.text().splitlines()[-1]  # the footer says what enter does on this row
    for next_, previous in (("right", "left"), ("l", "h")):
        await stage.press(next_)
        await shows(stage, "2 of 3")
        await stage.press(previous)
        await shows(stage, "1 of 3")
    await stage.press("f")
    await shows(stage, "leave it")
    await stage.press("escape")
    await hides(stage, "leave it")
    assert stage.calls == []
    await stage.press("enter")
    await asked(stage, ("launch", "llama-3.3-70b"))
    assert stage.studio.recipes.get("llama-3.3-70b").max_model_len == 18416


@failed.scenario("run.why")
async def _why(stage: Staged) -> None:
    await stage.press("w")
    await at(stage, "logs", "ValueError")


@failed.scenario("run.dismiss")
async def _dismiss(stage: Staged) -> None:
    run = stage.app.current.commands.run_of(FAILED)
    assert run is not None
    await stage.press("d")
    await stage.until((run.folder / DISMISSED).exists, "it is put aside")


async def test_keys_that_need_an_answer_are_named_only_where_the_run_answers(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for run_id, name, there in (
            (READY, "qwen3-32b", True), (FAILED, "llama-3.3-70b", False), ("deepseek-r1-70b-1", "deepseek", False),
        ):  # fmt: skip
            await cursor(stage, "#ledger", run_id)
            assert ("c chat" in stage.lines()[-1]) is there
            await stage.press("enter")
            await at(stage, "run", name)
            await stage.settle()
            for words in ("c chat", "y copy URL", "Y copy as"):
                assert (words in stage.lines()[-1]) is there, (run_id, words)
            await stage.press("escape")
            await at(stage, "dashboard", "RUNS")


def in_trouble(folder: Path) -> Snapshot:
    """A run that does not answer, and one that is started again in a while."""
    made = snapshot(folder)
    hung = replace(made.runs[0].status, state=State.UNHEALTHY, heard="/health does not answer within 5 s", heard_at=NOW)
    waits = run_view(
        folder, "gemma-3-12b", State.BACKOFF, port=8003, started_at=NOW - 300, marks={"config": 3.0, "weights": 9.0},
        title="CUDA out of memory", advice="Free the GPU.", exit_code=1, attempt=2, restarts=2,
        next_start_at=time.time() + 3600,
    )  # fmt: skip
    runs = (replace(made.runs[0], status=hung), *made.runs[1:], waits)
    for run in runs:
        run.log.write_text("INFO it is well\n")
    return replace(made, runs=runs, every=runs, tick=replace(made.tick, engines={}))


async def test_the_page_of_a_run_in_trouble_says_why_before_anything_else(tmp_path: Path) -> None:
    async with staged(tmp_path, shown=in_trouble) as stage:
        for size in ((160, 45), (80, 24), (60, 15), (40, 6)):
            await stage.pilot.resize_terminal(*size)
            stage.app.open_run(READY)
            await at(stage, "run", "/health does not answer")
            await stage.settle()
            text = stage.text()
            assert "although process" in text and "Nothing restarts it" in text, size
            assert "– tok/s" not in text, size  # no figure is left that could be old
            if size[0] == 160:
                assert "ENDPOINT  it does not answer now" in text
            stage.app.open_run("gemma-3-12b-1")
            await at(stage, "run", "CUDA out of memory")
            await stage.settle()
            text = stage.text()
            assert "Free the GPU." in text, size
            if size[0] >= 80:
                assert "again in " in text and "✕ weights" in text, size
            if size[0] == 160:
                assert "exit 1 in stage weights" in text


async def test_back_from_the_log_the_page_is_as_it_was_left(tmp_path: Path) -> None:
    def long_log(studio: Studio) -> None:
        on_record(studio)
        log = studio.sampler.latest.runs[0].log  # type: ignore[union-attr]
        log.write_text("".join(f"INFO 11-23 14:20:10 [x.py:1] line {number}\n" for number in range(60)))

    async with staged(tmp_path, prepare=long_log, size=(80, 24)) as stage:
        await cursor(stage, "#ledger", READY)
        await stage.press("enter")
        await at(stage, "run", "LAST LINES")
        page = stage.app.current.one("#run-page")
        await shows(stage, "60    14:20:10 line 59")  # without what the engine writes before a message
        await stage.press("tab", "tab")
        assert page.key == "log"
        await stage.press("enter")
        await at(stage, "logs", "60 lines")
        await stage.press("escape")
        await at(stage, "run", "LAST LINES")
        await stage.settle()
        assert page.key == "log"
        await stage.press("escape")
        await at(stage, "dashboard", "RUNS")
        await stage.press("enter")  # opened anew it begins at its beginning
        await at(stage, "run", "LAST LINES")
        assert page.key == "request:asked-1"


async def test_the_last_lines_take_the_room_there_is(tmp_path: Path) -> None:
    def long_log(studio: Studio) -> None:
        log = studio.sampler.latest.runs[0].log  # type: ignore[union-attr]
        log.write_text("".join(f"INFO 11-23 14:20:10 [x.py:1] line {number}\n" for number in range(60)))

    async with staged(tmp_path, prepare=long_log, size=(80, 24)) as stage:
        for height in (24, 34):
            await stage.pilot.resize_terminal(80, height)
            stage.app.open_run(READY)
            await shows(stage, "60    14:20:10 line 59")
            await stage.settle()
            lines = stage.lines()
            assert "line 59" in lines[-2]
            assert sum(" line " in line for line in lines) >= height - 14


# --- there and back -------------------------------------------------------------------------------------------


async def test_escape_goes_back_to_the_screen_the_row_and_the_focus(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await cursor(stage, "#ledger", FAILED)
        await stage.press("enter")
        await at(stage, "run", "18416")
        assert "1 Dashboard" in stage.lines()[0]  # the header keeps the screen that one came from
        await stage.press("escape")
        await at(stage, "dashboard", "RUNS")
        assert stage.app.current.one("#ledger").key == FAILED

        await stage.press("3", "tab")  # the transcript has the focus, not the prompt
        focused = stage.app.focused
        assert focused is not None
        stage.app.open_run(READY)
        await at(stage, "run", "qwen3-32b")
        stage.app.open_run(FAILED)  # from one run to another: back is still the chat
        await at(stage, "run", "18416")
        await stage.press("escape")
        await stage.settle()
        assert (stage.app.place_name, stage.app.focused) == ("chat", focused)
        await stage.press("alt+4")
        stage.app.open_run(READY)
        await at(stage, "run", "qwen3-32b")
        await stage.press("2")  # a page is left by a screen's key as any screen is
        assert stage.app.place_name == "recipes"


async def test_an_unchanged_page_writes_nothing_and_a_hidden_one_looks_at_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.app.open_run(FAILED)
        await shows(stage, "root cause")
        page = stage.app.current
        canvas = page.one("#run-page")
        drawn: list[object] = []

        def refresh(*regions: object, **options: object) -> object:
            drawn.append(regions)
            return canvas

        canvas.refresh = refresh
        stage.studio.sampler.show(stage.studio.sampler.latest)  # type: ignore[attr-defined]
        await stage.settle()
        assert drawn == []
        await stage.press("escape")
        await at(stage, "dashboard", "RUNS")
        looked: list[object] = []
        page._known.look = looked.append  # type: ignore[attr-defined]
        stage.studio.sampler.show(stage.studio.sampler.latest)  # type: ignore[attr-defined]
        await stage.settle()
        assert looked == []


@pytest.fixture
def served_url(tmp_path: Path) -> Iterator[str]:
    """The address of a `serve` on the home of a test."""
    serve = subprocess.Popen(
        [sys.executable, "-m", "vllm_studio_tui", "serve", "--port", "0"],
        env={**os.environ, "VLLM_STUDIO_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serve.stdout is not None
    yield serve.stdout.readline().split()[-1]
    serve.terminate()
    serve.communicate(timeout=30)


async def test_where_serve_runs_its_address_is_what_other_programs_are_told(tmp_path: Path, served_url: str) -> None:
    async with staged(tmp_path) as stage:
        stage.app.open_run(READY)
        await shows(stage, "all models")
        lines = [" ".join(line.split()) for line in stage.lines()]
        assert any(line.endswith(f"all models {served_url} y copy") for line in lines), lines
        assert any(line.endswith("this engine http://127.0.0.1:8000/v1") for line in lines), lines
        assert f"export OPENAI_BASE_URL={served_url}" in stage.text()
        assert "export OPENAI_API_KEY=none" in stage.text()
        await stage.press("y")
        assert stage.clip == served_url
        stage.app.clear_notifications()  # in a small window it stands before what is looked for
        for size in ((80, 24), (60, 15), (40, 6)):
            await stage.pilot.resize_terminal(*size)
            await shows(stage, served_url)
        await stage.pilot.resize_terminal(160, 45)
        stage.studio.keys.add("agent")
        stage.app.open_run("deepseek-r1-70b-1")
        stage.app.open_run(READY)
        await shows(stage, 'export OPENAI_API_KEY="$STUDIO_KEY"')
