"""Turn a recipe into the spec of a run: everything its keeper must know."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Mapping

from vllm_studio_tui.backends.base import Backend, Command, LaunchContext
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.spec import Restart, RunSpec
from vllm_studio_tui.keeper.probe import address_of
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.runs.gpu_use import claims, gpus_here
from vllm_studio_tui.simulation.marks import is_simulated

#: Fields that are for people and for the keeper, not for the engine.
_NOT_LAUNCHED = frozenset({"name", "description", "tags", "restart", "ready_timeout"})


def revision(recipe: Recipe) -> str:
    """Return eight hex digits that are equal for recipes whose launches are equal."""
    plain = {key: value for key, value in recipe_to_data(recipe).items() if key not in _NOT_LAUNCHED}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def _probe(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"vllm_studio_tui.probes.{name}", *arguments)


def _version(recipe: Recipe, backend: Backend, command: Command) -> str | None:
    if recipe.runtime == "docker":
        return recipe.docker.image
    return backend.version(command.argv[0])


def command_of(recipe: Recipe, backend: Backend, context: LaunchContext, run_id: str) -> Command:
    """Return the command of a recipe in its runtime.

    Raises:
        StudioError: The engine or docker cannot be found, or the recipe makes no command.
    """
    if recipe.runtime == "docker":
        from vllm_studio_tui.backends.common.docker import container_command

        return container_command(recipe, backend, context, run_id, claims(recipe))
    return backend.command(recipe, context)


def resolve(
    recipe: Recipe, backend: Backend, context: LaunchContext, run_id: str, *, environ: Mapping[str, str]
) -> RunSpec:
    """Return the spec of a run of this recipe on this port.

    Raises:
        StudioError: The engine cannot be found, or the recipe makes no command.
    """
    command = command_of(recipe, backend, context, run_id)
    version = _version(recipe, backend, command)
    gpus = claims(recipe, version)
    measured = bool(gpus) or (recipe.runtime == "native" and gpus_here(environ))
    host = address_of(context.host)
    restart = recipe.restart
    ready = backend.ready(recipe)
    if recipe.ready_timeout is not None:
        ready = dataclasses.replace(ready, deadline=recipe.ready_timeout)
    if recipe.api_key:
        ready = dataclasses.replace(ready, guarded=backend.guarded_path)
    # Textual drops NO_COLOR from our environment; the launching face hands it back through `environ`.
    env = {**command.env, **({"NO_COLOR": environ["NO_COLOR"]} if "NO_COLOR" in environ else {})}
    return RunSpec(
        run_id=run_id,
        recipe_id=recipe.id,
        name=recipe.name,
        backend=recipe.backend,
        model=backend.model_name(recipe),
        argv=command.argv,
        host=context.host,
        port=context.port,
        base_url=f"http://{f'[{host}]' if ':' in host else host}:{context.port}/v1",
        created_at=time.time(),
        recipe=recipe.model_dump(mode="json"),
        recipe_revision=revision(recipe),
        engine=backend.label or backend.title,
        engine_version=version,
        env=env,
        env_refs=command.env_refs,
        api_key_ref=recipe.api_key,
        cwd=expanded(recipe.cwd) if recipe.cwd and recipe.runtime == "native" else None,
        gpus=gpus,
        ready=ready,
        stages=backend.stages_for(recipe),
        failures=backend.failures,
        counters=backend.counters_for(recipe),
        stop_argv=command.stop_argv,
        restart=restart if isinstance(restart, Restart) else Restart(**restart.model_dump()),
        energy_argv=_probe("energy", *(gpus or ("--run", run_id))) if measured else (),
        holders_argv=_probe("gpu.holders", *gpus) if measured else (),
        simulated=is_simulated(command.argv),
    )
