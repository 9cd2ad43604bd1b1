"""What runs an engine in Kubernetes: the container of a recipe with its probes, volumes and references to secrets.

All kinds that end as pods (Deployment, LeaderWorkerSet, KServe) are made from it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.backends.common.docker import STOP_SECONDS
from vllm_studio_tui.services.render.kube_words import kube_name, literal, size_of
from vllm_studio_tui.services.render.lines import not_said, refused
from vllm_studio_tui.services.render.source import RenderedCommand, RenderedRecipe

#: Where engines that fetch from the hub keep what they fetched, in their images.
HUB_CACHE = "/root/.cache/huggingface"
#: Seconds that a start may take where the recipe sets no limit: Kubernetes must have one.
LONG_START = 86_400
#: What can be said of `docker run`'s options here; further ones are named in the file's head or refused.
_FLAGS = {"--privileged": "privileged", "--read-only": "readOnlyRootFilesystem"}
_OF_HOST = {"--ipc": "hostIPC", "--network": "hostNetwork", "--net": "hostNetwork", "--pid": "hostPID"}
_WITH_VALUE = {
    *_OF_HOST, "--user", "-u", "--cap-add", "--cap-drop", "--env", "-e", "--workdir", "-w", "--hostname", "--ulimit",
    "--shm-size",
}  # fmt: skip
_FILE = re.compile(r"\.(gguf|bin|safetensors|json|ya?ml|jinja2?|txt|pem|key|crt|model)$")


@dataclass(slots=True)
class Pod:
    """A pod of one container.

    Attributes:
        container: Without a name.
        spec: What stands beside the containers.
        told: What the one who applies it must know.
        secret: The name of the Secret that it reads, empty: none.
    """

    container: dict[str, Any]
    spec: dict[str, Any]
    told: list[str] = field(default_factory=list)
    secret: str = ""

    def whole(self, name: str) -> dict[str, Any]:
        """Return the spec of the pod with its container."""
        return {"containers": [{"name": name, **self.container}], **self.spec}


def labels_of(name: str) -> dict[str, str]:
    """Return the labels of everything that belongs to one server."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "vllm-studio"}


def metadata_of(one: RenderedRecipe, name: str, extra: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the head of an object.

    Args:
        extra: Further labels.
    """
    return {
        "name": name,
        **({"namespace": one.recipe.handover.namespace} if one.recipe.handover.namespace else {}),
        "labels": {**labels_of(name), **(extra or {})},
        "annotations": {"vllm-studio/recipe": one.recipe.id, "vllm-studio/revision": one.revision},
    }


def pod_of(
    one: RenderedRecipe,
    *,
    nodes: int = 1,
    command: RenderedCommand | None = None,
    filled_in: Sequence[str] = (),
    worker: bool = False,
) -> Pod:
    """Return the pod of a recipe's engine.

    Args:
        nodes: How many pods share one copy: each gets its part of the GPUs.
        command: Of this pod, where pods differ.
        filled_in: Variables whose `$(NAME)` in the command Kubernetes fills in.
        worker: It has no HTTP server, so that nothing can be asked of it.

    Raises:
        StudioError: It has no image, or says something that a pod cannot.
    """
    alike = contained(one)
    command = command or alike
    program, *arguments = command.argv
    pod = Pod({"image": one.image}, {})
    if program:
        pod.container["command"] = [literal(program)]
    pod.container["args"] = [literal(word, filled_in) for word in arguments]
    _add_variables(one, command, pod, filled_in)
    if not worker:
        # Named with its default: older servers cannot merge a list without the whole key of its entries.
        pod.container["ports"] = [{"name": "http", "containerPort": one.port, "protocol": "TCP"}]
        pod.container |= _probes(one)
    gpus = gpus_a_pod(one, nodes)
    _add_resources(one, pod, gpus)
    _add_volumes(one, pod)
    pod.container["securityContext"] = {"allowPrivilegeEscalation": False}
    pod.spec |= {
        "terminationGracePeriodSeconds": STOP_SECONDS + 15,
        # Variables of other Services would change the engine: one named `vllm` makes VLLM_PORT.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    _take_options(one, pod)
    pod.told += _notes(one, pod)
    return pod


def contained(one: RenderedRecipe) -> RenderedCommand:
    """Return the command of a recipe inside its image.

    Raises:
        StudioError: There is none.
    """
    if one.problem:
        raise refused(one.problem)
    if one.contained is None or one.image is None:
        words = "it is run by somebody else" if one.command is None else f"{one.recipe.backend} has no official image"
        raise refused(f"{words}; docker.image names none")
    return one.contained


def gpus_a_pod(one: RenderedRecipe, nodes: int) -> int:
    """Return how many GPUs one pod takes.

    Raises:
        StudioError: They cannot be shared out evenly.
    """
    if not one.recipe.docker.gpus:
        return 0
    named = len(one.recipe.gpus) if one.recipe.gpus != ("auto",) else 0
    count = max(one.recipe.gpu_count, named)
    if count % nodes:
        raise refused(f"{count} GPUs cannot be shared out evenly over {nodes} nodes")
    return count // nodes


def _add_variables(one: RenderedRecipe, command: RenderedCommand, pod: Pod, filled_in: Sequence[str]) -> None:
    made: list[dict[str, Any]] = [
        {"name": key, "value": literal(value, filled_in)} for key, value in command.env.items()
    ]
    if command.env_refs:
        pod.secret = secret_name(one)
        made += [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": pod.secret, "key": key}}} for key in command.env_refs
        ]
    if made:
        pod.container["env"] = made


def secret_name(one: RenderedRecipe) -> str:
    """Return the name of the Secret that a recipe's pods read."""
    return f"{kube_name(one.recipe.id)}-secrets"


def secret_command(one: RenderedRecipe, command: RenderedCommand) -> str:
    """Return the line of bash that makes the Secret of a recipe; no value is in it."""
    namespace = one.recipe.handover.namespace
    words = ["kubectl", *(["-n", namespace] if namespace else []), "create", "secret", "generic"]
    parts = []
    for key, reference in command.env_refs.items():
        kind, _, rest = reference.partition(":")
        value = f'printf %s "${rest}"' if kind == "env" else f"head -n 1 {_home(rest)} | tr -d '\\n'"
        parts.append(f"--from-file={key}=<({value})")
    return " ".join([shlex.join([*words, secret_name(one)]), *parts])


def _home(path: str) -> str:
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)


