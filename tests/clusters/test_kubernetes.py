"""Runs in a real Kubernetes: what is rendered is taken, waits, serves, fails and is deleted, and is told in words.

`VLLM_STUDIO_TEST_KUBERNETES=DIR python -m pytest -m kubernetes tests/clusters/test_kubernetes.py -n 0 --timeout 400`
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clusters.kubernetes import IMAGE, PYTHON, REPOSITORY, Cluster, python_volumes, running
from tests.unit.test_render import recipe, source
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.job import Phase
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.followers.kubernetes import Kubernetes
from vllm_studio_tui.followers.system import Job, Look, SystemTrouble
from vllm_studio_tui.services.handover import kubernetes as handover
from vllm_studio_tui.services.handover.order import Order

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]

#: Where what the cluster answered is kept, for tests that have none.
CAPTURE = os.environ.get("VLLM_STUDIO_TEST_CAPTURE")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as one, one.entered():
        before = os.environ.copy()
        os.environ.update(one.environ)
        try:
            yield one
        finally:
            os.environ.clear()
            os.environ.update(before)


def engine(*flags: str, **fields: Any) -> Recipe:
    """Return a recipe of the simulated engine, in an image that has nothing but a shell."""
    docker = {"image": IMAGE, "volumes": python_volumes(), "shm": "64m", "gpus": False, **fields.pop("docker", {})}
    words = f"{PYTHON} -m vllm_studio_tui.simulation.engine --host {{host}} --port {{port}} --model sim"
    command = fields.pop("command", " ".join((words, "--load-seconds", "0.5", *flags)))
    variables = {"PYTHONPATH": str(REPOSITORY), **fields.pop("env_vars", {})}
    told = {"to": "kubernetes", **fields.pop("handover", {})}
    return recipe(
        id="sim", backend="custom", runtime="docker", command=command, docker=docker, env_vars=variables, port=8000,
        handover=told, **fields,
    )  # fmt: skip


class Followed:
    """A run, followed here without a keeper."""

    count = 0

    def __init__(self, cluster: Cluster, folder: Path, one: Recipe) -> None:
        Followed.count += 1
        order = Order(one, one, source(one), f"sim-{Followed.count}", 9000, None, None)  # type: ignore[arg-type]
        self.cluster = cluster
        self.job = Job(folder, order.run_id, {"kind": "kubernetes", **handover.plan(order).follow})
        self.system = Kubernetes(self.job)
        self.log = b""
        self.last: Look | None = None

    def begin(self) -> Followed:
        self.job.handle = self.system.submit()
        return self

    def again(self) -> None:
        """Let go of it as a follower that is killed does, and follow it anew from what was written down."""
        self.system.close()
        memory = json.loads(json.dumps(self.job.memory))
        self.job = Job(self.job.folder, self.job.run_id, self.job.plan, self.job.handle, memory)
        self.system = Kubernetes(self.job)

    def until(self, condition: Callable[[Look], bool], what: str, seconds: float = 90) -> Look:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.last = self.system.look()
            self.log += self.system.log()
            if condition(self.last):
                return self.last
            time.sleep(0.3)
        raise AssertionError(f"not within {seconds:g} s: {what}; last {self.last}\n{self.log.decode()[-1500:]}")

    def ready(self) -> Look:
        return self.until(lambda look: look.address is not None, "ready")

    def ask(self) -> Any:
        host, port = self.ready().address or ("", 0)
        with urllib.request.urlopen(f"http://{host}:{port}/v1/models", timeout=10) as answer:
            return json.load(answer)

    def end(self, *, force: bool = False) -> None:
        deadline = time.monotonic() + 60
        while not self.system.stop(force=force):
            assert time.monotonic() < deadline, "it was not deleted"
            time.sleep(0.3)
        self.log += self.system.log()
        self.system.close()
        found = self.cluster.kubectl("get", "all", "-l", self.system._label, "-o", "name")
        assert found == ""


@pytest.fixture
def follow(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Recipe], Followed]]:
    made: list[Followed] = []

    def begin(one: Recipe) -> Followed:
        made.append(Followed(cluster, tmp_path, one))
        return made[-1].begin()

    yield begin
    for one in made:
        if CAPTURE:
            words = ("get", "deployments.apps,services,pods", "-l", one.system._label, "-o", "json")
            text = cluster.kubectl(*words, check=False)
            name = request.node.name.removeprefix("test_")
            (Path(CAPTURE) / f"{name}.json").write_text(text)
        one.end(force=True)


def test_a_run_is_applied_serves_and_is_deleted(follow: Callable[[Recipe], Followed]) -> None:
    run = follow(engine())
    assert run.job.handle == "k8s:default/sim-1"
    assert run.ask()["data"][0]["id"] == "sim"
    look = run.ready()
    assert (look.phase, look.state, look.trouble, look.stage) == (Phase.RUNNING, "Running", "", "")
    (part,) = look.parts
    assert (part.where, part.state) == ("node-a", "ready")
    assert b"Application startup complete" in run.log
    owner = run.cluster.kubectl("get", "deployment", "sim-1", "--show-managed-fields", "-o", "json")
    assert "vllm-studio" in {one["manager"] for one in json.loads(owner)["metadata"]["managedFields"]}
    run.end()


def test_a_follower_that_is_replaced_finds_its_run_and_tells_each_line_once(
    follow: Callable[[Recipe], Followed],
) -> None:
    run = follow(engine())
    run.ask()
    assert run.system.submit() == run.job.handle, "submitting again changes nothing"
    run.again()
    run.ask()
    run.until(lambda _: run.log.count(b"Application startup complete") > 0, "its log")
    lines = [line for line in run.log.splitlines() if b"GET /" not in line]
    assert len(lines) == len(set(lines))


def test_gpus_that_no_node_has_are_waited_for_in_the_schedulers_words(follow: Callable[[Recipe], Followed]) -> None:
    run = follow(engine(docker={"gpus": True}, gpus=["0", "1", "2"]))
    look = run.until(lambda look: "Insufficient" in look.stage, "why it waits")
    assert look.phase is Phase.WAITING
    assert look.state == "Pending"
    assert look.stage == "waiting in Kubernetes: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    assert "handover.accelerator" in look.trouble


def test_an_image_that_cannot_be_fetched_is_told(follow: Callable[[Recipe], Followed]) -> None:
    run = follow(engine(docker={"image": "registry.invalid/no/engine:1"}))
    look = run.until(lambda look: look.state in ("ErrImagePull", "ImagePullBackOff"), "its image")
    assert look.phase is Phase.WAITING
    assert "its image cannot be fetched" in look.stage
    assert "docker.image" in look.trouble


def test_a_secret_that_is_not_there_is_asked_for_before_and_a_run_goes_on_once_it_is(
    cluster: Cluster, follow: Callable[[Recipe], Followed]
) -> None:
    one = engine(env_vars={"HF_TOKEN": "env:HF_TOKEN"})
    with pytest.raises(LaunchRefused) as refused:
        follow(one)
    assert "there is no Secret sim-secrets" in refused.value.cause
    assert "--from-file=HF_TOKEN=<(printf %s" in refused.value.advice
    make = refused.value.advice.removeprefix("Make it, in bash: ")
    environ = {**os.environ, "HF_TOKEN": "hf_live"}
    subprocess.run(["bash", "-c", make], env=environ, check=True, timeout=30, capture_output=True)
    value = cluster.kubectl("get", "secret", "sim-secrets", "-o", "jsonpath={.data.HF_TOKEN}")
    assert value == "aGZfbGl2ZQ==", "hf_live, and no line break"
    run = Followed(cluster, Path(), one)
    cluster.kubectl("delete", "secret", "sim-secrets")
    run.begin()
    try:
        look = run.until(lambda look: look.state == "CreateContainerConfigError", "what is missing")
        assert 'secret "sim-secrets" not found' in look.stage
        assert "kubectl create secret generic sim-secrets" in look.trouble
        if CAPTURE:
            words = ("get", "deployments.apps,services,pods", "-l", run.system._label, "-o", "json")
            (Path(CAPTURE) / "no_secret.json").write_text(cluster.kubectl(*words))
        subprocess.run(["bash", "-c", make], env=environ, check=True, timeout=30, capture_output=True)
        assert run.ready().phase is Phase.RUNNING
    finally:
        run.end(force=True)


def test_an_engine_that_ends_at_its_start_ends_the_run_and_its_log_is_kept(
    follow: Callable[[Recipe], Followed],
) -> None:
    run = follow(engine("--simulate-failure", "oom"))
    look = run.until(lambda look: look.phase is Phase.ENDED, "it has ended")
    assert look.cause is not None
    assert look.cause.weak, "what its log says goes before"
    assert "exit code 1" in look.cause.title
    run.until(lambda _: b"CUDA out of memory" in run.log, "the log of the container that ended")


def test_an_engine_that_ends_is_started_again_as_often_as_its_recipe_allows(
    follow: Callable[[Recipe], Followed],
) -> None:
    run = follow(engine("--exit-code", "3", "--crash-after", "0.2", restart={"policy": "on-failure", "budget": 2}))
    run.until(lambda look: "ended 1 times" in look.trouble or look.phase is Phase.ENDED, "its first end")
    look = run.until(lambda look: look.phase is Phase.ENDED, "its last end")
    assert look.cause is not None
    assert "exit code 3" in look.cause.title
    assert not look.cause.retry, "Kubernetes has tried again already"
    run.system.log()
    assert run.log.count(b"non-default args") == 2


def test_a_container_that_takes_more_memory_than_it_may_is_named_so(follow: Callable[[Recipe], Followed]) -> None:
    eat = f"{PYTHON} -c 'x=bytearray(600000000)'"
    run = follow(engine(command=eat, handover={"memory": "64Mi"}))
    look = run.until(lambda look: look.phase is Phase.ENDED, "it has ended")
    assert look.cause is not None
    assert look.cause.reason == "system_ram_oom"
    assert "handover.memory" in look.cause.advice


def test_a_pod_that_is_deleted_is_replaced_and_led_to_again(follow: Callable[[Recipe], Followed]) -> None:
    run = follow(engine())
    before = run.ready()
    (name,) = run.cluster.kubectl("get", "pods", "-l", run.system._label, "-o", "name").split()
    run.cluster.kubectl("delete", name, "--grace-period=1", "--wait=false")
    run.until(lambda look: look.address is None, "its end")
    assert run.ask()["data"][0]["id"] == "sim"
    assert run.ready().parts != before.parts


def test_a_forward_that_ends_is_begun_again(follow: Callable[[Recipe], Followed]) -> None:
    run = follow(engine())
    run.ready()
    assert run.system._forward is not None
    run.system._forward._process.kill()
    run.system._forward._process.wait()
    assert run.ask()["data"][0]["id"] == "sim"


def test_copies_are_parts_and_lines_of_their_logs_say_whose_they_are(follow: Callable[[Recipe], Followed]) -> None:
    run = follow(engine(handover={"replicas": 2}))
    look = run.until(lambda look: [one.state for one in look.parts] == ["ready", "ready"], "both")
    assert look.trouble == ""
    run.until(lambda _: run.log.count(b"Application startup complete") == 2, "both logs")
    for part in look.parts:
        assert f"[{part.name.removeprefix('pod ')}] ".encode() in run.log


def test_an_api_server_that_does_not_answer_changes_nothing(
    cluster: Cluster, follow: Callable[[Recipe], Followed]
) -> None:
    run = follow(engine())
    run.ready()
    cluster.silence()
    with pytest.raises(SystemTrouble) as trouble:
        while True:
            run.system.look()
    assert trouble.value.passing
    assert "does not answer" in trouble.value.cause.title
    with pytest.raises(SystemTrouble):
        run.system.stop(force=False)
    cluster.answer()
    assert run.ask()["data"][0]["id"] == "sim"


def test_a_run_that_somebody_deletes_has_ended(follow: Callable[[Recipe], Followed]) -> None:
    run = follow(engine())
    run.ready()
    run.cluster.kubectl("delete", "deployment", "sim-" + str(Followed.count), "--grace-period=1")
    look = run.until(lambda look: look.phase is Phase.ENDED, "it has ended")
    assert look.cause is not None
    assert look.cause.title == "somebody deleted it in Kubernetes"


def test_a_quota_that_is_used_up_is_what_it_waits_for(cluster: Cluster, follow: Callable[[Recipe], Followed]) -> None:
    cluster.kubectl("create", "namespace", "small")
    cluster.kubectl("-n", "small", "create", "quota", "none", "--hard=pods=0")
    cluster.kubectl("config", "set-context", "--current", "--namespace=small")
    try:
        run = follow(engine())
        assert run.job.handle.startswith("k8s:small/")
        look = run.until(lambda look: "exceeded quota" in look.stage, "why it waits")
        assert look.phase is Phase.WAITING
        run.end()
    finally:
        cluster.kubectl("config", "set-context", "--current", "--namespace=default")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"handover": {"nodes": 2}, "strategy": "tp"}, "names none of {rank}"),
        ({"handover": {"namespace": "nowhere"}}, 'namespaces "nowhere" not found'),
        ({"handover": {"context": "other"}}, 'context "other" does not exist'),
        ({"handover": {"options": ["--frobnicate"]}}, "unknown flag: --frobnicate"),
        ({"docker": {"args": ["--user", "1000"], "volumes": ["/a:/b", "/c:/b"]}}, 'mountPath="/b"'),
    ],
)
def test_what_the_cluster_would_refuse_is_said_before(
    follow: Callable[[Recipe], Followed], change: dict[str, Any], cause: str
) -> None:
    with pytest.raises(LaunchRefused) as refused:
        follow(engine(**change))
    assert cause in f"{refused.value.title} {refused.value.cause}"


def test_a_launch_is_a_run_like_any_other(cluster: Cluster, tmp_path: Path) -> None:
    """From the command line: launched, waited for, chatted with, counted, its follower killed, stopped."""
    data = recipe_to_data(engine("--load-seconds", "1"))
    data.pop("port")
    (tmp_path / "sim.yaml").write_text(yaml.safe_dump(data))

    def studio(*words: str) -> str:
        environ = {**os.environ, "VLLM_STUDIO_HOME": str(tmp_path / "home")}
        call = [sys.executable, "-m", "vllm_studio_tui", *words]
        done = subprocess.run(call, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def log() -> str:
        return next((tmp_path / "home").rglob("engine.log")).read_text()

    def until(condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 90
        while True:
            (now,) = json.loads(studio("status", "--json"))["runs"]
            if condition(now):
                return dict(now)
            assert time.monotonic() < deadline, f"{now}\n{log()}"
            time.sleep(0.3)

    studio("recipes", "import", str(tmp_path / "sim.yaml"))
    studio("launch", "sim", "--wait")
    try:
        now = until(lambda now: now["job_state"] == "Running")
        assert now["state"] == "ready"
        assert now["handle"] == f"k8s:default/{now['run_id']}"
        assert [(one["where"], one["state"]) for one in now["parts"]] == [("node-a", "ready")]
        assert studio("chat", "hello there", "--recipe", "sim").strip()
        until(lambda _: "Application startup complete" in log())
        os.kill(now["pid"], signal.SIGKILL)
        before = now["pid"]
        until(lambda now: now["pid"] not in (None, before) and now["state"] == "ready")
        assert studio("chat", "still there?", "--recipe", "sim").strip()
        assert len(cluster.kubectl("get", "pods", "-o", "name").split()) == 1, "it was not submitted twice"
    finally:
        studio("stop", "sim")
    assert cluster.kubectl("get", "deployments,pods", "-o", "name") == ""
    assert log().count("Application startup complete") == 1
    assert json.loads(studio("usage", "--json"))["totals"]["total_requests"] == 2
