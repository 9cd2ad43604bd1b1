"""What is read of a real Ray cluster of two nodes, beside what Ray's own commands say of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import ray
from tests.clusters.ray import GCS, HEAD, OTHER, Cluster, wait_for
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.ray_trouble import ray_troubles
from vllm_studio_tui.domain.ray_view import RayDeployment, RayView
from vllm_studio_tui.probes.ray import PATIENCE, read_ray
from vllm_studio_tui.services.watching.ray import Ray

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

TOKEN = "0123456789abcdef0123456789abcdef"
#: Two replicas, one on each node, because each wants the only GPU of one.
ECHO = """
from ray import serve
@serve.deployment(name="Echo", num_replicas=2, ray_actor_options={"num_gpus": 1, "num_cpus": 0.1})
class Echo:
    async def __call__(self, request):
        return "here"
serve.run(Echo.bind(), name="echo", route_prefix="/echo")
"""
#: What no node has room for, for as long as the job lives.
TOO_MUCH = """
import ray, time
from ray.util.placement_group import placement_group
ray.init()
group = placement_group([{"GPU": 1}, {"GPU": 1}], strategy="STRICT_PACK", name="tp2")
@ray.remote(num_gpus=3, num_cpus=1)
class Large:
    pass
one = Large.options(name="large").remote()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ray.running(tmp_path_factory.mktemp("ray"), gpus=1) as one:
        submit(one, ECHO)
        wait_for(lambda: replicas(one).count("RUNNING") == 2, 120, lambda: str(one.applications()))
        yield one


def look(cluster: Cluster, token: str | None = None) -> RayView:
    """What is read of it; a busy machine takes its time."""
    return read_ray(cluster.dashboard, token, patience=40)


def submit(cluster: Cluster, program: str) -> str:
    """Run a program on the cluster; the id of the job."""
    python = str(cluster.environment / "bin/python")
    body = json.dumps({"entrypoint": shlex.join([python, "-c", program])}).encode()
    request = cluster._request("/api/jobs/", method="POST", data=body)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["submission_id"])


def replicas(cluster: Cluster) -> list[str]:
    """The states of the replicas, as Serve itself tells of them."""
    found = cluster.applications().get("echo", {}).get("deployments", {}).get("Echo", {})
    return [str(one["state"]) for one in found.get("replicas", ())]


