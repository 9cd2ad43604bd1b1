"""Runs handed over to a real Ray Serve on two nodes: what becomes of them when something is killed, scaled or removed.

Another application runs there all the time, deployed by somebody else: no test may touch it.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import ray
from tests.clusters.ray import HEAD, OTHER, Cluster, wait_for
from tests.ports import free_port
from tests.process.serving import small_model
from tests.process.test_guide import GUIDE, blocks, environment
from tests.unit.test_render import source
from tests.unit.test_render_ray_serve import big, small
from vllm_studio_tui.followers.ray_serve import APPLICATIONS
from vllm_studio_tui.services.render import ray_serve
from vllm_studio_tui.services.render.ray_serve import render

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

#: An application that a program deploys: it is in no list that is sent to Ray Serve.
BY_PROGRAM = """
from ray import serve
@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Neighbour:
    async def __call__(self, request):
        return "here"
serve.run(Neighbour.bind(), name="by-program", route_prefix="/by-program")
"""


class Product:
    """A home of the studio, and its commands."""

    def __init__(self, home: Path, cluster: Cluster) -> None:
        self.home, self.cluster = home, cluster
        self.environ = {**os.environ, "VLLM_STUDIO_HOME": str(home), "NO_COLOR": "1"}

    def __call__(self, *words: str, code: int = 0, seconds: float = 120) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "vllm_studio_tui", *words],
            env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def recipe(self, name: str, **handover: Any) -> None:
        more = handover.pop("more", {})
        file = self.home.parent / f"{name}.yaml"
        data = {
            "id": name, "name": name, "backend": "llamacpp", "model_path": str(small_model()),
            "max_num_seqs": 2, "max_model_len": 1024, "port": free_port(),
            "handover": {"to": "ray-serve", "address": self.cluster.dashboard, **handover}, **more,
        }  # fmt: skip
        file.write_text(json.dumps(data))
        self("recipes", "import", str(file))

    def run(self, name: str) -> dict[str, Any]:
        folder = next((self.home / "state/runs").glob(f"*/{name}-*"))
        return {"folder": folder, **json.loads((folder / "state.json").read_text())}

    def spec(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.run(name)["folder"] / "spec.json").read_text()))

    def log(self, name: str) -> str:
        return Path(self.run(name)["folder"], "engine.log").read_text(errors="replace")

    def wait(self, name: str, what: Any, seconds: float = 90) -> dict[str, Any]:
        def look() -> Any:
            now = self.run(name)
            return now if what(now) else None

        def words() -> str:
            now = self.run(name)
            kept = {key: now[key] for key in ("state", "stage", "job_state", "trouble", "parts", "reason", "title")}
            return f"{kept}\n{self.log(name)[-1500:]}"

        return dict(wait_for(look, seconds, words))

    def ask(self, name: str, *, stream: bool = False, tokens: int = 8) -> str:
        """Ask the port of this machine that leads there."""
        body = {"model": name, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": tokens,
                "stream": stream}  # fmt: skip
        request = urllib.request.Request(
            f"{self.spec(name)['base_url']}/chat/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())


def declared(cluster: Cluster, names: tuple[str, ...] = ("neighbour",)) -> list[dict[str, Any]]:
    """Applications that somebody else deploys by a file: small servers, with variables that browsers are not shown."""
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as made:
        made.writestr(f"{ray_serve.MODULE}.py", ray_serve.module_text())
    cluster.put("/api/packages/gcs/_ray_pkg_of_others.zip", box.getvalue())
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
    return [
        {
            "name": name, "route_prefix": f"/{name}", "import_path": f"{ray_serve.MODULE}:build",
            "args": {"argv": argv, "health_path": "/", "cwd": "/usr/share"},
            "runtime_env": {"working_dir": "gcs://_ray_pkg_of_others.zip", "env_vars": {"HIDDEN": "from browsers"}},
            "deployments": [{"name": "engine", "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}],
        }
        for name in names
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ray.running(tmp_path_factory.mktemp("ray"), gpus=1) as one:
        one.put(APPLICATIONS, {**ray_serve.serve_options(), "applications": declared(one)})
        python = one.environment / "bin/python"
        one.put("/api/jobs/", {"entrypoint": shlex.join([str(python), "-c", BY_PROGRAM])}, method="POST")
        wait_for(lambda: set(running(one)) >= {"neighbour", "by-program"}, 90, lambda: str(one.applications()))
        yield one


def running(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """The replicas of each application that runs."""
    return {
        name: tuple(one["replica_id"] for each in app["deployments"].values() for one in each["replicas"])
        for name, app in cluster.applications().items()
        if app["status"] == "RUNNING"
    }


@pytest.fixture
def product(tmp_path: Path, cluster: Cluster) -> Iterator[Product]:
    before = running(cluster)
    one = Product(tmp_path / "home", cluster)
    try:
        yield one
    finally:
        for file in (one.home / "state/runs").glob("*/*/state.json"):
            if json.loads(file.read_text())["state"] not in ("failed", "exited"):
                one("stop", file.parent.name)
    after = running(cluster)
    assert {name: after.get(name) for name in ("neighbour", "by-program")} == {
        name: before[name] for name in ("neighbour", "by-program")
    }, "an application of somebody else was touched"
    assert not [name for name in cluster.applications() if name not in ("neighbour", "by-program")]
    assert not cluster.processes("vllm_studio_tui.backends.embedded"), "an engine outlived its replica"


def replicas(now: dict[str, Any], state: str = "RUNNING") -> dict[str, str]:
    return {one["name"]: one["where"] for one in now["parts"] if one["state"] == state}


def test_a_recipe_is_deployed_answers_is_counted_and_is_removed(product: Product) -> None:
    product.recipe("one", memory="1G")
    product("launch", "one", "--wait")
    now = product.wait("one", lambda now: now["job_state"] == "RUNNING")
    assert (now["state"], now["handle"]) == ("ready", f"ray-serve:{now['run_id']}")
    assert set(replicas(now).values()) <= {HEAD, OTHER}
    assert json.loads(product.ask("one"))["choices"][0]["message"]["content"]
    pieces = product.ask("one", stream=True).split("\n\n")
    assert len(pieces) > 4 and "data: [DONE]" in pieces, pieces
    assert "listening on" in product.log("one")
    assert product("chat", "--recipe", "one", "--max-tokens", "4", "Say hello.").strip()
    metrics = urllib.request.urlopen(f"{product.spec('one')['base_url'].removesuffix('/v1')}/metrics", timeout=10)
    counted = {name: int(value) for name, value in re.findall(r"^llamacpp:(\w+) (\d+)$", metrics.read().decode(), re.M)}
    product("stop", "one")
    assert (product.run("one")["state"], product.run("one")["reason"]) == ("exited", "stopped")
    assert product.run("one")["run_id"] not in product.cluster.applications()
    used = json.loads(product("usage", "--json"))["totals"]
    told = (used["completion_tokens"], used["kinds"]["computed"])
    assert told == (counted["tokens_predicted_total"], counted["prompt_tokens_total"]), used
    assert used["completion_tokens"] > 0


def test_a_killed_replica_is_told_of_while_ray_mends_it(product: Product) -> None:
    product.recipe("one")
    product("launch", "one", "--wait")
    first = replicas(product.run("one"))
    (victim,) = product.cluster.processes(f"ServeReplica:{product.run('one')['run_id']}")
    victim.kill()
    told = product.wait("one", lambda now: "Ray starts another" in (now["trouble"] or ""))
    assert told["state"] in ("ready", "unhealthy", "loading") and told["reason"] is None
    now = product.wait("one", lambda now: now["state"] == "ready" and replicas(now) and not now["trouble"])
    assert set(replicas(now)).isdisjoint(first)
    assert json.loads(product.ask("one"))["choices"]
    assert now["restarts"] == 0, "what Ray mends is not started again from here"


def test_a_killed_raylet_is_told_of_and_what_it_had_goes_on_elsewhere(tmp_path: Path, cluster: Cluster) -> None:
    product = Product(tmp_path / "home", cluster)
    product.recipe("one")
    product.recipe("two", replicas=2, more={"gpus": ["0"]})
    product("launch", "two", "--wait")
    product("launch", "one", "--wait")
    product.wait("two", lambda now: sorted(replicas(now).values()) == [HEAD, OTHER])
    cluster.kill_raylet(OTHER)
    try:
        told = product.wait("two", lambda now: "1 of 2 replicas run" in (now["trouble"] or ""))
        assert told["state"] == "ready"
        assert json.loads(product.ask("two"))["choices"], "the other replica answers"
        product.wait("two", lambda now: f"node {OTHER} is lost" in (now["trouble"] or ""))
        product.wait("two", lambda now: "needs 1 GPU, the cluster has 0 free of 1" in (now["trouble"] or ""))
        product.wait("one", lambda now: list(replicas(now).values()) == [HEAD] and now["state"] == "ready")
        assert json.loads(product.ask("one"))["choices"]
    finally:
        cluster.tell("other")
    product.wait("two", lambda now: sorted(replicas(now).values()) == [HEAD, OTHER] and not now["trouble"])
    for name in ("one", "two"):
        product("stop", name)
    wait_for(lambda: set(running(cluster)) == {"neighbour", "by-program"}, 60, lambda: str(cluster.applications()))


def test_more_requests_bring_another_replica(product: Product) -> None:
    product.recipe("one", max_replicas=2)
    product("launch", "one", "--wait")
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            product.ask("one", tokens=200)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask) for _ in range(6)]
        try:
            product.wait("one", lambda now: len(replicas(now)) == 2, 150)
        finally:
            over.set()
    assert not [one.exception() for one in asking if one.exception()]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{product.spec('one')['base_url'].removesuffix('/v1')}/metrics", timeout=10)
    assert refused.value.code == 404, "counters of one replica are not those of the run"


def test_what_no_node_has_is_waited_for_and_said(product: Product) -> None:
    product.recipe("one", more={"gpus": ["0", "1"]})
    product("launch", "one")
    words = "waiting in Ray: a replica needs 2 GPUs, the cluster has 2 free of 2, at most 1 on one node"
    now = product.wait("one", lambda now: now["stage"] == words)
    assert (now["state"], now["job_state"]) == ("starting", "DEPLOYING")
    product("stop", "one")
    assert (product.run("one")["state"], product.run("one")["reason"]) == ("exited", "stopped")


def test_an_engine_that_cannot_start_is_a_failure_with_its_cause(product: Product) -> None:
    product.recipe(
        "one",
        more={
            "backend": "custom",
            "model_path": "",
            "served_model_name": "one",
            "command": (
                "sh -c 'echo \"no kernel image is available for execution on the device\" >&2; exit 3' --port {port}"
            ),
        },
    )
    product("launch", "one", "--wait", code=1)
    now = product.run("one")
    assert now["state"] == "failed"
    assert "no kernel image" in product.log("one")
    assert "kernel" in f"{now['title']} {now['evidence']}", now


def test_what_somebody_else_removes_has_ended(product: Product) -> None:
    product.recipe("one")
    product("launch", "one", "--wait")
    product.cluster.put(APPLICATIONS, {"applications": declared(product.cluster)})
    now = product.wait("one", lambda now: now["state"] in ("failed", "exited"))
    assert now["reason"] == "ray_removed" and "somebody else" in now["title"], now


def test_a_killed_keeper_and_follower_find_it_again(product: Product) -> None:
    product.recipe("one")
    product("launch", "one", "--wait")
    now = product.run("one")
    before = running(product.cluster)[now["run_id"]]
    for pid in (now["keeper_pid"], now["pid"]):
        os.kill(pid, signal.SIGKILL)
    product("restore")
    again = product.wait("one", lambda now: now["state"] == "ready" and now["keeper_pid"] and replicas(now))
    assert again["keeper_pid"] != now["keeper_pid"] and again["pid"] != now["pid"]
    assert running(product.cluster)[now["run_id"]] == before
    assert json.loads(product.ask("one"))["choices"]


def test_a_dashboard_that_does_not_answer_ends_nothing(product: Product) -> None:
    product.recipe("one")
    product("launch", "one", "--wait")
    product.cluster.signal_dashboard(signal.SIGSTOP)
    try:
        now = product.wait("one", lambda now: "does not answer" in (now["trouble"] or ""))
        assert now["state"] == "ready"
        assert json.loads(product.ask("one"))["choices"], "Serve goes on without its dashboard"
    finally:
        product.cluster.signal_dashboard(signal.SIGCONT)
    product.wait("one", lambda now: not now["trouble"])


def test_the_page_of_the_guide_can_be_followed(product: Product, tmp_path: Path) -> None:
    page = GUIDE / "run-on-ray.md"
    commands = "".join(one.text for one in blocks(page))
    assert "launch smollm --wait" in commands and "render ray-serve" in commands
    home = product.home.parent / "guide"
    home.mkdir()
    product.home = home / "vllm-studio-guide"
    product.environ["VLLM_STUDIO_HOME"] = str(product.home)
    commands = commands.replace("//HEAD:", f"//{HEAD}:")
    done = subprocess.run(
        ["bash", "--norc", "-c", f"set -euxo pipefail\n{commands}"], env=environment(home), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert {one.name for one in (tmp_path / "ray-files").iterdir()} == {"smollm.yaml", f"{ray_serve.MODULE}.py"}


def test_rays_own_schema_takes_what_is_rendered(cluster: Cluster, tmp_path: Path) -> None:
    for name, text in render(source(small(max_num_seqs=4), big())).items():
        (tmp_path / name).write_text(text)
    check = (
        "import sys, yaml\n"
        "from ray.serve.schema import ServeDeploySchema\n"
        "for name in sys.argv[1:]: ServeDeploySchema.model_validate(yaml.safe_load(open(name)))\n"
    )
    files = [str(one) for one in tmp_path.glob("*.yaml")]
    assert len(files) == 2
    subprocess.run([str(cluster.environment / "bin/python"), "-c", check, *files], check=True, timeout=120)
