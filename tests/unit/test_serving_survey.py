"""What the scheduler is told of recipes, runs and the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import LaunchRefused, StoreError, StudioError
from vllm_studio_tui.domain.gpus import Gpu, GpuProcess, GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.serving import Endpoint
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.gpu_choice import free_gpus, holders, obtainable
from vllm_studio_tui.services.launching.gpu_claims import gpu_problems
from vllm_studio_tui.services.serving import host_memory, reports
from vllm_studio_tui.services.serving.endpoints import (
    Reach,
    endpoint_of_external,
    endpoint_of_peer,
    endpoint_of_run,
    reach_of,
)
from vllm_studio_tui.services.serving.survey import Seen, Survey
from vllm_studio_tui.services.serving.world import RunPhase

NOW = time.time()


def view(key: str, state: State = State.READY, number: int = 1, **fields: Any) -> RunView:
    of_spec = ("gpus", "recipe", "backend", "api_key_ref")
    spec_fields = {name: fields.pop(name) for name in of_spec if name in fields}
    alive = fields.pop("engine_alive", True)
    spec = RunSpec(
        f"{key}-{number}", key, key, spec_fields.pop("backend", "vllm"), f"served-{key}",
        ("x",), "127.0.0.1", 8000 + number, f"http://127.0.0.1:{8000 + number}/v1", NOW - 100, **spec_fields,
    )  # fmt: skip
    times = {"started_at": NOW - 90, "ready_at": NOW - 60} if state in (State.READY, State.UNHEALTHY) else {}
    status = RunState(spec.run_id, state, **{**times, **fields})
    return RunView(Path("/none") / spec.run_id, spec.run_id, spec, status, True, alive, False)


class Ground:
    """A survey over recipes and runs that a test makes up."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.rows: list[tuple[str, dict[str, Any]]] = []
        self.views: Sequence[RunView] = ()
        self.survey = Survey(Places.under(tmp_path), Settings(**settings), lambda: self.rows, {"old": 42.0})
        self.survey._watch.look = lambda: tuple(self.views)  # type: ignore[method-assign]

    def recipe(self, key: str, **fields: Any) -> None:
        self.rows.append((key, {"id": key, "name": key, "backend": "vllm", "model_path": "org/m", **fields}))

    def look(self, *views: RunView) -> Seen:
        self.views = views
        self.survey._looked_at = -1.0
        return self.survey.look()


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.mark.parametrize(
    ("run", "phase"),
    [
        (view("a", State.STARTING), RunPhase.LOADING),
        (view("a", State.LOADING), RunPhase.LOADING),
        (view("a", State.BACKOFF), RunPhase.LOADING),
        (view("a"), RunPhase.READY),
        (view("a", State.UNHEALTHY), RunPhase.READY),
        (view("a", State.UNHEALTHY, engine_alive=False), RunPhase.LOADING),
        (view("a", stranger={"pid": 1, "name": "other"}), RunPhase.BLOCKED),
        (view("a", State.STOPPING), RunPhase.STOPPING),
        (view("a", State.FAILED, reason="out_of_memory", title="no memory"), RunPhase.FAILED),
        (view("a", State.EXITED, reason="stopped"), RunPhase.ENDED),
        (view("a", State.EXITED, reason="exited_early", exit_code=0), RunPhase.FAILED),
    ],
    ids=[*"abcdefghijk"],
)
def test_a_run_is_seen_as_requests_see_it(ground: Ground, run: RunView, phase: RunPhase) -> None:
    ground.recipe("a")
    (seen,) = ground.look(run).world.runs
    assert seen.phase is phase
    if phase is RunPhase.FAILED and run.status.title:
        assert seen.why is not None
        assert (seen.why.cause, seen.why.code) == ("Reason: out_of_memory.", "model_failed")
    if phase is RunPhase.BLOCKED:
        assert seen.why is not None
        assert seen.why.code == "model_unreachable"


