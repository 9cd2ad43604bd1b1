"""Plan a run of SkyPilot's: the task that `render` writes, under the run's own name."""

from __future__ import annotations

import shutil

from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.followers.skypilot import NO_SKY
from vllm_studio_tui.services.handover.order import Order, Plan
from vllm_studio_tui.services.render import skypilot
from vllm_studio_tui.services.render.kube_words import kube_name
from vllm_studio_tui.services.render.pod import contained
from vllm_studio_tui.services.render.source import MASKED
from vllm_studio_tui.services.render.yaml_text import yaml_text

OPEN = "The engine has no api_key, and SkyPilot opens its port to whoever reaches the machine: set one in the recipe."
#: Options of `sky` by which it would not be one run that is found again.
_NOT_OURS = (
    "-c",
    "--cluster",
    "-n",
    "--name",
    "--service-name",
    "--dryrun",
    "--async",
    "--down",
    "-d",
    "--no-detach-run",
)


def plan(order: Order) -> Plan:
    """Return what a follower needs to run a recipe by SkyPilot.

    Raises:
        LaunchRefused: It cannot be a task, or `sky` is not here.
    """
    one = order.source.recipes[0]
    title = f"{one.recipe.id} cannot be handed over to SkyPilot"
    if one.masked:
        raise LaunchRefused(title, cause="a secret is written into the recipe", advice=MASKED)
    for word in one.recipe.handover.options:
        if word.split("=", 1)[0] in _NOT_OURS:
            raise LaunchRefused(title, cause=f"handover.options has {word}, which the studio says itself")
    if one.recipe.handover.replicas == 0 and one.recipe.handover.max_replicas is None:
        raise LaunchRefused(title, cause="handover.replicas is 0: nothing would ever answer")
    name = kube_name(order.run_id)
    try:
        task, told = skypilot.task(one, name)
    except StudioError as error:
        raise LaunchRefused(title, cause=error.cause or error.title, advice=error.advice) from None
    program = shutil.which("sky")
    if program is None:
        raise LaunchRefused(NO_SKY.title, advice=NO_SKY.advice)
    refs = contained(one).env_refs
    return Plan(
        {
            "sky": program,
            "name": name,
            "served": skypilot.served(one),
            "task": yaml_text(task),
            "port": one.port,
            "options": list(one.recipe.handover.options),
            "secrets": sorted(refs),
        },
        env_refs=dict(refs),
        notes=(*told, *(() if one.recipe.api_key else (OPEN,))),
    )
