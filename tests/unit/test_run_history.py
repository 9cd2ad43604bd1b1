"""The ledger of runs: kept when their directories are gone, compared, and used to say what changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vllm_studio_tui.cli import history as history_commands
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.kit.numbers import day_and_time
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.launching.past_runs import Launch, RunHistory, changes
from vllm_studio_tui.services.launching.run_story import tell_story
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.runs import RunRows


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    one = Database.open(tmp_path / "studio.db")
    yield one
    one.close()


def keep(db: Database, run_id: str, at: float, *, ready: float | None, version: str = "0.32", **recipe: Any) -> None:
    spec = {"run_id": run_id, "recipe_id": "qwen", "backend": "vllm", "created_at": at, "engine_version": version,
            "recipe": {"id": "qwen", "name": run_id, **recipe}, "recipe_revision": f"rev-{len(recipe)}"}  # fmt: skip
    state = {"run_id": run_id, "state": "exited" if ready else "failed", "started_at": at,
             "ready_at": at + ready if ready else None, "title": None if ready else "out of memory",
             "marks": {"weights": 10.0} if ready else {"weights": 12.5}}  # fmt: skip
    RunRows(db).record(spec, state)


def test_a_run_is_remembered_with_recipe_engine_and_stages(db: Database) -> None:
    keep(db, "qwen-1", 1000.0, ready=70.0, max_model_len=8192)
    one = RunHistory(db).get("qwen-1")
    assert (one.engine_version, one.recipe_revision, one.ready_after) == ("0.32", "rev-1", 70.0)
    assert one.stages == {"weights": 10.0}
    assert one.recipe["max_model_len"] == 8192
    assert RunHistory(db).get("qwen").run_id == "qwen-1"
    with pytest.raises(NotFound):
        RunHistory(db).get("nobody")


def test_the_command_says_how_often_it_was_restarted_and_when_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    with contextlib.closing(Database.open(Places.of().database)) as db:
        keep(db, "qwen-1", 1000.0, ready=70.0)
        state = {"run_id": "qwen-2", "state": "failed", "started_at": 1.0, "ended_at": 90_000.0, "restarts": 3}
        RunRows(db).record({"run_id": "qwen-2", "recipe_id": "qwen", "created_at": 1.0}, state)
    app = typer.Typer()
    history_commands.register(app)

    @app.command("other")
    def other() -> None:
        """Makes `runs` a subcommand."""

    shown = CliRunner().invoke(app, ["runs", "show", "qwen-2"]).stdout
    assert "  restarts   3\n" in shown
    assert f"  ended      {day_and_time(90_000.0)}\n" in shown
    assert "restarts" not in CliRunner().invoke(app, ["runs", "show", "qwen-1"]).stdout


def test_what_changed_since_it_worked_is_said(db: Database) -> None:
    keep(db, "qwen-1", 1000.0, ready=70.0, max_model_len=8192)
    keep(db, "qwen-2", 2000.0, ready=80.0, max_model_len=8192)
    keep(db, "qwen-3", 3000.0, ready=None, version="0.33", max_model_len=131072, dtype="half")
    history = RunHistory(db)
    assert history.worked_before(history.get("qwen-3")) == history.get("qwen-2")
    said = history.explain_since("qwen-3")
    assert said.startswith("It worked last on ")
    assert said.endswith("with 0.32; since then dtype none is now half, max_model_len 8192 is now 131072, "
                         "version 0.32 is now 0.33.")  # fmt: skip
    assert history.explain_since("qwen-2") == "", "it worked"
    assert history.explain_since("nobody") == ""
    found = {
        (one.kind, one.name): (one.before, one.after) for one in changes(history.get("qwen-1"), history.get("qwen-3"))
    }
    assert found["outcome", "state"] == ("exited", "failed")
    assert found["time", "ready_after"] == (70.0, None)
    assert found["time", "weights"] == (60.0, None), "how long it took, not when it began"
    assert ("recipe", "name") not in found


def test_stages_tell_how_long_they_took() -> None:
    marks = {"weights": 10.0, "config": 2.0, "graphs": 50.0}
    assert Launch("r", "r", "vllm", "exited", ready_after=70.0, stages=marks).stage_seconds == {
        "config": 8.0,
        "weights": 40.0,
        "graphs": 20.0,
    }
    assert Launch("r", "r", "vllm", "exited", stages=marks).stage_seconds == {"config": 8.0, "weights": 40.0}, (
        "the last was never over"
    )
    assert Launch("r", "r", "vllm", "exited", ready_after=70.0).stage_seconds == {}


def test_the_same_recipe_that_fails_now_is_said_to_be_the_same(db: Database) -> None:
    keep(db, "qwen-1", 1000.0, ready=70.0)
    keep(db, "qwen-2", 2000.0, ready=None)
    assert RunHistory(db).explain_since("qwen-2").endswith("recipe and engine are the same.")


def test_the_peak_is_the_fastest_interval_of_one_attempt(db: Database) -> None:
    readings = [(1, 1000.0, 1, 0), (2, 1010.0, 1, 500), (3, 1020.0, 1, 700), (4, 1021.0, 2, 900), (5, 1031.0, 2, 1000)]
    RunRows(db).fold("r", [
        {"seq": seq, "t": at, "attempt": attempt, "kind": "counters", "values": {"generation_tokens": tokens}}
        for seq, at, attempt, tokens in readings
    ])  # fmt: skip
    assert RunHistory(db).peak_speed("r") == 50.0
    assert RunHistory(db).peak_speed("x") is None


def test_the_peak_of_a_run_is_what_an_answer_reached_not_the_mean_around_it(db: Database) -> None:
    runs = RunRows(db)
    runs.fold("r", [
        {"seq": seq, "t": 1000.0 + 15 * seq, "attempt": 1, "kind": "counters", "values": {"generation_tokens": tokens}}
        for seq, tokens in enumerate((0, 0, 40), 1)
    ])  # fmt: skip
    assert runs.peak_generation("r") == pytest.approx(40 / 15)
    rows = RequestRows(db)
    for run_id, tokens, speed in (("r", 40, 145.0), ("r", 3, 900.0), ("r", 50, 120.0), ("other", 40, 500.0)):
        rows.record(
            CompletedRequest(1.0, "chat", "stop", run_id=run_id, completion_tokens=tokens, tokens_per_second=speed)
        )
    assert runs.peak_generation("r") == 145.0, "three tokens say nothing, and another run is another run"
    runs.fold("r", [{"seq": 4, "t": 1100.0, "attempt": 1, "kind": "peak", "tokens_per_second": 151.5}])
    assert runs.peak_generation("r") == 151.5
    runs.fold(
        "r", [{"seq": 5, "t": 1100.0, "attempt": 1, "kind": "peak", "tokens_per_second": odd} for odd in ("x", 1e400)]
    )
    assert runs.peak_generation("r") == 151.5


def test_the_story_of_a_run_says_how_its_recipe_did_and_what_changed_each_time(db: Database) -> None:
    keep(db, "qwen-1", 1000.0, ready=70.0, max_model_len=8192)
    keep(db, "qwen-2", 2000.0, ready=90.0, version="0.33", max_model_len=8192)
    keep(db, "qwen-3", 3000.0, ready=None, version="0.33", max_model_len=16384)
    lines = [
        {"seq": seq, "t": 2000.0 + at, "attempt": 1, "kind": "counters", "values": {"generation_tokens": tokens}}
        for seq, (at, tokens) in enumerate([(0, 0), (10, 1000), (20, 1000), (30, 4000)], 1)
    ]
    RunRows(db).fold("qwen-2", lines)
    RequestRows(db).record(CompletedRequest(2100.0, "chat", "stop", id="a", run_id="qwen-2", completion_tokens=7))
    RequestRows(db).begin(CompletedRequest(2200.0, "chat", "streaming", id="b", run_id="qwen-2"))
    RequestRows(db).record(CompletedRequest(2300.0, "chat", "stop", id="c", run_id="qwen-1"))

    story = tell_story(RunHistory(db), "qwen-2")
    assert (story.number, story.worked, story.of, story.usual) == (2, 2, 3, (70.0, 1))
    third, second, first = story.runs
    assert [(change.name, change.before, change.after) for change in third.changed or ()] == [
        ("max_model_len", 8192, 16384)
    ]
    assert [change.name for change in second.changed or ()] == ["version"]
    assert first.changed is None  # of a first run nothing can have changed
    assert (second.speed, second.peak) == (200.0, 300.0)  # the time without a token is no time of writing
    assert (first.speed, first.peak) == (None, None)
    assert [(one.id, one.finish) for one in story.requests] == [("b", "streaming"), ("a", "stop")]
    assert story.since is None

    failed = tell_story(RunHistory(db), "qwen-3")
    assert failed.since is not None
    assert failed.since[0].run_id == "qwen-2"
    assert [change.name for change in failed.since[1]] == ["max_model_len"]

    class Counted:
        folds = 0

        def fold(self) -> None:
            self.folds += 1

    upkeep: Any = Counted()
    tell_story(RunHistory(db, upkeep), "qwen-3")
    assert upkeep.folds == 1  # reading the ledgers of all runs is what costs
    document = failed.to_json()
    assert [one["number"] for one in document["runs"]] == [3, 2, 1]
    assert document["runs"][0]["changed"][0]["name"] == "max_model_len"
