"""Plan a run in Kubernetes: the objects that `render` writes, under the run's own name, asked of the cluster before."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.followers.kubectl import MANAGER, NO_KUBECTL, Kubectl
from vllm_studio_tui.followers.kubernetes import LABEL
from vllm_studio_tui.followers.system import SystemTrouble
from vllm_studio_tui.services.handover.order import Order, Plan
from vllm_studio_tui.services.render import kubernetes, lws
from vllm_studio_tui.services.render.kube_words import kube_name
from vllm_studio_tui.services.render.pod import contained, secret_command, secret_name
from vllm_studio_tui.services.render.source import MASKED

if TYPE_CHECKING:
    from vllm_studio_tui.services.render.source import RenderedRecipe

#: What kubectl calls the objects of each kind.
_RESOURCES = {
    "Deployment": "deployments.apps",
    "LeaderWorkerSet": "leaderworkersets.leaderworkerset.x-k8s.io",
    "Service": "services",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers.autoscaling",
}
OPEN = "The engine has no api_key: everybody whose pods reach its Service can use it."
#: Options of `kubectl apply` by which it would not be one run that is found again.
_NOT_OURS = ("--dry-run", "--prune", "-f", "--filename", "-k", "--kustomize", "--field-manager", "-o", "--output", "-l")


def plan(order: Order) -> Plan:
    """Return what a follower needs to run a recipe in Kubernetes. Blocking: the cluster is asked.

    Raises:
        LaunchRefused: kubectl is not here, the cluster refuses it or does not answer, or its Secret is not there.
    """
    one = order.source.recipes[0]
    handover = one.recipe.handover
    _check(one)
    name = kube_name(order.run_id)
    make = lws.documents if one.recipe.node_count > 1 else kubernetes.documents
    try:
        documents, told = make(one, name, {LABEL: name})
    except StudioError as error:
        raise LaunchRefused(
            f"{one.recipe.id} cannot run in Kubernetes", cause=error.cause or error.title, advice=error.advice
        ) from None
    program = shutil.which("kubectl")
    if program is None:
        raise LaunchRefused(NO_KUBECTL.title, advice=NO_KUBECTL.advice)
    kubectl = Kubectl(program, handover.context or "", handover.namespace or "")
    _ask(kubectl, documents, one)
    secrets = bool(contained(one).env_refs)
    restart = one.recipe.restart
    return Plan(
        {
            "kubectl": program,
            "context": handover.context or "",
            "namespace": handover.namespace or "",
            "name": name,
            "label": name,
            "kinds": [_RESOURCES[document["kind"]] for document in documents],
            "documents": documents,
            "options": list(handover.options),
            "port": one.port,
            # An engine that ends is started again by Kubernetes, always: so often it may end while none is ready.
            "budget": 1 if restart.policy == "never" else restart.budget,
            "secret": secret_command(one, contained(one)) if secrets else "",
        },
        notes=(
            *(note for note in told if not note.startswith(("Make its Secret", "kubectl apply is told"))),
            *(() if one.recipe.api_key else (OPEN,)),
        ),
    )


def _check(one: RenderedRecipe) -> None:
    """Refuse what is known to fail before anything is asked.

    Raises:
        LaunchRefused: It would fail.
    """
    title = f"{one.recipe.id} cannot run in Kubernetes"
    if one.masked:
        raise LaunchRefused(title, cause="a secret is written into the recipe", advice=MASKED)
    if one.recipe.handover.replicas == 0:
        raise LaunchRefused(title, cause="handover.replicas is 0: nothing would ever answer")
    for word in one.recipe.handover.options:
        if word.split("=", 1)[0] in _NOT_OURS:
            raise LaunchRefused(title, cause=f"handover.options has {word}, which the studio says itself")


def _ask(kubectl: Kubectl, documents: list[dict[str, Any]], one: RenderedRecipe) -> None:
    """Ask the cluster whether it takes these objects, without making them.

    Raises:
        LaunchRefused: It does not, or does not answer.
    """
    command = contained(one)
    title = f"Kubernetes does not take {one.recipe.id}"
    listed = {"apiVersion": "v1", "kind": "List", "items": documents}
    try:
        words = ("--dry-run=server", "--server-side", f"--field-manager={MANAGER}", "-f", "-")
        kubectl.ask("apply", *words, *one.recipe.handover.options, given=json.loads(json.dumps(listed)))
        if not command.env_refs:
            return
        try:
            kubectl.ask("get", "secret", secret_name(one), "-o", "name")
        except SystemTrouble as error:
            if "not found" not in error.cause.title:
                return  # whoever may not read Secrets may use them all the same
            raise LaunchRefused(
                title,
                cause=f"there is no Secret {secret_name(one)} with {', '.join(command.env_refs)}",
                advice=f"Make it, in bash: {secret_command(one, command)}",
            ) from None
    except SystemTrouble as error:
        raise LaunchRefused(
            title, cause="\n".join(dict.fromkeys((error.cause.title, *error.cause.evidence))), advice=error.cause.advice
        ) from None
