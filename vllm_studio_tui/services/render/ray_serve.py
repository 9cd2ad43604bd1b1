"""A file for Ray Serve, see https://docs.ray.io/en/latest/serve/api/doc/ray.serve.schema.ServeDeploySchema.html.

An engine that Ray Serve's module for language models runs is told in that module's form, and Ray starts it. Any other
one is started by an application of ours (`inside_ray.py`, written beside it) as the studio would start it. How many
replicas there are, where they run and when one is replaced is Ray's in both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.render.engine_config import flags_of
from vllm_studio_tui.services.render.lines import files_of_each, not_said, refused
from vllm_studio_tui.services.render.source import (
    Files,
    RenderedCommand,
    RenderedRecipe,
    RenderSource,
    header,
    secret_notes,
    secret_variable,
)
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: The module of our application, as it is imported on the nodes.
MODULE = "vllm_studio_engine"
LLM_APP = "ray.serve.llm:build_openai_app"
#: Requests that a replica works on at once, where the recipe does not say: Ray adds replicas beyond it.
ONGOING = 8
#: Flags of an engine that Ray's module sets itself, or that are about a server it does not start.
_RAYS_OWN = frozenset({
    "model", "host", "port", "served_model_name", "api_key", "nnodes", "node_rank", "master_addr", "headless",
    "distributed_executor_backend", "uds", "ssl_keyfile", "ssl_certfile",
})  # fmt: skip
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
#: Variables that Ray sets for each replica, and the token of its dashboard, which is not for engines.
_NOT_PASSED = frozenset({"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "RAY_AUTH_TOKEN"})


def render(source: RenderSource) -> Files:
    """Return `ID.yaml` for each recipe, and our application where one of them needs it.

    Raises:
        StudioError: None of them can be an application.
    """
    files = files_of_each(source, "ray-serve", ".yaml", _file)
    if any(f"{MODULE}:build" in text for text in files.values()):
        files[f"{MODULE}.py"] = header(source, "ray-serve", of_recipes=False) + module_text()
    return files


def module_text() -> str:
    """Return the source of our application."""
    from vllm_studio_tui.services.render import inside_ray

    return Path(inside_ray.__file__).read_text(encoding="utf-8")


def _file(one: RenderedRecipe) -> tuple[str, list[str]]:
    recipe = one.recipe
    made = application(one, recipe.id)
    ours = made["import_path"] != LLM_APP
    told = [f"Deploy: serve deploy {recipe.id}.yaml (all that Serve runs are to be in one file: it ends the others)"]
    if ours:
        told += [
            f"{MODULE}.py must be where Ray's workers import from: on each node, its folder in PYTHONPATH as Ray is",
            "started, or named as `runtime_env: {working_dir: local:///FOLDER}`. `vllm-studio launch` uploads it.",
        ]
    told += [*secret_notes(one, one.command), *_where_secrets(one), *not_said(recipe, "handover", "ready_timeout")]
    return yaml_text({**serve_options(), "applications": [made]}), told


def serve_options() -> dict[str, Any]:
    """Return how Serve listens, where it does not run yet; it ignores them where it does."""
    return {"proxy_location": "EveryNode", "http_options": {"host": "0.0.0.0", "port": 8000}}  # noqa: S104


def _where_secrets(one: RenderedRecipe) -> list[str]:
    if one.command is None or not secrets_of(one.command):
        return []
    return ["These secrets are read on the nodes: in the environment that Ray was started with, or files there."]


def application(one: RenderedRecipe, name: str) -> dict[str, Any]:
    """Return a recipe as an application of Serve; its paths begin with `/NAME`.

    Raises:
        StudioError: It cannot be one.
    """
    recipe = one.recipe
    if one.problem:
        raise refused(one.problem)
    if one.command is None:
        raise refused("it is run by somebody else")
    if recipe.runtime == "docker":
        raise refused("Ray starts no container of docker: the engine must be installed on its nodes (runtime: native)")
    backend = registry.backend(recipe.backend)
    made: dict[str, Any] = {"name": name, "route_prefix": f"/{name}"}
    if backend.ray_engine:
        return made | _of_ray(one, one.command, backend)
    return made | _of_ours(one, one.command, backend)


def secrets_of(command: RenderedCommand) -> dict[str, str]:
    """Return the variables of an engine whose values are secrets, with their references."""
    return {key: reference for key, reference in command.env_refs.items() if key not in _NOT_PASSED}


def _scaling(recipe: Recipe) -> dict[str, Any]:
    told = recipe.handover
    if told.max_replicas is None:
        if not told.replicas:
            raise refused("handover.replicas is 0: without max_replicas Ray Serve wants one at least")
        return {"num_replicas": told.replicas}
    return {
        "autoscaling_config": {
            "min_replicas": told.replicas,
            "max_replicas": told.max_replicas,
            "target_ongoing_requests": recipe.max_num_seqs or ONGOING,
        }
    }


# --- what Ray's own module runs ---------------------------------------------------------------------------


def _of_ray(one: RenderedRecipe, command: RenderedCommand, backend: Backend) -> dict[str, Any]:
    recipe, told = one.recipe, one.recipe.handover
    if recipe.api_key:
        raise refused("Ray Serve's module for language models asks for no key: take api_key out of the recipe")
    if recipe.strategy in ("dp", "pd") or recipe.data_parallel_size > 1:
        raise refused("copies are Ray's (handover.replicas): strategy dp and pd and data_parallel_size are not for it")
    flags = {key.replace("-", "_"): value for key, value in flags_of(backend, one, command).items()}
    negative = [key for key in flags if key.startswith("no_") and flags[key] is True]
    for key in negative:
        flags.pop(key)
        flags[key.removeprefix("no_")] = False
    if flags.get("lora_modules"):
        raise refused("adapters are loaded by Ray's lora_config there, not by lora_modules")
    loading = {"model_id": one.model, "model_source": str(flags.get("model") or recipe.model_path)}
    tokenizer = flags.pop("tokenizer", None)
    config: dict[str, Any] = {
        "model_loading_config": loading | ({"tokenizer_source": tokenizer} if tokenizer else {}),
        "llm_engine": backend.ray_engine,
        "engine_kwargs": {key: value for key, value in flags.items() if key not in _RAYS_OWN},
        "deployment_config": _scaling(recipe),
    }
    if told.accelerator:
        config["accelerator_type"] = told.accelerator
    worker = {"GPU": 1, **({"CPU": told.cpus} if told.cpus else {})}
    if told.memory:
        worker["memory"] = _bytes(told.memory)
    # One bundle a rank: all on one machine, or as few machines as hold them.
    config["placement_group_config"] = {
        "bundle_per_worker": worker,
        "strategy": "STRICT_PACK" if told.nodes == 1 else "PACK",
    }
    variables = {key: value for key, value in command.env.items() if key not in _NOT_PASSED}
    # The node's own variable is put in there: the value stands in no file and in no configuration of the cluster.
    variables |= {key: f"${{{secret_variable(one, key, ref)}}}" for key, ref in secrets_of(command).items()}
    if variables:
        config["runtime_env"] = {"env_vars": variables}
    return {"import_path": LLM_APP, "args": {"llm_configs": [config]}}


# --- what our application runs ----------------------------------------------------------------------------


def _of_ours(one: RenderedRecipe, command: RenderedCommand, backend: Backend) -> dict[str, Any]:
    recipe, told = one.recipe, one.recipe.handover
    if told.nodes > 1 or recipe.strategy != "single":
        raise refused(f"a replica of {backend.title} is on one machine: handover.nodes and strategy are not for it")
    variables = {key: value for key, value in command.env.items() if key not in _NOT_PASSED}
    args: dict[str, Any] = {
        "argv": _without_port(command.argv, one.port),
        "env": variables,
        "secrets": secrets_of(command),
        "cwd": recipe.cwd,
        "health_path": one.health_path,
        "ready_timeout": recipe.ready_timeout,
        "own_paths": [] if alone(recipe) else _counting_paths(backend),
    }
    actor: dict[str, Any] = {"num_cpus": told.cpus or 1, "num_gpus": gpus_of(recipe, backend)}
    if told.memory:
        actor["memory"] = _bytes(told.memory)
    if told.accelerator:
        actor["accelerator_type"] = told.accelerator
    ongoing = recipe.max_num_seqs or ONGOING
    deployment = {
        "name": "engine",
        **_scaling(recipe),
        "max_ongoing_requests": max(100, 2 * ongoing),
        "health_check_period_s": 5,
        "health_check_timeout_s": 15,
        "graceful_shutdown_timeout_s": 20,
        "ray_actor_options": actor,
    }
    return {
        "import_path": f"{MODULE}:build",
        "args": {key: value for key, value in args.items() if value not in (None, {}, [])},
        "deployments": [deployment],
        # Each look at it would be a line of its log.
        "logging_config": {"enable_access_log": False},
    }


def alone(recipe: Recipe) -> bool:
    """Return whether there is never more than one replica, so that its counters are those of all."""
    return (recipe.handover.max_replicas or recipe.handover.replicas) == 1


def _counting_paths(backend: Backend) -> list[str]:
    counters, slots = backend.counters, backend.slots
    return [counters.path if counters is not None else "/metrics", *([slots.path] if slots is not None else [])]


def gpus_of(recipe: Recipe, backend: Backend) -> int:
    """Return how many GPUs a replica takes: none where the recipe leaves them to an engine that also runs without."""
    if recipe.gpus and recipe.gpus != ("auto",):
        return len(recipe.gpus)
    return recipe.gpu_count if recipe.gpus or recipe.gpu_count > 1 or backend.takes_first_gpus else 0


def _without_port(words: tuple[str, ...], port: int) -> list[str]:
    """Return the words of a command with `{port}` for its port: each replica has one of its own.

    Raises:
        StudioError: It does not name its port, or holds that very text.
    """
    from vllm_studio_tui.services.render.inside_ray import PORT

    if any(PORT in word for word in words):
        raise refused(f"its command holds the text {PORT}")
    made, number = list(words), str(port)
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if word == number and at and words[at - 1].startswith("-") and "port" in words[at - 1]:
            made[at] = PORT
        elif equals and value == number and "port" in flag.lower():
            made[at] = f"{flag}={PORT}"
        else:
            made[at] = re.sub(rf"(?<=[\w\].]:){number}(?!\d)", PORT, word)
    if made == list(words):
        raise refused("its command does not name its port, so replicas of one machine could not be told apart")
    return made


def _bytes(text: str) -> int:
    """Return the bytes of a size as 64G or 64Gi.

    Raises:
        StudioError: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", text.upper())
    if found is None or found[2] not in _UNITS:
        raise StudioError("it cannot be written", cause=f"handover.memory is no size: {text}")
    return int(float(found[1]) * _UNITS[found[2]])