def test_names_are_those_of_the_recipe_and_of_its_run(ground: Ground) -> None:
    ground.recipe("a", served_model_name="new-name", aliases=["x"])
    ground.recipe("ext", backend="external", base_url="http://127.0.0.1:1/v1", model_path="far-model")
    seen = ground.look(view("a"), view("gone"))
    for name, key in (("new-name", "a"), ("x", "a"), ("served-a", "a"), ("served-gone", "gone"), ("far-model", "ext")):
        assert seen.routes.find(name).key == key
    assert seen.world.models["ext"].elsewhere
    assert not seen.world.models["gone"].launchable
    shown = {one.id: one for one in reports.served_models(seen, "all", True, ())}
    assert (shown["new-name"].state, shown["new-name"].on_demand) == ("ready", True)
    assert (shown["served-gone"].on_demand, shown["far-model"].state) == (False, "ready")


def test_a_recipe_that_cannot_be_read_hides_no_other_and_a_locked_database_none(ground: Ground) -> None:
    ground.recipe("a")
    ground.rows.append(("bad", {"id": "bad", "backend": 7}))
    assert set(ground.look().kinds) == {"a"}

    def locked() -> list[tuple[str, dict[str, Any]]]:
        raise StoreError("locked")

    ground.survey._rows = locked
    assert set(ground.look().kinds) == {"a"}


def test_what_a_model_takes_and_how_long_it_loads(ground: Ground, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"x" * 5000)
    for shard in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"):
        (tmp_path / shard).write_bytes(b"x" * 3000)
    ground.recipe("cpu", backend="llamacpp", model_path=str(model), port=8123)
    ground.recipe("shards", backend="llamacpp", model_path=str(tmp_path / "m-00001-of-00002.gguf"))
    ground.recipe("gone", backend="llamacpp", model_path="/no/such.gguf")
    ground.recipe("gpu", gpus=["0", "1"])
    ground.recipe("auto", gpus="auto", tensor_parallel_size=2)
    ground.recipe("old")
    models = ground.look(view("gpu", number=1), view("old", State.FAILED)).world.models
    assert models["cpu"].need.memory == 5000 + host_memory.BESIDE
    assert models["cpu"].need.port == 8123
    assert models["shards"].need.memory == 6000 + host_memory.BESIDE
    assert models["gone"].need.memory is None
    assert (models["gpu"].need.gpus, models["gpu"].need.memory) == (frozenset("01"), None)
    assert models["gpu"].load_seconds == pytest.approx(30.0)
    assert (models["auto"].need.any_gpus, models["auto"].need.gpus) == (2, frozenset())
    assert models["old"].load_seconds == 42.0
    assert models["cpu"].load_seconds is None


def test_memory_that_engines_hold_counts_as_there_for_models() -> None:
    mine = view("a", pid=os.getpid())
    held = host_memory.held_memory(mine)
    assert held is not None
    assert held > 10_000_000
    without, beside = host_memory.free_memory([]), host_memory.free_memory([mine])
    assert without is not None
    assert beside is not None
    assert beside > without - 500_000_000  # others of this machine come and go meanwhile
    assert host_memory.held_memory(view("a")) is None


def test_gpus_are_to_be_had_that_only_our_runs_use() -> None:
    gpus = tuple(Gpu(number, name="x", uuid=f"GPU-{number}", memory_total=100, memory_used=used)
                 for number, used in enumerate((0, 90, 90, 0)))  # fmt: skip
    runs = [view("a", gpus=("1",)), view("b", gpus=("GPU-3",))]
    assert obtainable(GpuReport(NOW, gpus), runs) == frozenset({"0", "1", "GPU-3"})
    assert obtainable(GpuReport(NOW, error="no driver"), runs) is None


