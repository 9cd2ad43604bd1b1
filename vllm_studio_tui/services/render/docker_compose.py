"""A compose file: each recipe's engine as a service of its image, see https://github.com/compose-spec/compose-spec.

A recipe that runs in a container keeps its image. A native one gets the official image of its engine with the same
arguments; the programs and the working directory that it names on this machine are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm_studio_tui.backends.common.docker import STOP_SECONDS
from vllm_studio_tui.domain.errors import StudioError
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

#: Options of `docker run` with one value, and what they are called in a compose file.
_VALUES = {
    "--ipc": "ipc", "--user": "user", "-u": "user", "--runtime": "runtime", "--hostname": "hostname",
    "--memory": "mem_limit", "-m": "mem_limit", "--platform": "platform", "--pull": "pull_policy",
    "--network": "network_mode", "--net": "network_mode", "--workdir": "working_dir", "-w": "working_dir",
}  # fmt: skip
#: Options that may come several times.
_LISTS = {
    "--cap-add": "cap_add", "--cap-drop": "cap_drop", "--security-opt": "security_opt", "--device": "devices",
    "--group-add": "group_add", "--add-host": "extra_hosts", "--dns": "dns", "--tmpfs": "tmpfs",
    "--volume": "volumes", "-v": "volumes", "--publish": "ports", "-p": "ports", "--env-file": "env_file",
}  # fmt: skip
#: Options whose value is the next word.
_WITH_VALUE = {*_VALUES, *_LISTS, "--ulimit", "--env", "-e"}
_SWITCHES = {"--privileged": "privileged", "--read-only": "read_only"}
_RESTART = {"never": "no", "always": "unless-stopped"}


def render(source: RenderSource) -> Files:
    """Return `compose.yaml`.

    Raises:
        StudioError: None of the recipes can be a service.
    """
    services: dict[str, Any] = {}
    told: list[str] = []
    left: list[str] = []
    for one in source.recipes:
        try:
            services[one.recipe.id] = _service(one, several=len(source.recipes) > 1)
        except StudioError as error:
            left.append(f"{one.recipe.id}: {error.cause}")
            continue
        told += _notes(one)
    if not services:
        raise StudioError(
            "no recipe can be a service of a compose file",
            cause="\n".join(left) or "There is no recipe.",
            advice="Name an image in docker.image of the recipe.",
        )
    if len(source.recipes) > 1:
        told.append("Start one by its name: docker compose --profile NAME up")
    told += [f"Left out: {one}" for one in left]
    return {
        "compose.yaml": header(source, "docker-compose", *told)
        + yaml_text({"name": "vllm-studio", "services": services})
    }


def _refused(cause: str) -> StudioError:
    return StudioError("it cannot be a service of a compose file", cause=cause)


def _service(one: RenderedRecipe, *, several: bool) -> dict[str, Any]:
    recipe, command = one.recipe, one.contained
    if one.problem:
        raise _refused(one.problem)
    if command is None or one.image is None:
        words = "it is run by somebody else" if one.command is None else f"{recipe.backend} has no official image"
        raise _refused(f"{words}; docker.image names none")
    program, *arguments = command.argv
    made: dict[str, Any] = {"image": _literal(one.image)}
    if several:
        made["profiles"] = [recipe.id]
    if program:
        made["entrypoint"] = [_literal(program)]
    made |= {
        "command": [_literal(word) for word in arguments],
        "environment": _environment(one, command),
        "ports": [_literal(f"{published(recipe.host)}{one.port}:{one.port}")],
        "volumes": _volumes(one),
        "shm_size": _literal(recipe.docker.shm),
        "init": True,
        "stop_grace_period": f"{STOP_SECONDS}s",
        "restart": _RESTART.get(recipe.restart.policy, f"on-failure:{recipe.restart.budget}"),
        "healthcheck": _healthcheck(one),
        "labels": {"vllm-studio.recipe": recipe.id, "vllm-studio.revision": one.revision},
    }
    if recipe.docker.gpus:
        made["deploy"] = {"resources": {"reservations": {"devices": [_gpus(one)]}}}
    _take_options(made, recipe.docker.args)
    return {key: value for key, value in made.items() if value not in ([], {})}


def _literal(text: str) -> str:
    """Return a text as it stands: compose puts variables in for dollars."""
    return text.replace("$", "$$")


def published(host: str) -> str:
    """Return the address of this machine at which the service is published, with its colon."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - it is written, not bound
        return ""
    return f"[{host}]:" if ":" in host else f"{'127.0.0.1' if host == 'localhost' else host}:"


