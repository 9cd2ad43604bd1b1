"""A file of flags for each recipe whose engine reads one: `--config`, in YAML.

What such a file cannot say (variables, a program, what `serve` does with requests) is named at its head: it is found by
reading the file again.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.kit.masking import MASK
from vllm_studio_tui.services.render.source import (
    Files,
    RenderedCommand,
    RenderedRecipe,
    RenderSource,
    header,
    secret_notes,
)
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: Fields that a file of flags is not asked for: they say what the recipe is, not how it runs.
_OF_RECIPES = frozenset({"id", "name", "description", "tags", "backend"})


def render(source: RenderSource) -> Files:
    """Return `ID.yaml` for each recipe that can be written so.

    Raises:
        StudioError: None can.
    """
    files: Files = {}
    left: list[str] = []
    for one in source.recipes:
        try:
            files[f"{one.recipe.id}.yaml"] = _file(one, source)
        except StudioError as error:
            left.append(f"{one.recipe.id}: {error.cause}")
    if not files:
        cause = "\n".join(left) or "There is no recipe."
        raise StudioError("no recipe can be a file of an engine's flags", cause=cause)
    if left:
        first = next(iter(files))
        files[first] = "".join(f"# Left out: {' '.join(why.split())}\n" for why in left) + files[first]
    return files


def _file(one: RenderedRecipe, source: RenderSource) -> str:
    backend = registry.backends().get(one.recipe.backend)
    file = backend.config_file if backend is not None else None
    if backend is None or file is None or file.shape != "flags":
        raise StudioError("it cannot be written", cause=f"{one.recipe.backend} reads no file of flags")
    if one.command is None:
        raise StudioError("it cannot be written", cause=one.problem or "it makes no command")
    flags = flags_of(backend, one, one.command)
    text = yaml_text(flags)
    start = f"Start: {shlex.join(_program(backend, one.command))} --config {one.recipe.id}.yaml"
    told = [start, *secret_notes(one, one.command), *_lost(one.recipe, text)]
    plain = [f"{key}={shlex.quote(value)}" for key, value in one.command.env.items() if key in one.recipe.env_vars]
    told += [f"Set before: {' '.join(plain)}"] if plain else []
    return (
        header(RenderSource((one,), source.settings, source.serve_url, source.version), "engine-config", *told) + text
    )


def _program(backend: Backend, command: RenderedCommand) -> tuple[str, ...]:
    """Return the words of a command before its arguments."""
    pasted = backend.pasted(command.argv)
    return command.argv[: len(command.argv) - len(pasted.arguments)] if pasted is not None else command.argv[:1]


def flags_of(backend: Backend, one: RenderedRecipe, command: RenderedCommand) -> dict[str, Any]:
    """Return the arguments of a command by their flags, as the values that they mean."""
    from vllm_studio_tui.services.recipes.formats.engine_flags import field_of, options_of

    assert backend.config_file is not None
    words = list(command.argv)
    first = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    made: dict[str, Any] = {}
    pasted = backend.pasted(command.argv)
    if pasted is not None and pasted.arguments and not pasted.arguments[0].startswith("-"):
        made[backend.config_file.model] = pasted.arguments[0]
    for flag, value in options_of(words[first:]):
        if one.recipe.port is None and field_of(backend, flag) == "port":
            continue  # the first free one, which is another each time
        name = backend.flag_style.canonical(flag)
        if name in backend.flag_style.several and isinstance(value, str) and value:
            value = [value]
        made[name] = _value(value)
    return made


def _value(value: Any) -> Any:
    """Return a word as YAML has it: an object for JSON, a number where it is written as one."""
    if not isinstance(value, str) or MASK in value:
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    if isinstance(found, dict):
        return found
    return found if isinstance(found, int | float) and not isinstance(found, bool) and str(found) == value else value


def _lost(recipe: Recipe, text: str) -> list[str]:
    """Return which fields of a recipe the file does not carry."""
    from vllm_studio_tui.services.recipes.formats.engine_config import EngineConfig
    from vllm_studio_tui.services.recipes.formats.format import Source

    try:
        found = EngineConfig().read(Source(text.encode(), "rendered"))
        again = parse_recipe(found[0].data)[0] if found else None
    except StudioError:
        again = None
    if again is None:
        return ["It cannot be read again: `recipes export` keeps the recipe itself."]
    mine, theirs = recipe_to_data(recipe), recipe_to_data(again)
    lost = [name for name in mine if name not in _OF_RECIPES and mine[name] != theirs.get(name)]
    return [f"Not in this file: {', '.join(lost)}"] if lost else []
