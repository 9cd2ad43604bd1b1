"""Values for the Helm chart `vllm-stack` of vLLM's production-stack: https://github.com/vllm-project/production-stack

The chart makes the Deployment, and puts its router before all models. What its own keys cannot say of the command
stands in `vllmConfig.extraArgs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.services.render.kube_words import kube_name, literal, size_of
from vllm_studio_tui.services.render.lines import refused
from vllm_studio_tui.services.render.pod import Pod, contained, gpus_a_pod, pod_of
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource, header
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: Flags that the chart has keys for, with the kind of their value.
_KEYS: dict[str, tuple[str, type]] = {
    "tensor-parallel-size": ("tensorParallelSize", int),
    "max-model-len": ("maxModelLen", int),
    "max-num-seqs": ("maxNumSeqs", int),
    "gpu-memory-utilization": ("gpuMemoryUtilization", float),
    "dtype": ("dtype", str),
}
#: Flags that the chart writes itself.
_CHARTS = ("host", "port", "revision")


def render(source: RenderSource) -> Files:
    """Return `values.yaml` with each recipe that the chart can run.

    Raises:
        StudioError: There is none.
    """
    models, told, left = list[dict[str, Any]](), list[str](), list[str]()
    for one in source.recipes:
        try:
            model, notes = _model(one)
        except StudioError as error:
            left.append(f"{one.recipe.id}: {error.cause}")
            continue
        models.append(model)
        told += [f"{one.recipe.id}: {note}" for note in notes]
    if not models:
        cause = "\n".join(left) or "There is no recipe."
        raise StudioError("no recipe can be a model of production-stack", cause=cause)
    told += [f"Left out: {one}" for one in left]
    chart = "helm repo add vllm https://vllm-project.github.io/production-stack"
    first = f"Install: {chart}; helm install NAME vllm/vllm-stack -f values.yaml"
    wait = max(int(one.recipe.ready_timeout or 1800) for one in source.recipes)
    probe = {"initialDelaySeconds": 15, "periodSeconds": 10, "failureThreshold": -(-wait // 10)}
    values = {"servingEngineSpec": {"startupProbe": probe, "strategy": {"type": "Recreate"}, "modelSpec": models}}
    return {"values.yaml": header(source, "production-stack", first, *told) + yaml_text(values)}


def _model(one: RenderedRecipe) -> tuple[dict[str, Any], list[str]]:
    command = contained(one)
    recipe, handover = one.recipe, one.recipe.handover
    if recipe.backend != "vllm":
        raise refused("production-stack runs vllm only")
    if recipe.node_count > 1:
        raise refused("a copy takes several nodes: `render lws` makes a LeaderWorkerSet")
    if command.argv[:2] != ("vllm", "serve"):
        raise refused("the chart starts `vllm serve` of the image, and the recipe names another program")
    pod = pod_of(one)
    model, *arguments = command.argv[2:]
    made: dict[str, Any] = {
        "name": kube_name(recipe.id),
        **dict(zip(("repository", "tag"), _image(one.image or ""), strict=True)),
        "modelURL": literal(model),
        "replicaCount": handover.replicas,
        "requestCPU": handover.cpus or 4,
        "requestMemory": size_of(handover.memory or "16G", "handover.memory"),
        "requestGPU": gpus_a_pod(one, 1),
        "shmSize": size_of(recipe.docker.shm, "docker.shm"),
        "vllmConfig": _config(one, arguments),
    }
    if recipe.revision:
        made["modelRevision"] = recipe.revision
    _add_pod(made, pod)
    notes = [note for note in pod.told if not note.startswith(("Each pod fetches", "kubectl apply is told"))]
    if handover.cpus is None or handover.memory is None:
        notes.append("The chart must be told processors and memory: where the recipe says nothing they are 4 and 16Gi.")
    if handover.max_replicas is not None:
        made["keda"] = {
            "enabled": True, "minReplicaCount": handover.replicas, "maxReplicaCount": handover.max_replicas
        }  # fmt: skip
        notes.append("KEDA scales it, which the cluster must have, by Prometheus: see keda in the chart's values.")
    return made, notes


def _image(image: str) -> tuple[str, str]:
    if "@" in image:
        raise refused("the chart takes an image with a tag, not with a digest")
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")


def _options(words: list[str]) -> Iterator[list[str]]:
    """Yield each flag with the words that belong to it."""
    group: list[str] = []
    for word in words:
        if word.startswith("--") and group:
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _config(one: RenderedRecipe, arguments: list[str]) -> dict[str, Any]:
    # Without these the chart would add --no-enable-prefix-caching, and mount no /dev/shm.
    made: dict[str, Any] = {"enablePrefixCaching": True, "tensorParallelSize": 1}
    further: list[str] = []
    for group in _options(arguments):
        flag, equals, value = group[0].removeprefix("--").partition("=")
        words = [value, *group[1:]] if equals else group[1:]
        if flag in _CHARTS:
            continue
        if flag in _KEYS and len(words) == 1:
            name, kind = _KEYS[flag]
            made[name] = kind(words[0])
        elif flag.removeprefix("no-") == "enable-prefix-caching":
            made["enablePrefixCaching"] = not flag.startswith("no-")
        elif flag.removeprefix("no-") == "enable-chunked-prefill":
            made["enableChunkedPrefill"] = not flag.startswith("no-")
        else:
            further += group
    return made | ({"extraArgs": [*map(literal, further)]} if further else {})


def _add_pod(made: dict[str, Any], pod: Pod) -> None:
    """Take over from the pod what the chart has keys for.

    Raises:
        StudioError: The pod is something that the chart cannot say.
    """
    plain = {"allowPrivilegeEscalation": False}
    for name, value in (("hostIPC", pod.spec.get("hostIPC")), ("hostNetwork", pod.spec.get("hostNetwork"))):
        if value:
            raise refused(f"docker.args ask for {name}, which the chart has no key for")
    if pod.container["securityContext"] != plain or "workingDir" in pod.container:
        raise refused("docker.args change the container (user, capabilities), which the chart has for all models only")
    own = ("shm", "hub-cache")
    volumes = [one for one in pod.spec["volumes"] if one["name"] not in own]
    if volumes:
        made["extraVolumes"] = volumes
        made["extraVolumeMounts"] = [one for one in pod.container["volumeMounts"] if one["name"] not in own]
    if "env" in pod.container:
        made["env"] = json.loads(json.dumps(pod.container["env"]))
    if "tolerations" in pod.spec:
        made["tolerations"] = pod.spec["tolerations"]
    if "nodeSelector" in pod.spec:
        terms = [{"key": key, "operator": "In", "values": [value]} for key, value in pod.spec["nodeSelector"].items()]
        made["nodeSelectorTerms"] = [{"matchExpressions": terms}]
