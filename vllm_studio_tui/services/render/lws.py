"""A LeaderWorkerSet for each recipe whose copies take several nodes: https://lws.sigs.k8s.io

The leader answers requests, the workers have no HTTP server; each learns its place from the variables that
LeaderWorkerSet gives to its pods. Which ranks a pod has is the engine's own affair.
"""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.ranks import MOST, PORTS, RankPlace
from vllm_studio_tui.services.render.kube_words import kube_name
from vllm_studio_tui.services.render.kubernetes import autoscaler, service
from vllm_studio_tui.services.render.lines import files_of_each, refused
from vllm_studio_tui.services.render.pod import Pod, contained, labels_of, metadata_of, pod_of
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource
from vllm_studio_tui.services.render.yaml_text import yaml_text

VERSION, KIND = "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"
LEADER, INDEX, OWN = "LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX", "POD_IP"
#: Ports at which ranks meet lie so far above that of HTTP.
ABOVE = 1000


def render(source: RenderSource) -> Files:
    """Return `ID.yaml` for each recipe that takes several nodes and has an image.

    Raises:
        StudioError: None of them can be a LeaderWorkerSet.
    """
    return files_of_each(source, "lws", ".yaml", _text)


def _text(one: RenderedRecipe) -> tuple[str, list[str]]:
    made, told = documents(one, kube_name(one.recipe.id))
    return "---\n".join(map(yaml_text, made)), told


def documents(
    one: RenderedRecipe, name: str, labels: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the objects of a recipe, and what a person must know of them.

    Args:
        name: Of each object.
        labels: Further labels of each object and pod.

    Raises:
        StudioError: It cannot be a LeaderWorkerSet.
    """
    recipe, handover = one.recipe, one.recipe.handover
    if recipe.node_count < 2:
        raise refused("a copy takes one node: `render kubernetes` makes a Deployment (handover.nodes says how many)")
    leader, worker = _pods(one)
    group = {
        "size": recipe.node_count,
        # A rank that was lost cannot join again: the copy begins anew as a whole.
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": _template(leader, name, labels, "leader"),
        "workerTemplate": _template(worker, name, labels, "worker"),
    }
    spec: dict[str, Any] = {
        "replicas": handover.replicas,
        "leaderWorkerTemplate": group,
        "rolloutStrategy": {
            "type": "RollingUpdate",
            "rollingUpdateConfiguration": {"maxUnavailable": 1, "maxSurge": 0},
        },
    }
    if handover.max_replicas is not None:
        spec.pop("replicas")  # the autoscaler's
    document = {"apiVersion": VERSION, "kind": KIND, "metadata": metadata_of(one, name, labels), "spec": spec}
    made = [document, service(one, name, {**labels_of(name), "role": "leader"}, labels)]
    if handover.max_replicas is not None:
        scaler, told = autoscaler(one, name, (VERSION, KIND), labels)
        made.append(scaler)
        leader.told += told
    leader.told.append("The cluster needs LeaderWorkerSet: https://lws.sigs.k8s.io/docs/installation")
    return made, leader.told


def _template(pod: Pod, name: str, labels: dict[str, str] | None, role: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {**labels_of(name), **(labels or {}), "role": role}},
        "spec": pod.whole("engine"),
    }


def _pods(one: RenderedRecipe) -> tuple[Pod, Pod]:
    """Return the pod of the leader and that of each worker.

    Raises:
        StudioError: The engine cannot be spread over pods that are all alike.
    """
    contained(one)
    nodes = one.recipe.node_count
    parts = registry.backend(one.recipe.backend).ranks(one.recipe)
    if one.contained_rank is None or nodes > MOST:
        raise refused("it makes no command")
    if len(parts) != nodes or any(part.role for part in parts):
        raise refused(f"its parts on several nodes are not alike (strategy {one.recipe.strategy})")
    addresses = (f"$({LEADER})", *[f"$({OWN})"] * (nodes - 1))
    port = one.port + ABOVE if one.port + ABOVE + PORTS < 65536 else one.port - ABOVE
    pods = []
    for worker in (False, True):
        index = int(worker)
        place = RankPlace(index, nodes, index, addresses, port, index_word=f"$({INDEX})" if worker else "")
        command = one.contained_rank(place)
        pod = pod_of(one, nodes=nodes, command=command, filled_in=(LEADER, INDEX, OWN), worker=worker)
        if any(f"$({OWN})" in word for word in (*command.argv, *command.env.values())):
            own = {"name": OWN, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
            pod.container["env"] = [own, *pod.container.get("env", [])]
        pods.append(pod)
    return pods[0], pods[1]
