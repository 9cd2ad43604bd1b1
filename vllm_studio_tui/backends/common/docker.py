"""Any engine in a container: its own command behind `docker run`.

The container shares the host's network, so that the engine listens where the studio looks for it, and carries the
run's id as a label. It ends with `docker stop`: a signal to the client that started it would not reach it for certain.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, Command, LaunchContext
from vllm_studio_tui.backends.common.commands import find_program, is_local, not_found
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit.file_access import expanded

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

LABEL = "vllm-studio.run"
#: Seconds that `docker stop` gives the engine before it kills.
STOP_SECONDS = 15
_FIRST_PART = re.compile(r"(.+)-00001-of-(\d{5})\.gguf")
#: Options by which a recipe takes the network into its own hands.
_NETWORK = ("--network", "--net", "-p", "--publish")


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Programs as images have them; what is set for this host does not hold there."""

    vllm_executable: str | None = None
    sglang_python: str | None = "python3"
    llama_server: str | None = None
    embedded_threads: int | None = None
    transformers_executable: str | None = None
    tabby_dir: Path | None = None


def container_command(
    recipe: Recipe, backend: Backend, context: LaunchContext, run_id: str, gpus: Sequence[str]
) -> Command:
    """Return the command that runs the recipe's engine in its image.

    Args:
        run_id: Becomes the container's name and label.
        gpus: What the run claims; they are numbered from 0 inside.

    Raises:
        LaunchRefused: There is no docker.
        InvalidRecipe: A field makes no command.
    """
    docker = find_program(["docker"], context)
    if docker is None:
        raise not_found("docker", ["docker"], "Install it, or set runtime: native.", context)
    inside = backend.command(recipe, dataclasses.replace(context, settings=ImageSettings(), container=True))
    name = container_name(run_id)
    own = {key: value for key, value in inside.env.items() if not key.startswith("CUDA_")}
    argv = [docker, "run", "--rm", "--init", "--name", name, "--label", f"{LABEL}={run_id}"]
    argv += ["--shm-size", recipe.docker.shm]
    if not any(one.split("=", 1)[0] in _NETWORK for one in recipe.docker.args):
        argv += ["--network", "host"]
    argv += _gpu_options(recipe, gpus)
    for volume in (*model_volumes(recipe), *recipe.docker.volumes):
        argv += ["--volume", volume]
    for key, value in own.items():
        argv += ["--env", f"{key}={value}"]
    # Its processes descend from none of ours: by this its server is known as the run's.
    argv += ["--env", f"{VARIABLE}={run_id}"]
    for key in inside.env_refs:  # by name alone: the client hands on the value, and no argument shows it
        argv += ["--env", key]
    argv += recipe.docker.args
    program, *arguments = inside.argv
    if recipe.executable or not backend.image_runs_engine:
        argv += ["--entrypoint", program]
    argv += [recipe.docker.image or "", *arguments]
    stop = (docker, "stop", "--time", str(STOP_SECONDS), name)
    return Command(tuple(argv), {}, inside.env_refs, inside.notes, stop)


def container_name(run_id: str) -> str:
    return f"vllm-studio-{run_id}"


def _gpu_options(recipe: Recipe, gpus: Sequence[str]) -> list[str]:
    if not recipe.docker.gpus:
        return []
    # Docker reads the option as a line of CSV: a list of devices is one quoted field.
    return ["--gpus", f'"device={",".join(gpus)}"' if gpus else "all"]


def model_volumes(recipe: Recipe) -> Iterator[str]:
    """Yield the volumes of local models: each is mounted at the same path, read-only."""
    named = (recipe.model_path, recipe.tokenizer or "", *recipe.lora_modules.values())
    local = [Path(expanded(path)).absolute() for path in named if is_local(path)]
    yield from dict.fromkeys(f"{path}:{path}:ro" for one in local for path in (one, *_other_parts(one)))


def _other_parts(first: Path) -> list[Path]:
    """Return the other files of a model in parts, of which the engine is told the first (`x-00001-of-00003.gguf`).

    Not their directory: those of a hub's cache are links to files beside it, which only a mount of each follows.
    """
    found = _FIRST_PART.fullmatch(first.name)
    if found is None:
        return []
    pattern = re.compile(rf"{re.escape(found[1])}-\d{{5}}-of-{found[2]}\.gguf")
    try:
        names = sorted(os.listdir(first.parent))  # noqa: PTH208, RUF100
    except OSError:
        return []
    return [first.parent / name for name in names if pattern.fullmatch(name) and name != first.name]
