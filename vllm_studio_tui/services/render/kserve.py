"""A KServe InferenceService for each recipe: https://kserve.github.io/website

Its predictor is a container of our own, which every engine can be. (`LLMInferenceService`, still an alpha, runs vLLM
by templates of KServe's: what a recipe says of the command has no place there.)
"""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.services.render.kube_words import kube_name
from vllm_studio_tui.services.render.lines import files_of_each, refused
from vllm_studio_tui.services.render.pod import labels_of, metadata_of, pod_of
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: Requests at once for one copy, before Knative starts another.
AT_ONCE = 16


def render(source: RenderSource) -> Files:
    """Return `ID.yaml` for each recipe that has an image.

    Raises:
        StudioError: None of them can be an InferenceService.
    """
    return files_of_each(source, "kserve", ".yaml", _text)


def _text(one: RenderedRecipe) -> tuple[str, list[str]]:
    handover = one.recipe.handover
    if one.recipe.node_count > 1:
        raise refused("a copy takes several nodes: `render lws` makes a LeaderWorkerSet")
    pod = pod_of(one)
    # The Service before it talks HTTP/1 by this name of the port.
    pod.container["ports"] = [{"name": "http1", "containerPort": one.port, "protocol": "TCP"}]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        pod.container[name]["httpGet"]["port"] = one.port
    scaled = handover.max_replicas is not None and handover.max_replicas != handover.replicas
    if not scaled and handover.replicas == 0:
        raise refused("replicas is 0 and max_replicas says nothing: it would never be started")
    size: dict[str, Any] = {"minReplicas": handover.replicas, "maxReplicas": handover.max_replicas or handover.replicas}
    if scaled:
        size |= {"scaleMetric": "concurrency", "scaleTarget": one.recipe.max_num_seqs or AT_ONCE}
        pod.told.append(
            "Knative scales it by requests at once. Its config-features (kubernetes.podspec-..) must allow what the "
            "pod has: nodeselector, tolerations, securitycontext, volumes-hostpath, persistent-volume-claim."
        )
        pod.spec.pop("enableServiceLinks")  # Knative has a default of its own, and no other value without a feature
    name = kube_name(one.recipe.id)
    head = metadata_of(one, name)
    head["annotations"]["serving.kserve.io/deploymentMode"] = "Knative" if scaled else "Standard"
    if not scaled:
        head["annotations"]["serving.kserve.io/autoscalerClass"] = "none"
        # Copies that take turns would need GPUs for both.
        size["deploymentStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": head,
        "spec": {"predictor": {**size, "labels": labels_of(name), **pod.whole("kserve-container")}},
    }
    return yaml_text(document), pod.told
