"""What Ray Serve really answered (Ray 2.60, two nodes), and what a person is told of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.job import Phase
from vllm_studio_tui.followers import ray_look

CAPTURED = Path(__file__).parents[1] / "fixtures/ray"
HEAD, OTHER = "198.18.15.2", "198.18.15.3"


def captured(name: str) -> Any:
    return json.loads((CAPTURED / f"{name}.json").read_text())


def application(name: str, of: str = "smol") -> dict[str, Any]:
    return dict(captured(name)["applications"][of])


def more(*, dead: bool = False, gpus: float = 2) -> dict[str, Any]:
    """The answers about nodes and free resources; `dead`: the second node is."""
    nodes, status = captured("nodes"), captured("cluster_status")
    usage = status["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
    for node in usage.values():
        node["GPU"] = [1 - gpus / 2, 1]
    if dead:
        for one in nodes["data"]["result"]["result"]:
            if one["node_ip"] == OTHER:
                one["state"] = "DEAD"
                del usage[one["node_id"]]
    return {"nodes": nodes, "status": status}


def test_one_that_runs_has_its_replicas_as_parts_and_no_trouble() -> None:
    memory: dict[str, Any] = {}
    look = ray_look.read("smol", application("running"), memory)
    assert (look.phase, look.state, look.stage, look.trouble) == (Phase.RUNNING, "RUNNING", "", "")
    assert [(one.name, one.where, one.state) for one in look.parts] == [("engine n1cm3nm0", OTHER, "RUNNING")]
    assert memory["ran"] is True and ray_look.whole(application("running"))
    assert ray_look.proxies(captured("running")) == [HEAD, OTHER]


def test_one_that_is_deployed_waits() -> None:
    look = ray_look.read("smol", application("deploying"), {}, more())
    assert (look.phase, look.state) == (Phase.WAITING, "DEPLOYING")
    assert look.stage == "waiting in Ray: a replica is being placed"
    assert look.parts[0].where == "" and look.parts[0].words == "not placed yet"


def test_what_is_missing_is_said_with_its_numbers() -> None:
    waiting = application("waiting_for_gpus", "toobig")
    stage = ray_look.read("toobig", waiting, {}, more()).stage
    assert stage == "waiting in Ray: a replica needs 2 GPUs, the cluster has 2 free of 2, at most 1 on one node"
    stage = ray_look.read("toobig", waiting, {}, more(gpus=0)).stage
    assert stage == "waiting in Ray: a replica needs 2 GPUs, the cluster has 0 free of 2"
    # Ray does not tell of its nodes: nothing is made up.
    assert ray_look.read("toobig", waiting, {}).stage == "waiting in Ray: a replica is being placed"


def test_a_replica_over_several_nodes_needs_what_all_nodes_have_together() -> None:
    waiting = application("waiting_for_gpus", "toobig")
    config = waiting["deployments"]["engine"]["deployment_config"]
    config |= {"placement_group_bundles": [{"GPU": 1, "CPU": 1}] * 4, "placement_group_strategy": "PACK"}
    stage = ray_look.read("toobig", waiting, {}, more()).stage
    assert stage == "waiting in Ray: a replica needs 4 GPUs, the cluster has 2 free of 2"


def test_a_replica_that_ended_is_named_while_ray_starts_another() -> None:
    memory: dict[str, Any] = {}
    ray_look.read("smol", application("running"), memory)
    look = ray_look.read("smol", application("replica_killed"), memory, more())
    assert look.phase is Phase.RUNNING and look.cause is None
    assert look.trouble == "replica n1cm3nm0 has ended; no replica runs, Ray starts another"
    assert not ray_look.whole(application("replica_killed"))


def test_a_lost_node_is_named_and_its_replica_is_not_said_to_have_ended() -> None:
    node = captured("nodes")["data"]["result"]["result"]
    (there,) = [one["node_id"] for one in node if one["node_ip"] == OTHER]
    memory: dict[str, Any] = {"ran": True, "placed": {"n0": f"{OTHER} {there}"}}
    look = ray_look.read("smol", application("replica_killed"), memory, more(dead=True))
    assert look.trouble == f"node {OTHER} is lost; no replica runs, Ray starts another"
    # It is remembered until all run again, by the next follower too.
    again = ray_look.read("smol", application("replica_killed"), json.loads(json.dumps(memory)), more(dead=True))
    assert f"node {OTHER} is lost" in again.trouble
    moved = ray_look.read("smol", application("moved"), memory, None)
    assert (moved.trouble, moved.parts[0].where) == ("", HEAD) and memory["lost"] == {}


def test_a_deployment_that_failed_has_ended_with_its_last_error() -> None:
    look = ray_look.read("bad", application("deploy_failed", "bad"), {})
    assert look.phase is Phase.ENDED and look.cause is not None
    assert (look.cause.reason, look.cause.weak) == ("ray_deploy_failed", True)
    assert look.cause.title == (
        "Ray could not deploy it: RuntimeError: the engine ended with 3; its last words are in the log of this replica"
    )
    assert look.cause.evidence


def test_a_later_deployment_that_failed_does_not_end_replicas_that_run() -> None:
    half = copy.deepcopy(application("running"))
    half["status"] = "DEPLOY_FAILED"
    look = ray_look.read("smol", half, {"ran": True})
    assert look.phase is Phase.RUNNING and look.cause is None


def test_one_that_is_taken_down_is_not_over_yet() -> None:
    look = ray_look.read("smol", application("deleting"), {"ran": True})
    assert (look.phase, look.state) == (Phase.RUNNING, "DELETING")


def test_the_logs_of_the_dead_are_read_too() -> None:
    found = application("replica_killed")
    found["deployments"]["engine"]["recent_dead_replicas"] = [{"replica_id": "gone", "actor_id": "aa"}]
    assert next(iter(ray_look.replicas(found))).name == "engine gone"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["status", "message", "deployments", "replicas", "engine", "state", "node_ip", "replica_id",
                         "required_resources", "target_num_replicas", "data", "result", "GPU", "deployment_config",
                         "placement_group_bundles", "recent_dead_replicas", "actor_id", "proxies"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["status", "deployments", "message"]), JSON), JSON, JSON)
def test_no_answer_is_believed(found: dict[str, Any], nodes: Any, status: Any) -> None:
    look = ray_look.read("x", found, {}, {"nodes": nodes, "status": status})
    assert isinstance(look.trouble, str) and isinstance(look.stage, str)
    ray_look.replicas(found)
    ray_look.whole(found)
    ray_look.proxies(found)
