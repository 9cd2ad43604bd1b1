"""A Deployment and a Service for each recipe, and a HorizontalPodAutoscaler where it scales.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.services.render.kube_words import kube_name
from vllm_studio_tui.services.render.lines import files_of_each, refused
from vllm_studio_tui.services.render.pod import LONG_START, Pod, labels_of, metadata_of, pod_of
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: Requests that wait for one copy before another is started.
WAITING_EACH = "5"


def render(source: RenderSource) -> Files:
    """Return `ID.yaml` for each recipe that has an image.

    Raises:
        StudioError: None of them can be a Deployment.
    """
    return files_of_each(source, "kubernetes", ".yaml", _text)


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
        StudioError: It cannot be a Deployment.
    """
    if one.recipe.node_count > 1:
        raise refused("a copy takes several nodes: `render lws` makes a LeaderWorkerSet")
    pod = pod_of(one)
    made = [_deployment(one, name, pod, labels), service(one, name, labels_of(name), labels)]
    if one.recipe.handover.max_replicas is not None:
        scaler, told = autoscaler(one, name, ("apps/v1", "Deployment"), labels)
        made.append(scaler)
        pod.told += told
    return made, pod.told


def _deployment(one: RenderedRecipe, name: str, pod: Pod, labels: dict[str, str] | None) -> dict[str, Any]:
    handover = one.recipe.handover
    alone = max(handover.replicas, handover.max_replicas or 0) <= 1
    # GPUs of the old copy are free only once it has gone: a new one beside it might wait for ever.
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    spec: dict[str, Any] = {
        "replicas": handover.replicas,
        "strategy": {"type": "Recreate"} if alone else rolling,
        "progressDeadlineSeconds": int(one.recipe.ready_timeout or LONG_START) + 600,
        "selector": {"matchLabels": labels_of(name)},
        "template": {"metadata": {"labels": {**labels_of(name), **(labels or {})}}, "spec": pod.whole("engine")},
    }
    if handover.max_replicas is not None:
        spec.pop("replicas")  # the autoscaler's: whoever applies the file again would set it back
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata_of(one, name, labels), "spec": spec}


def service(
    one: RenderedRecipe, name: str, selector: dict[str, str], labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the Service that leads to the pods of a selector."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata_of(one, name, labels),
        "spec": {
            "selector": selector,
            "ports": [{"name": "http", "port": one.port, "protocol": "TCP", "targetPort": "http"}],
        },
    }


def autoscaler(
    one: RenderedRecipe, name: str, target: tuple[str, str], labels: dict[str, str] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return the HorizontalPodAutoscaler of a recipe, and what it needs.

    Raises:
        StudioError: Its engine tells of no requests that wait, or it is to scale to zero.
    """
    handover = one.recipe.handover
    if handover.replicas == 0:
        raise refused("a HorizontalPodAutoscaler keeps at least one copy: replicas is 0 (`render kserve` can)")
    backend = registry.backends().get(one.recipe.backend)
    names = [spec.names[0] for spec in (backend.metrics or ()) if spec.field == "waiting"] if backend else []
    if not names:
        raise refused(f"{one.recipe.backend} tells of no waiting requests, by which Kubernetes could scale it")
    metric = names[0].replace(":", "_")
    version, kind = target
    made = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata_of(one, name, labels),
        "spec": {
            "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": name},
            "minReplicas": handover.replicas,
            "maxReplicas": handover.max_replicas,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": metric},
                        "target": {"type": "AverageValue", "averageValue": WAITING_EACH},
                    },
                }
            ],
        },
    }
    told = f"Kubernetes scales it by {metric} ({names[0]}): an adapter such as prometheus-adapter must serve it."
    return made, [told]
