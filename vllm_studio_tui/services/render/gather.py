"""Gather what files for other tools are made from: each recipe with the commands that its backend makes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from vllm_studio_tui import __version__
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, Command, LaunchContext
from vllm_studio_tui.backends.common.docker import ImageSettings
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.masking import mask_argv, mask_data
from vllm_studio_tui.runs.make_spec import revision
from vllm_studio_tui.services.launching.boot_unit import KEPT
from vllm_studio_tui.services.launching.preflight import guarded
from vllm_studio_tui.services.launching.preview import preview
from vllm_studio_tui.services.render.source import RenderedCommand, RenderedRecipe, RenderSource, serve_url

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings

_MAY_HOLD_SECRETS = {
    "name", "description", "base_url", "command", "env_vars", "extra_args", "speculative", "chat_template_kwargs",
}  # fmt: skip
#: On which addresses an engine listens inside its container: the container's publishing says who reaches it.
INSIDE = "0.0.0.0"  # noqa: S104


def gather_source(
    recipes: Iterable[Recipe],
    settings: Settings,
    *,
    resolve: Callable[[str], str],
    number: Callable[[Recipe], int | None],
    environ: Mapping[str, str],
) -> RenderSource:
    """Return the recipes with their commands. One that makes no command has the reason instead.

    Args:
        resolve: Returns the path that a recipe's model path stands for.
        number: Returns which kept form of a recipe one is.
    """
    kept = {name: environ[name] for name in KEPT if environ.get(name)}
    found = _gathered_all(recipes, settings, resolve, number, environ)
    return RenderSource(tuple(found), settings, serve_url(settings), __version__, sys.executable, kept)


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
        shown = preview(usable, backend, context, missing_ok=True, run_id=recipe.id)
        image = recipe.docker.image if recipe.runtime == "docker" else backend.image
        return replace(
            bare,
            image=image,
            command=RenderedCommand(
                shown.argv,
                {key: value for key, value in shown.env.items() if key not in shown.env_refs},
                shown.env_refs,
                shown.stop_argv,
            ),
            contained=_contained(usable, backend, context) if image else None,
        )
    except StudioError as error:
        return replace(bare, problem=f"{error.title}: {' '.join(error.cause.split())}".rstrip(": "))


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
