"""Read a pasted command that starts an engine, as `vllm serve ..`. It is read, never run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.backends.common.pasted import Pasted
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import slug
from vllm_studio_tui.services.recipes.formats.format import Found, Source


class CommandFormat:
    """A pasted command."""

    name = "command"
    title = "a command that starts an engine"

    def read(self, source: Source) -> list[Found] | None:
        recipe = from_command(source.text) if source.text else None
        return None if recipe is None else [Found(recipe)]


def from_command(text: str) -> dict[str, Any] | None:
    """Return a recipe from a pasted command that starts an engine, as `vllm serve ..`; None if it is none."""
    if len(text) > 64 * 1024:
        return None
    try:
        words = shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " "), comments=True)
    except ValueError:
        return None
    env: dict[str, str] = {}
    while words and (words[0] in ("env", "export", "$", "exec") or _assignment(words[0])):
        if _assignment(words[0]):
            name, _, value = words[0].partition("=")
            env[name] = _reference(value)
        words.pop(0)
    return recipe_of_command(words, env)


def recipe_of_command(words: Sequence[str], env: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Return a recipe from the words of a command that starts an engine; None if it is none."""
    for backend in registry.backends().values():
        pasted = backend.pasted(words)
        if pasted is not None:
            return _recipe(backend, pasted, env or {})
    return None


def _recipe(backend: Backend, pasted: Pasted, env: Mapping[str, str]) -> dict[str, Any]:
    recipe: dict[str, Any] = {"backend": backend.name, **({"env_vars": env} if env else {}), **pasted.fields}
    _flags(backend.pasted_flags, pasted.arguments, recipe)
    if isinstance(recipe.get("api_key"), str):
        recipe["api_key"] = _reference(recipe["api_key"])
    name = str(recipe.get("served_model_name") or recipe.get("model_path") or backend.name)
    recipe["id"], recipe["name"] = slug(name), name.rstrip("/").rsplit("/", 1)[-1]
    return recipe


def _reference(value: str) -> str:
    """Return a reference to the variable where the value is one that a shell would fill in."""
    found = re.fullmatch(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})", value)
    return f"env:{found[1] or found[2]}" if found else value


def _assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def _flags(fields: Mapping[str, str], words: Sequence[str], recipe: dict[str, Any]) -> None:
    """Put the arguments of a command into a recipe: its own fields by `fields`, the rest as extra_args."""
    extra: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-"):
            recipe.setdefault("model_path", word)
            continue
        flag, equals, value = word.partition("=")
        if not equals:
            following = words[position] if position < len(words) else None
            if following is not None and (not following.startswith("-") or _number(following)):
                value, position = following, position + 1
            else:
                value = ""
        name = fields.get(flag.replace("_", "-"))
        if name is not None and Recipe.model_fields[name].annotation is bool:
            recipe[name] = True
            if value and not equals:
                position -= 1
        elif name is not None:
            recipe[name] = value
        else:
            extra[flag.lstrip("-")] = value if value or equals else True
    if extra:
        recipe["extra_args"] = extra


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
