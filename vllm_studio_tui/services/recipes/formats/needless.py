"""Leave out of an imported command what the studio gives the engine anyway, so that a recipe says what is special."""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.backends.base import Backend, LaunchContext
from vllm_studio_tui.backends.common.docker import ImageSettings
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import FieldNote, Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe

#: Settings that are tried: a command of more is a test, not a setup.
MAX_TRIED = 60
_WHY = "the studio gives it anyway"
_DEFAULTS = {"host": "127.0.0.1"}


def without_needless(backend: Backend, data: dict[str, Any], notes: list[FieldNote]) -> None:
    """Take flags and variables out of a recipe's data without which its command is the very same."""
    if not isinstance(data.get("extra_args"), dict) and not data.get("env_vars") and "served_model_name" not in data:
        return
    whole = _command(backend, data)
    if whole is None:
        return
    for group in ("extra_args", "env_vars"):
        given = data.get(group)
        for key in list(given)[:MAX_TRIED] if isinstance(given, dict) else ():
            left = {**data, group: {name: one for name, one in data[group].items() if name != key}}
            if key not in ("raw", "CUDA_VISIBLE_DEVICES") and _command(backend, left) == whole:
                data[group] = left[group]
                notes.append(FieldNote(f"{group}.{key}", "dropped", _WHY))
        if group in data and not data[group]:
            del data[group]
    for name in ("enable_auto_tool_choice", "served_model_name"):
        left = {key: one for key, one in data.items() if key != name}
        if name in data and not data.get("aliases") and _command(backend, left) == whole:
            del data[name]
            notes.append(FieldNote(name, "dropped", _WHY))


def _command(backend: Backend, data: dict[str, Any]) -> tuple[Any, ...] | None:
    try:
        recipe, _ = parse_recipe({"id": "x", "name": "x", **data})
        return command_of(backend, recipe)
    except (StudioError, ValueError, OSError):
        return None


def command_of(backend: Backend, recipe: Recipe) -> tuple[Any, ...]:
    """Return a recipe's command, to be compared with another's: its words, variables and references.

    Raises:
        StudioError: It makes none.
    """
    made = backend.command(
        recipe, LaunchContext(ImageSettings(), recipe.host, recipe.port or 1, environ={}, container=True)
    )
    return sorted(made.argv), dict(made.env), dict(made.env_refs)
