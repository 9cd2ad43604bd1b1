"""An engine's own command in words, without anything before it, as the fields of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.backends.common.pasted import Pasted
from vllm_studio_tui.backends.common.pasted_flags import read_arguments
from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.domain.recipe_reading import slug
from vllm_studio_tui.services.recipes.formats.needless import without_needless
from vllm_studio_tui.services.recipes.formats.shell_text import dollars, home_filled, names_in, reference


def recipe_of_command(words: Sequence[str], env: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Return a recipe from the words of an engine's own command, without anything before it; None if it is none."""
    engine = engine_of(words)
    return None if engine is None else recipe_of(*engine, env or {})[0]


def engine_of(words: Sequence[str]) -> tuple[Backend, Pasted] | None:
    """Return the engine that words start, and its arguments; None where they start none."""
    for backend in registry.backends().values():
        pasted = backend.pasted(words)
        if pasted is not None:
            return backend, pasted
    return None


def recipe_of(backend: Backend, pasted: Pasted, env: Mapping[str, str]) -> tuple[dict[str, Any], list[FieldNote]]:
    """Return the fields of a recipe for an engine's arguments, with what is said of them."""
    notes: list[FieldNote] = []
    data: dict[str, Any] = {"backend": backend.name}
    kept = _variables(env, notes)
    if backend.key_variable in kept and backend.key_variable is not None:
        data["api_key"] = kept.pop(backend.key_variable)
    if kept:
        data["env_vars"] = kept
    data |= {name: dollars(value) for name, value in pasted.fields.items()}
    missing = {name for word in (*pasted.arguments, *pasted.fields.values()) for name in names_in(word)}
    read = read_arguments(backend, [dollars(word) for word in pasted.arguments])
    data |= {name: value for name, value in read.fields.items() if name != "model_path" or name not in data}
    notes += read.notes
    if isinstance(data.get("api_key"), str):
        data["api_key"] = reference(data["api_key"])
    _fill_home(data)
    without_needless(backend, data, notes)
    for name, value in data.items():
        named = sorted(missing & set(names_in(str(value))))
        if named and name != "api_key":
            words = ", ".join(named)[:80]
            notes.append(FieldNote(name, "taken", f"{words} is not set here, as a shell would need it: correct it"))
    name = str(data.get("served_model_name") or data.get("model_path") or backend.name)
    data["id"], data["name"] = slug(name), name.rstrip("/").rsplit("/", 1)[-1]
    return data, notes


def _variables(env: Mapping[str, str], notes: list[FieldNote]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in env.items():
        if any(names_in(value)):
            why = f"{value[:80]}: only a shell can put the other variables into it"
            notes.append(FieldNote(f"env_vars.{name}", "dropped", why))
        else:
            kept[name] = dollars(home_filled(value))
    return kept


def _fill_home(data: dict[str, Any]) -> None:
    """Write paths of the home as the studio reads them: no shell fills them in."""
    for name in ("model_path", "executable", "python_path", "cwd", "tokenizer"):
        value = data.get(name)
        if isinstance(value, str):
            data[name] = value.replace("${HOME}/", "~/", 1).replace("$HOME/", "~/", 1)
    extra: dict[str, Any] = data.get("extra_args") or {}
    for name, value in extra.items():
        if isinstance(value, str):
            extra[name] = home_filled(value)
        elif isinstance(value, list):
            extra[name] = [home_filled(one) if isinstance(one, str) else one for one in value]