def _probes(one: RenderedRecipe) -> dict[str, Any]:
    """Return how Kubernetes asks the engine: while it starts, whether it may get requests, whether it lives."""
    wait = int(one.recipe.ready_timeout or LONG_START)

    def probe(period: int, timeout: int, failures: int) -> dict[str, Any]:
        asked = {"path": one.health_path, "port": "http"}
        return {"httpGet": asked, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}

    return {
        "startupProbe": probe(5, 5, -(-wait // 5)),
        "readinessProbe": probe(5, 5, 3),
        # A busy engine may be slow to answer: only one that says nothing for minutes is started again.
        "livenessProbe": probe(30, 20, 6),
    }


def _add_resources(one: RenderedRecipe, pod: Pod, gpus: int) -> None:
    handover = one.recipe.handover
    label, equals, value = (handover.accelerator or "").partition("=")
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if gpus:
        resource = "amd.com/gpu" if equals and label.startswith("amd.com/") else "nvidia.com/gpu"
        limits[resource] = str(gpus)
        pod.spec["tolerations"] = [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]
    if handover.cpus is not None:
        requests["cpu"] = str(handover.cpus)
    if handover.memory is not None:
        requests["memory"] = limits["memory"] = size_of(handover.memory, "handover.memory")
    found = {"requests": requests, "limits": limits}
    pod.container["resources"] = {name: one for name, one in found.items() if one}
    if handover.accelerator:
        # The label that NVIDIA's discovery gives to nodes, or one that the recipe names with its value.
        pod.spec["nodeSelector"] = {label: value} if equals else {"nvidia.com/gpu.product": label}


def _add_volumes(one: RenderedRecipe, pod: Pod) -> None:
    """Mount what `docker run` would: a path of the host as such, a named volume as the claim of that name."""
    shared = {"medium": "Memory", "sizeLimit": size_of(one.recipe.docker.shm, "docker.shm")}
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": shared}]
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108
    claims: dict[str, str] = {}
    of_node: list[str] = []
    for number, volume in enumerate((*one.volumes, *one.recipe.docker.volumes)):
        place, _, rest = volume.partition(":")
        inside, _, mode = (rest or place).partition(":")
        mount: dict[str, Any] = {"name": f"volume-{number}", "mountPath": inside}
        if "ro" in mode.split(","):
            mount["readOnly"] = True
        if not rest:
            volumes.append({"name": mount["name"], "emptyDir": {}})
        elif place.startswith(("/", "~", "$", ".")):
            if not place.startswith("/"):
                raise refused(f"docker.volumes has {place}: a pod's volume is a whole path or the name of a claim")
            kind = "File" if _FILE.search(place) else "Directory"
            volumes.append({"name": mount["name"], "hostPath": {"path": place, "type": kind}})
            of_node.append(place)
        else:
            if kube_name(place) != place:
                raise refused(f"docker.volumes has {place}, which is no name of a claim (a-z, 0-9, dashes)")
            mount["name"] = claims.setdefault(place, mount["name"])
            if mount["name"] == f"volume-{number}":
                volumes.append({"name": mount["name"], "persistentVolumeClaim": {"claimName": place}})
                pod.told.append(f"It mounts the claim {place}, which must be there: kubectl get pvc {place}")
        mounts.append(mount)
    if of_node:
        pod.told.append(f"Must be on every node that may run it: {', '.join(of_node)} (or claims in docker.volumes).")
    if not one.local_model and one.recipe.model_path and not any(m["mountPath"] == HUB_CACHE for m in mounts):
        volumes.append({"name": "hub-cache", "emptyDir": {}})
        mounts.append({"name": "hub-cache", "mountPath": HUB_CACHE})
        pod.told.append(f"Each pod fetches the model anew; docker.volumes with CLAIM:{HUB_CACHE} keeps it.")
    pod.container["volumeMounts"] = mounts
    pod.spec["volumes"] = volumes


def _take_options(one: RenderedRecipe, pod: Pod) -> None:
    """Take over the options of `docker run` that a recipe names.

    Raises:
        StudioError: One of them has no counterpart here.
    """
    words = list(one.recipe.docker.args)
    safe = pod.container["securityContext"]
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name in _FLAGS and not equals:
            safe[_FLAGS[name]] = True
            continue
        if not equals and words and name in _WITH_VALUE:
            value = words.pop(0)
        elif not equals:
            raise refused(f"docker.args has {name}, which cannot be said of a pod")
        if not _take(pod, safe, name, value):
            raise refused(f"docker.args has {name} {value}, which cannot be said of a pod")
    if safe.get("privileged") or "SYS_ADMIN" in safe.get("capabilities", {}).get("add", ()):
        safe.pop("allowPrivilegeEscalation")  # Kubernetes refuses both together


def _take(pod: Pod, safe: dict[str, Any], name: str, value: str) -> bool:
    if name in _OF_HOST and value == "host":
        pod.spec[_OF_HOST[name]] = True
        if _OF_HOST[name] == "hostNetwork":
            pod.spec["dnsPolicy"] = "ClusterFirstWithHostNet"
    elif name in ("--cap-add", "--cap-drop"):
        capabilities = safe.setdefault("capabilities", {})
        capabilities.setdefault("add" if name == "--cap-add" else "drop", []).append(value.removeprefix("CAP_"))
    elif name in ("--user", "-u") and re.fullmatch(r"\d+(:\d+)?", value):
        user, _, group = value.partition(":")
        safe |= {"runAsUser": int(user), "runAsNonRoot": int(user) != 0}
        safe |= {"runAsGroup": int(group)} if group else {}
    elif name in ("--env", "-e") and "=" in value:
        key, _, text = value.partition("=")
        pod.container.setdefault("env", []).append({"name": key, "value": literal(text)})
    elif name in ("--workdir", "-w"):
        pod.container["workingDir"] = value
    elif name == "--hostname" and kube_name(value) == value:
        pod.spec["hostname"] = value
    elif name == "--shm-size":
        pod.spec["volumes"][0]["emptyDir"]["sizeLimit"] = size_of(value, "--shm-size")
    elif name == "--ulimit":
        pod.told.append(
            f"--ulimit {value} is not in it: Kubernetes leaves limits to the container runtime of the node."
        )
    else:
        return False
    return True


def _notes(one: RenderedRecipe, pod: Pod) -> list[str]:
    """Return what the one who applies it must know."""
    found = []
    if pod.secret:
        found.append(f"Make its Secret first, in bash: {secret_command(one, contained(one))}")
    if one.recipe.runtime == "native":
        found.append(f"{one.image} moves: name a version in docker.image of the recipe.")
    if one.recipe.restart.policy == "never":
        found.append("Kubernetes starts an engine that ended again, always: restart is not in it.")
    if one.recipe.handover.options:
        found.append(f"kubectl apply is told, by `launch`: {shlex.join(one.recipe.handover.options)}")
    return found + not_said(one.recipe, "restart", "ready_timeout", "health_path", "handover", "strategy")
