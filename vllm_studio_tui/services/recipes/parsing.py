"""Read recipes from files and pasted commands. Everything in them is hostile until parsed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.backends.common.pasted import Pasted
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_reading import slug

MAX_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 10_000
MAX_DEPTH = 40
MAX_NODES = 500_000
#: How a database of SQLite begins.
DATABASE = b"SQLite format 3\x00"


#: How JSON begins and YAML hardly ever does.
_JSON = re.compile(r'\s*[\[{]\s*["\[{]')


class Unreadable(StudioError):
    """A file or text that holds no recipes at all."""


def read_documents(raw: bytes, source: str) -> list[Any]:
    """Return the entries of a file: one recipe, a list, `{"recipes": [..]}`, several YAML documents, a pasted command.

    Raises:
        Unreadable: It is too large, or neither JSON, YAML nor a command.
    """
    if raw.startswith(DATABASE):
        return _of_database(raw, source)
    if len(raw) > MAX_BYTES:
        raise Unreadable(f"{source} is too large", cause=f"{len(raw)} bytes, at most {MAX_BYTES} are read")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{source} is not text", cause=f"byte {error.start} is not UTF-8") from None
    if not text.strip():
        raise Unreadable(f"{source} is empty", advice="Give a JSON or YAML file with recipes.")
    command = from_command(text)
    documents = [command] if command is not None else _parse(text, source)
    entries: list[Any] = []
    for document in documents:
        if isinstance(document, Mapping) and isinstance(document.get("recipes"), list):
            entries += document["recipes"]
        elif isinstance(document, list):
            entries += document
        elif document is not None:
            entries.append(document)
    if len(entries) > MAX_ENTRIES:
        raise Unreadable(f"{source} holds too many entries", cause=f"{len(entries)}, at most {MAX_ENTRIES} are read")
    if not entries:
        raise Unreadable(f"{source} holds no recipe", advice="Give a recipe, a list of them, or {recipes: [..]}.")
    return entries


def _of_database(raw: bytes, source: str) -> list[Any]:
    """Return the recipes of a database of the original; one that cannot be read as a `BrokenRow`."""
    from vllm_studio_tui.store.original import BrokenRow, read_original

    found = read_original(raw, source)
    if not found.recipes:
        what = {"chats": found.has_chats, "best speeds": found.peaks is not None, "totals": found.totals is not None}
        has = " and ".join(name for name, there in what.items() if there) or "an empty table of recipes"
        raise Unreadable(f"{source} holds no recipe", cause=f"It has {has}.", advice=f"vllm-studio import {source}")
    for one in found.recipes:
        if not isinstance(one, BrokenRow):
            _bounded(one, source)
    return list(found.recipes)


def _parse(text: str, source: str) -> list[Any]:
    try:
        documents = [json.loads(text)]
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise Unreadable(f"{source} is nested too deeply", cause=f"at most {MAX_DEPTH} levels are read") from None
        if _JSON.match(text.lstrip("\ufeff")):  # broken JSON may be YAML all the same, and mean something else
            raise Unreadable(f"{source} cannot be read", cause=f"JSON: {error}", advice="Correct that place.") from None
        documents = _parse_yaml(text, source)
    for document in documents:
        _bounded(document, source)
    return documents


def _parse_yaml(text: str, source: str) -> list[Any]:
    import yaml

    class NoAliases(yaml.SafeLoader):
        """An anchor costs a line and can stand for gigabytes: recipes need none."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError("aliases (*name) are not read")
            return super().compose_node(parent, index)

    try:
        return list(yaml.load_all(text, NoAliases))  # NoAliases is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        cause = f"YAML{where}: {problem}"
        raise Unreadable(f"{source} cannot be read", cause=cause[:500], advice="Correct that place.") from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise Unreadable(f"{source} cannot be read", cause=str(error)[:500]) from None


def _bounded(document: Any, source: str) -> None:
    queue: list[tuple[Any, int]] = [(document, 0)]
    nodes = 0
    while queue:
        value, depth = queue.pop()
        nodes += 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise Unreadable(f"{source} is nested too deeply or too large", cause=f"at most {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            queue += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            queue += [(one, depth + 1) for one in value]


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
    for backend in registry.backends().values():
        pasted = backend.pasted(words)
        if pasted is not None:
            return _recipe(backend, pasted, env)
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
