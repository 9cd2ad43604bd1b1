"""Turn a recipe into the spec of a run: everything its keeper must know."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends.base import Backend, Command, LaunchContext
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.spec import ReadyProbe, Restart, RunSpec, Stop
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
    # Textual drops NO_COLOR from our environment; the launching face hands it back through `environ`.
    env = {**command.env, **({"NO_COLOR": environ["NO_COLOR"]} if "NO_COLOR" in environ else {})}
    return dataclasses.replace(
        _frame(recipe, backend, context, run_id),
        argv=command.argv,
        engine_version=version,
        env=env,
        env_refs=command.env_refs,
        cwd=expanded(recipe.cwd) if recipe.cwd and recipe.runtime == "native" else None,
        gpus=gpus,
        stop_argv=command.stop_argv,
        energy_argv=_probe("energy", *(gpus or ("--run", run_id))) if measured else (),
        holders_argv=_probe("gpu.holders", *gpus) if measured else (),
        simulated=is_simulated(command.argv),
    )


#: Seconds that a job elsewhere has to end in order before it is no longer followed.
JOB_GRACE = 90.0


def follow(
    recipe: Recipe,
    backend: Backend,
    context: LaunchContext,
    folder: Path,
    plan: Mapping[str, Any],
    *,
    path: str = "",
    ready: ReadyProbe | None = None,
    env_refs: Mapping[str, str] | None = None,
) -> RunSpec:
    """Return the spec of a run that runs elsewhere: in place of the engine it has a follower, whose port leads there.

    Args:
        folder: The run's directory, which is named by the run's id.
        plan: What the follower needs, see `RunSpec.follow`.
        path: What stands before the paths of the engine's server, such as `/v1`, where it is reached.
        ready: How to learn that it serves, where that is not the engine's own.
        env_refs: The secrets that the follower is given.
    """
    frame = _frame(recipe, backend, dataclasses.replace(context, host="127.0.0.1"), folder.name)
    program = (sys.executable, "-m", "vllm_studio_tui.followers", str(folder))
    probe = ready or frame.ready
    counters = frame.counters
    return dataclasses.replace(
        frame,
        argv=program,
        stop_argv=(*program, "--stop"),
        follow=dict(plan),
        env_refs=dict(env_refs or {}),
        base_url=frame.base_url.removesuffix("/v1") + path + "/v1",
        ready=dataclasses.replace(
            probe,
            path=path + probe.path,
            models_path=None if probe.models_path is None else path + probe.models_path,
            guarded=None if probe.guarded is None else path + probe.guarded,
        ),
        counters=None if counters is None else dataclasses.replace(counters, path=path + counters.path),
        stop=Stop(leader_grace=JOB_GRACE),
    )


def _frame(recipe: Recipe, backend: Backend, context: LaunchContext, run_id: str) -> RunSpec:
    """Return what a spec says wherever the engine runs; its command is missing."""
    host = address_of(context.host)
    restart = recipe.restart
    ready = backend.ready(recipe)
    if recipe.ready_timeout is not None:
        ready = dataclasses.replace(ready, deadline=recipe.ready_timeout)
    if recipe.api_key:
        ready = dataclasses.replace(ready, guarded=backend.guarded_path)
    return RunSpec(
        run_id=run_id,
        recipe_id=recipe.id,
        name=recipe.name,
        backend=recipe.backend,
        model=backend.model_name(recipe),
        argv=(),
        host=context.host,
        port=context.port,
        base_url=f"http://{f'[{host}]' if ':' in host else host}:{context.port}/v1",
        created_at=time.time(),
        recipe=recipe.model_dump(mode="json"),
        recipe_revision=revision(recipe),
        engine=backend.label or backend.title,
        api_key_ref=recipe.api_key,
        ready=ready,
        stages=backend.stages_for(recipe),
        failures=backend.failures,
        counters=backend.counters_for(recipe),
        restart=restart if isinstance(restart, Restart) else Restart(**restart.model_dump()),
    )