def _environment(one: RenderedRecipe, command: RenderedCommand) -> dict[str, str]:
    plain = {key: _literal(value) for key, value in command.env.items()}
    secret = {
        key: f"${{{secret_variable(one, key, reference)}:?the secret of {key}}}"
        for key, reference in command.env_refs.items()
    }
    return plain | secret


def _notes(one: RenderedRecipe) -> list[str]:
    """Return what the one who starts the service must know."""
    found = secret_notes(one, one.contained)
    missing = _not_mounted(one)
    if missing:
        found.append(f"{one.recipe.id}: mount these by docker.volumes of the recipe: {', '.join(missing)}")
    if one.recipe.runtime == "native":
        found.append(f"{one.recipe.id}: {one.image} moves; name a version in docker.image of the recipe.")
    return found


def _not_mounted(one: RenderedRecipe) -> list[str]:
    """Return the files of this machine that a native recipe's arguments name and that are in no volume."""
    if one.recipe.runtime != "native" or one.contained is None:
        return []
    volumes = (volume.split(":") for volume in (*one.volumes, *one.recipe.docker.volumes))
    inside = [parts[1] if len(parts) > 1 else parts[0] for parts in volumes]
    named = [word.rpartition("=")[2] for word in one.contained.argv[1:]]
    return [path for path in named if path.startswith("/") and not any(Path(path).is_relative_to(at) for at in inside)]


def _volumes(one: RenderedRecipe) -> list[str]:
    found = [*one.volumes, *one.recipe.docker.volumes]
    if not one.local_model and one.recipe.model_path:
        # What the hub's cache of this user has already is not fetched again.
        return [*map(_literal, found), "${HOME}/.cache/huggingface:/root/.cache/huggingface"]
    return [_literal(volume) for volume in found]


def _healthcheck(one: RenderedRecipe) -> dict[str, Any]:
    url = f"http://127.0.0.1:{one.port}{one.health_path}"
    # Images of engines have one of the two.
    python = f"import urllib.request as request; request.urlopen('{url}', timeout=5)"
    wait = int(one.recipe.ready_timeout or 1800)
    return {
        "test": ["CMD-SHELL", _literal(f"curl -fsS -o /dev/null '{url}' || python3 -c \"{python}\"")],
        "interval": "15s",
        "timeout": "10s",
        "retries": 4,
        "start_period": f"{wait}s",
    }


def _gpus(one: RenderedRecipe) -> dict[str, Any]:
    asked: dict[str, Any] = {"driver": "nvidia", "capabilities": ["gpu"]}
    if one.recipe.gpus and one.recipe.gpus != ("auto",):
        return asked | {"device_ids": list(one.recipe.gpus)}
    return asked | {"count": one.recipe.gpu_count if one.recipe.gpus or one.recipe.gpu_count > 1 else "all"}


def _take_options(made: dict[str, Any], options: tuple[str, ...]) -> None:
    """Take over the options of `docker run` that a recipe names.

    Raises:
        StudioError: One of them has no counterpart here.
    """
    words = list(options)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name in _SWITCHES and not equals:
            made[_SWITCHES[name]] = True
            continue
        if not equals and words and name in _WITH_VALUE:
            value = words.pop(0)
        elif not equals:
            raise _refused(f"docker.args has {name}, which cannot be written into a compose file")
        if name in _VALUES:
            made[_VALUES[name]] = _literal(value)
        elif name in _LISTS:
            made[_LISTS[name]] = [*made.get(_LISTS[name], []), _literal(value)]
        elif name == "--ulimit":
            made["ulimits"] = {**made.get("ulimits", {}), **_ulimit(value)}
        elif name in ("--env", "-e") and "=" in value:
            key, _, text = value.partition("=")
            made["environment"] = {**made["environment"], key: _literal(text)}
        else:
            raise _refused(f"docker.args has {name}, which cannot be written into a compose file")
    if made.get("network_mode") == "host":
        made.pop("ports")


def _ulimit(value: str) -> dict[str, Any]:
    name, _, limits = value.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return {name: {"soft": int(soft), "hard": int(hard or soft)}}
    except ValueError:
        raise _refused(f"docker.args has --ulimit {value}, which is no limit") from None