def test_a_gpu_that_a_run_claims_by_the_beginning_of_its_uuid_is_not_free() -> None:
    there = (("GPU-8932f937", None), ("GPU-aaaa", None), ("GPU-b", "gone"))
    gpus = tuple(Gpu(number, name="x", uuid=uuid, memory_total=100, memory_used=0, lost=lost)
                 for number, (uuid, lost) in enumerate(there))  # fmt: skip
    report, runs = GpuReport(NOW, gpus), [view("a", gpus=("GPU-89",))]
    assert free_gpus(report, runs, 1) == ("1",)
    assert obtainable(report, runs) == frozenset({"GPU-89", "1"})
    with pytest.raises(LaunchRefused) as said:
        free_gpus(report, runs, 2)
    assert "GPU 0: claimed by a" in said.value.cause
    using = replace(gpus[0], processes=(GpuProcess(7, "bob", "python", 90),))
    assert holders(replace(report, gpus=(using,)), ("GPU-8932",)) == [("0", "0.0 GiB by python (pid 7, bob)")]
    problems = gpu_problems(Recipe(id="a", name="a", backend="vllm", model_path="m"), ("GPU-b",), report, runs)
    assert [one.message for one in problems] == ["GPU 2 does not answer: gone"]


def test_a_name_is_left_alone_where_the_server_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_KEY", "sesame")
    run = view("a", recipe={"aliases": ["x"]}, api_key_ref="env:RUN_KEY")
    endpoint = endpoint_of_run(run, None)
    assert (endpoint.api_key, endpoint.model, endpoint.run_id, endpoint.attempt) == ("sesame", "served-a", "a-1", 1)
    reach = reach_of(endpoint, run)
    assert reach.for_request("served-a").model is None
    assert reach.for_request("x").model is None
    assert reach.for_request("SERVED-A").model == "served-a"
    assert reach.for_request(None).model == "served-a"
    other = view("b", backend="sglang", recipe={"aliases": ["x"]})
    assert reach_of(endpoint_of_run(other, None), other).for_request("x").model == "served-b"


def test_a_key_in_a_file_is_the_one_of_the_last_look_and_none_without_the_file(ground: Ground, tmp_path: Path) -> None:
    """Nobody who asks waits for that file: how each server is asked is known before."""
    key = tmp_path / "key"
    key.write_text("first")
    ground.recipe("ext", backend="external", base_url="http://127.0.0.1:1/v1", api_key=f"file:{key}")
    run = view("a", api_key_ref=f"file:{key}")
    for now in ("first", "second"):
        key.write_text(now)
        seen = ground.look(run, view("late", State.LOADING))
        for reach in (seen.runs["a-1"], seen.elsewhere["ext"]):
            assert isinstance(reach, Reach)
            assert reach.endpoint.api_key == now
        assert set(seen.runs) == {"a-1"}
    key.unlink()
    seen = ground.look(run)
    for lost in (seen.runs["a-1"], seen.elsewhere["ext"]):
        assert isinstance(lost, StudioError)
        assert lost.title == "the API key cannot be read"


def test_a_backend_that_breaks_hides_no_other_server(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.recipe("ext", backend="external", base_url="http://127.0.0.1:1/v1")
    ground.recipe("bad", backend="external", base_url="http://127.0.0.1:2/v1")

    def broken(recipe: Recipe) -> Endpoint:
        if recipe.id == "bad":
            raise RuntimeError("boom")
        return endpoint_of_external(recipe)

    monkeypatch.setattr("vllm_studio_tui.services.serving.survey.endpoint_of_external", broken)
    seen = ground.look()
    assert isinstance(seen.elsewhere["ext"], Reach)
    assert isinstance(seen.elsewhere["bad"], StudioError)


def test_a_server_on_another_host_is_asked_with_the_key_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_KEY", "far-sesame")
    peers = {"box": {"url": "http://box:8080", "api_key": "env:PEER_KEY", "models": ["big"]},
             "open": {"url": "https://open.example/v1"}}  # fmt: skip
    ground = Ground(tmp_path, peers=peers)
    seen = ground.look()
    assert [one.key for one in seen.routes.offers] == ["box/big"]
    assert seen.routes.find("open/any").peer == "open"
    endpoint = endpoint_of_peer("box", ground.survey._settings.peers["box"], "big")
    assert (endpoint.base_url, endpoint.api_key, endpoint.model) == ("http://box:8080/v1", "far-sesame", "big")
