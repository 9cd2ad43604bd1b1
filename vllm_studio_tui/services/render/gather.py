"""Gather what files for other tools are made from: each recipe with the commands that its backend makes of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui import __version__
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, Command, LaunchContext
from vllm_studio_tui.backends.common.commands import is_local
from vllm_studio_tui.backends.common.docker import ImageSettings, model_volumes
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.kit.masking import mask_argv, mask_data
from vllm_studio_tui.runs.make_spec import revision
from vllm_studio_tui.services.launching.boot_unit import KEPT
from vllm_studio_tui.services.launching.preflight import guarded
from vllm_studio_tui.services.launching.preview import preview
from vllm_studio_tui.services.render.source import RenderedCommand, RenderedRecipe, RenderSource, serve_url

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.services.protocols import StudioApi

_MAY_HOLD_SECRETS = {
    "name", "description", "base_url", "command", "env_vars", "extra_args", "speculative", "chat_template_kwargs",
}  # fmt: skip
#: On which addresses an engine listens inside its container: the container's publishing says who reaches it.
INSIDE = "0.0.0.0"  # noqa: S104


def source_of(studio: StudioApi, recipes: Iterable[Recipe], places: Places) -> RenderSource:
    """Return these recipes of a studio with their commands, as this machine makes them. Blocking."""
    from vllm_studio_tui.models.demo.model import resolve_model

    return gather_source(
        recipes,
        studio.settings,
        resolve=lambda path: resolve_model(places, path),
        number=studio.recipes.number,
        environ=os.environ,
        has_keys=bool(studio.keys.list()),
    )


def gather_source(
    recipes: Iterable[Recipe],
    settings: Settings,
    *,
    resolve: Callable[[str], str],
    number: Callable[[Recipe], int | None],
    environ: Mapping[str, str],
    has_keys: bool = False,
) -> RenderSource:
    """Return the recipes with their commands. One that makes no command has the reason instead.

    Args:
        resolve: Returns the path that a recipe's model path stands for.
        number: Returns which kept form of a recipe one is.
        has_keys: There are keys of `serve`.
    """
    kept = {name: environ[name] for name in KEPT if environ.get(name)}
    found = _gathered_all(recipes, settings, resolve, number, environ)
    needs_key = has_keys or settings.api_key is not None
    return RenderSource(tuple(found), settings, serve_url(settings), __version__, sys.executable, kept, needs_key)


def _gathered_all(
    recipes: Iterable[Recipe],
    settings: Settings,
    resolve: Callable[[str], str],
    number: Callable[[Recipe], int | None],
    environ: Mapping[str, str],
) -> list[RenderedRecipe]:
    chosen = list(recipes)
    taken = {one.port for one in chosen if one.port is not None}
    found = []
    for one in chosen:
        port = one.port
        if port is None:
            port = next(free for free in range(settings.inference_port, 65536) if free not in taken)
            taken.add(port)
        found.append(_gathered(one, port, settings, resolve, number(one), environ))
    return found


def _gathered(
    recipe: Recipe,
    port: int,
    settings: Settings,
    resolve: Callable[[str], str],
    number: int | None,
    environ: Mapping[str, str],
) -> RenderedRecipe:
    shown_model = recipe.served_model_name or recipe.id
    bare = RenderedRecipe(_masked(recipe), revision(recipe), shown_model, port, number)
    try:
        backend = registry.backend(recipe.backend)
        usable = recipe.model_copy(update={"model_path": resolve(recipe.model_path)})
        bare = replace(bare, model=backend.model_name(usable), health_path=backend.ready(usable).path)
        if not backend.needs_launch:
            return bare
        context = LaunchContext(settings, recipe.host, port, environ=environ)
        command = _here(usable, backend, context)
        image = recipe.docker.image if recipe.runtime == "docker" else backend.image
        contained = _contained(usable, backend, context) if image else None
        return replace(
            bare,
            image=image,
            command=command,
            contained=contained,
            volumes=_volumes(usable, backend, contained),
            local_model=is_local(usable.model_path),
            contained_rank=lambda place: _contained(usable, backend, replace(context, rank=place)),
            command_at=lambda host, port, place: _here(
                usable, backend, replace(context, host=host, port=port, rank=place)
            ),
        )
    except StudioError as error:
        return replace(bare, problem=f"{error.title}: {' '.join(error.cause.split())}".rstrip(": "))


def _here(recipe: Recipe, backend: Backend, context: LaunchContext) -> RenderedCommand:
    """Return the command as this machine makes it, which need not have the engine."""
    shown = preview(recipe, backend, context, missing_ok=True, run_id=recipe.id)
    plain = {key: value for key, value in shown.env.items() if key not in shown.env_refs}
    return RenderedCommand(shown.argv, plain, shown.env_refs, shown.stop_argv)


def _masked(recipe: Recipe) -> Recipe:
    """Return the recipe without the secrets that people wrote into it."""
    plain = recipe.model_dump(mode="python", include=_MAY_HOLD_SECRETS)
    masked = {name: mask_data(value, name) for name, value in plain.items()}
    docker = recipe.docker.model_copy(update={"args": tuple(mask_argv(recipe.docker.args))})
    return recipe.model_copy(update={**masked, "docker": docker})


def _contained(recipe: Recipe, backend: Backend, context: LaunchContext) -> RenderedCommand:
    """Return the command of the engine inside its image, without `docker run`."""
    if recipe.runtime == "native":  # programs of this machine are not in the image
        recipe = recipe.model_copy(update={"executable": None, "python_path": None})
    inside = replace(context, host=INSIDE, settings=ImageSettings(), container=True)
    command: Command = guarded(backend, lambda: backend.command(recipe, inside))
    argv = mask_argv(command.argv)
    if backend.image_runs_engine and not recipe.executable:
        argv = ["", *argv[1:]]
    # GPUs are numbered from 0 inside.
    env = {key: value for key, value in command.env.items() if not key.startswith("CUDA_")}
    return RenderedCommand(tuple(argv), mask_data(env), command.env_refs)


def _volumes(recipe: Recipe, backend: Backend, contained: RenderedCommand | None) -> tuple[str, ...]:
    """Return the volumes of what the engine reads: each file is mounted at the same path, read-only.

    A recipe with `runtime: docker` names files of its own image and volumes: only its models are mounted, as at a
    launch.
    """
    found = dict.fromkeys(model_volumes(recipe))
    if recipe.runtime == "native" and contained is not None:
        found |= dict.fromkeys(f"{path}:{path}:ro" for path in _read_files(recipe, backend, contained))
    inside = [volume.split(":")[1] if ":" in volume else volume for volume in recipe.docker.volumes]
    return tuple(one for one in found if not any(Path(one.split(":")[0]).is_relative_to(at) for at in inside))


def _read_files(recipe: Recipe, backend: Backend, contained: RenderedCommand) -> Iterator[str]:
    """Yield the absolute paths of this machine that a command has its engine read, beside models."""
    draft = recipe.speculative.get("model") if recipe.speculative else None
    if isinstance(draft, str) and is_local(draft):
        yield str(Path(expanded(draft)).absolute())
    words = contained.argv[1:]
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag.startswith("-") and flag.lstrip("-") in backend.file_flags:
            value = value if equals else words[at + 1] if at + 1 < len(words) else ""
            if value.startswith("/") and "\n" not in value:
                yield value
