"""A recipe as a job of SLURM: the script that `render slurm` makes, with the run's name and a log that is read here."""

from __future__ import annotations

import zlib

from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.services.handover.order import Order, Plan
from vllm_studio_tui.services.render import slurm
from vllm_studio_tui.services.render.source import header, secret_variable

OPEN = (
    "The engine has no api_key and listens on the network of the cluster: everybody there can use it. Set api_key in "
    "the recipe, as env:NAME or file:PATH."
)


def plan(order: Order) -> Plan:
    """Plan the job of a recipe.

    Raises:
        LaunchRefused: It cannot be a job of SLURM.
    """
    one = order.source.recipes[0]
    if one.masked:
        raise LaunchRefused(
            f"{order.recipe.id} cannot be handed over to SLURM",
            cause="It holds a secret that is no reference: SLURM keeps the script, and shows its words to others.",
            advice="Make it a reference, env:NAME or file:PATH.",
        )
    # In SLURM's patterns a percent sign stands for itself when it is doubled.
    folder = str(order.places.runs / order.run_id).replace("%", "%%")
    try:
        text, _ = slurm.script(one, name=order.run_id, output=f"{folder}/slurm-%j.log", port=_first_port(order.run_id))
    except StudioError as error:
        raise LaunchRefused(
            f"{order.recipe.id} cannot be handed over to SLURM", cause=error.cause, advice=error.advice
        ) from None
    command = one.command
    refs = command.env_refs if command is not None else {}
    return Plan(
        follow={"script": f"#!/bin/bash\n{header(order.source, 'slurm')}{text}"},
        env_refs={secret_variable(one, name, reference): reference for name, reference in refs.items()},
        notes=() if order.recipe.api_key else (OPEN,),
    )


def _first_port(run_id: str) -> int:
    """Return the port that is tried first on the node.

    It is another one for each run, below those that the kernel hands out: jobs that begin on a node at once do not
    meet, nor does a job meet the port here that leads to it where this machine is a node itself.
    """
    return 20_000 + zlib.crc32(run_id.encode()) % 10_000