def own_words(cluster: Cluster, *words: str) -> str:
    """What a command of Ray itself prints."""
    done = subprocess.run(
        [str(cluster.environment / "bin/ray"), *words], capture_output=True, text=True, timeout=120,
        env={**os.environ, "RAY_ADDRESS": f"{HEAD}:{GCS}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def taken(view: RayView) -> dict[str, tuple[float, float | None]]:
    """How much of CPUs and GPUs tasks and actors took, of how much."""
    return {one.name: (round(one.used or 0.0, 6), one.total) for one in view.resources() if one.name in ("CPU", "GPU")}


def taken_by_its_own_words(cluster: Cluster) -> dict[str, tuple[float, float | None]]:
    status = own_words(cluster, "status", "--address", f"{HEAD}:{GCS}")
    found = re.findall(r"([\d.]+)/([\d.]+) (CPU|GPU)", status)
    return {name: (round(float(used), 6), float(whole)) for used, whole, name in found}


def echo(view: RayView) -> RayDeployment:
    (found,) = [one for app in view.applications or () for one in app.deployments if app.name == "echo"]
    return found


def sentences(view: RayView) -> list[str]:
    return [one.words for one in ray_troubles(view) if one.severity != "note"]


def test_a_cluster_with_a_token_is_read_with_it_and_refuses_without(tmp_path: Path) -> None:
    # Before the others, whose cluster stays: there is one at a time.
    with ray.running(tmp_path, gpus=1, token=TOKEN) as cluster:
        assert look(cluster).error == "it wants a token"
        assert look(cluster, "f" * 32).error == "it refuses the token"
        view = look(cluster, TOKEN)
        assert (view.error, view.missing) == ("", {})
        assert _alive(view) == {HEAD, OTHER}


def test_nodes_and_resources_are_those_that_ray_itself_lists(cluster: Cluster) -> None:
    view = look(cluster)
    assert (view.error, view.missing) == ("", {})
    listed = json.loads(own_words(cluster, "list", "nodes", "--format", "json", "--address", cluster.dashboard))
    assert {(one["node_id"], one["node_ip"], one["state"], one["is_head_node"]) for one in listed} == {
        (node.id, node.address, node.state, node.head) for node in view.nodes or ()
    }
    wait_for(lambda: taken(look(cluster)) == taken_by_its_own_words(cluster), 60, "what is taken, which Ray tells late")
    assert taken(look(cluster)) == {"CPU": (0.2, 8.0), "GPU": (2.0, 2.0)}
    assert sentences(view) == []


def test_replicas_are_those_that_serve_itself_tells_of(cluster: Cluster) -> None:
    deployment = echo(look(cluster))
    assert sorted(one.state for one in deployment.replicas) == sorted(replicas(cluster)) == ["RUNNING", "RUNNING"]
    assert {one.node for one in deployment.replicas} == {HEAD, OTHER}
    assert (deployment.target, deployment.needs) == (2, {"CPU": 0.1, "GPU": 1.0})


def test_a_killed_replica_is_told_and_so_is_its_return(cluster: Cluster) -> None:
    victim = cluster.processes("ray::ServeReplica:echo:Echo")[0]
    victim.kill()
    view = wait_for(lambda: _told(cluster, "echo Echo: 1 of 2 replicas run"), 30, "the replica is missing")
    assert any("died" in one.words for one in ray_troubles(view) if one.severity == "note")
    wait_for(lambda: replicas(cluster) == ["RUNNING", "RUNNING"], 60, lambda: str(replicas(cluster)))
    wait_for(lambda: sentences(look(cluster)) == [], 30, lambda: str(sentences(look(cluster))))


def _told(cluster: Cluster, words: str) -> RayView | None:
    view = look(cluster)
    return view if any(words in one for one in sentences(view)) else None


def test_what_waits_is_told_with_why_there_is_no_room(cluster: Cluster) -> None:
    job = submit(cluster, TOO_MUCH)
    try:
        view = wait_for(lambda: _told(cluster, "The actor large waits"), 60, "the actor waits")
        wait_for(lambda: _told(cluster, "Placement group tp2 waits"), 30, "the group waits")
        assert "The actor large waits: it needs 3 GPU and 1 CPU, and no node has more than 1 GPU" in sentences(view)
        status = own_words(cluster, "status", "--address", f"{HEAD}:{GCS}")
        assert "pending tasks/actors" in status
        assert "{'GPU': 1.0} * 2 (STRICT_PACK): 1+ pending placement groups" in status
        assert any("it needs 2 times 1 GPU (STRICT_PACK), and no node has more than 1 GPU" in one
                   for one in sentences(look(cluster)))  # fmt: skip
    finally:
        request = cluster._request(f"/api/jobs/{job}/stop", method="POST")
        urllib.request.urlopen(request, timeout=60).close()
    wait_for(lambda: sentences(look(cluster)) == [], 60, "nothing waits any more")


def test_a_dashboard_that_hangs_costs_seconds_and_says_so(cluster: Cluster) -> None:
    cluster.signal_dashboard(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert read_ray(cluster.dashboard).error == f"no whole answer in {PATIENCE:g} s"
        assert time.monotonic() - began < 2 * PATIENCE
    finally:
        cluster.signal_dashboard(signal.SIGCONT)
    wait_for(lambda: not look(cluster).error, 60, "it answers again")


def test_a_killed_raylet_is_seen_dead_within_ten_seconds_of_ray_itself(cluster: Cluster, tmp_path: Path) -> None:
    studio = Ray(lambda: Settings(ray_address=cluster.dashboard), lambda: (), {})
    wait_for(lambda: _alive(studio.look()) == {HEAD, OTHER}, 30, "both are there")
    cluster.kill_raylet(OTHER)
    killed = time.monotonic()
    wait_for(lambda: cluster.nodes().get(OTHER) == "DEAD", 90, lambda: str(cluster.nodes()))
    itself = time.monotonic()
    wait_for(lambda: _alive(studio.look()) == {HEAD}, 30, "it is seen")
    seen = time.monotonic()
    print(f"Ray called it dead after {itself - killed:.1f} s, it was seen {seen - itself:.1f} s later")
    assert seen - itself < 10
    view = look(cluster)
    words = sentences(view)
    assert words[0].startswith(f"Node {OTHER} is dead for ")
    assert "with 1 GPU and 4 CPU; 1 of 2 nodes left: Unexpected termination" in words[0]
    waits = "each needs 1 GPU and 0.1 CPU, and no node has 1 GPU free (the most is 0 GPU)"
    wait_for(lambda: _told(cluster, waits), 90, lambda: str(sentences(look(cluster))))

    said = subprocess.run(
        [sys.executable, "-m", "vllm_studio_tui", "ray", "--address", cluster.dashboard], capture_output=True,
        text=True, timeout=60, env={**os.environ, "VLLM_STUDIO_HOME": str(tmp_path)},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "1 of 2 nodes alive" in said.stdout
    assert f"Node {OTHER} is dead for " in said.stdout


def _alive(view: Any) -> set[str]:
    assert isinstance(view, RayView)
    return {node.address for node in view.alive}
