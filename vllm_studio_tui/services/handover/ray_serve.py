"""A recipe as an application of Ray Serve: what `render ray-serve` writes, under the id of the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vllm_studio_tui.domain.errors import LaunchRefused, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.spec import ReadyProbe
from vllm_studio_tui.followers.ray_http import Dashboard
from vllm_studio_tui.services.handover.order import Order, Plan
from vllm_studio_tui.services.render import ray_serve

#: Variables that name a dashboard, as Ray's own `serve` and `ray job` read them.
ADDRESSES = ("RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS")
TOKEN, TOKEN_FILE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def plan(order: Order) -> Plan:
    """Return what a follower submits.

    Raises:
        LaunchRefused: It cannot be an application there, or no dashboard is named.
    """
    recipe = order.recipe
    address = _address(recipe, os.environ)
    one = order.source.recipes[0]
    try:
        application = ray_serve.application(one, order.run_id)
    except StudioError as error:
        raise LaunchRefused(f"{recipe.id} cannot be handed over to Ray Serve", cause=error.cause) from None
    ours = application["import_path"] != ray_serve.LLM_APP
    files = {f"{ray_serve.MODULE}.py": ray_serve.module_text()} if ours else {}
    notes = [f"handed over to Ray Serve at {address} as application {order.run_id}"]
    secrets = ray_serve.secrets_of(one.command) if one.command is not None else {}
    if secrets:
        names = ", ".join(sorted(secrets))
        notes.append(f"the nodes of Ray must have the secrets of {names} themselves: they are not sent there")
    several = not ray_serve.alone(recipe)
    if several or not ours:
        why = "Ray's module has no /metrics of the engine" if not ours else "each replica counts for itself"
        notes.append(f"tokens are counted by the requests that go through this studio: {why}")
    return Plan(
        {
            "address": address,
            "application": application,
            "files": files,
            "serve": ray_serve.serve_options(),
        },
        path=f"/{order.run_id}",
        ready=None if ours else _ready(one.model),
        env_refs=_token(recipe, os.environ),
        counted=ours and not several,
        notes=tuple(notes),
    )


def _ready(model: str) -> ReadyProbe:
    """Return how to learn that Ray's module serves: its list of models says so."""
    return ReadyProbe("/v1/models", "/v1/models", model)


def _address(recipe: Recipe, environ: Mapping[str, str]) -> str:
    named = next((environ[name] for name in ADDRESSES if environ.get(name)), "")
    address = recipe.handover.address or named
    advice = "Set handover.address of the recipe, or RAY_DASHBOARD_ADDRESS, to Ray's dashboard: http://HOST:8265."
    if not address:
        raise LaunchRefused("no cluster of Ray is named", advice=advice)
    try:
        return Dashboard(address).address
    except ValueError as error:
        raise LaunchRefused("no dashboard of Ray is named", cause=str(error), advice=advice) from None


def _token(recipe: Recipe, environ: Mapping[str, str]) -> dict[str, str]:
    """Return where the token of the dashboard is: in the recipe's variables, or as Ray's own programs find it."""
    named = recipe.env_vars.get(TOKEN, "")
    if named.startswith(("env:", "file:")):
        return {TOKEN: named}
    if environ.get(TOKEN):
        return {TOKEN: f"env:{TOKEN}"}
    path = Path(environ.get(TOKEN_FILE) or "~/.ray/auth_token").expanduser()
    return {TOKEN: f"file:{path}"} if path.is_file() else {}
