"""Turn flags of an engine into fields of a recipe. Which flag is which field the backend says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, LaunchContext
from vllm_studio_tui.backends.common.docker import ImageSettings
from vllm_studio_tui.backends.common.flags import given
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import FieldNote, Recipe
from vllm_studio_tui.domain.recipe_reading import parse_recipe, slug

_ON = frozenset({"true", "1", "yes", "on"})
_OFF = frozenset({"false", "0", "no", "off"})
#: Fields that are switches, those that the engine may decide too.
_SWITCHES = frozenset(name for name, one in Recipe.model_fields.items() if one.annotation in (bool, bool | None))
_OBJECTS = frozenset({"speculative", "chat_template_kwargs"})


def backend_of(tool: str) -> Backend:
    """Return the backend whose flags a tool keeps.

    Raises:
        StudioError: No backend is known for it.
    """
    for one in registry.backends().values():
        if one.config_file is not None and tool in one.config_file.tools:
            return one
    raise StudioError(f"no engine here runs what {tool} keeps", advice="See `vllm-studio doctor`.")


def field_of(backend: Backend, flag: str) -> str | None:
    """Return the field of a recipe that a flag is, written in any way; None: it is none."""
    style, name = backend.flag_style, backend.flag_style.canonical(flag)
    if backend.config_file is not None and name in backend.config_file.fields:
        return backend.config_file.fields[name]
    return next((field for one, field in backend.pasted_flags.items() if style.canonical(one) == name), None)


def take_flags(backend: Backend, options: Iterable[tuple[str, Any]], notes: list[FieldNote]) -> dict[str, Any]:
    """Return the fields that flags are; those that are none are in `extra_args`.

    Args:
        options: Each flag, with or without dashes before it, and its value: True and False for switches, a list for
            several, an object for what the engine takes as JSON.
        notes: Gets a line for each flag that is not plainly taken.
    """
    data: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in options:
        if value is None:
            notes.append(FieldNote(name, "dropped", "it is empty"))
            continue
        flag, field = backend.flag_style.canonical(name), field_of(backend, name)
        if field is None and flag.startswith("no-") and (positive := field_of(backend, flag[3:])) in _SWITCHES:
            field, value = positive, _switch(value) is False
        put = _value(backend, field, value) if field is not None else None
        if field is None or put is None:
            if value is False and not _has_negative(backend, flag):
                notes.append(FieldNote(name, "dropped", "it is off, as it is without it"))
                continue
            if value is False:
                flag, value = f"no-{flag}", True
            extra[flag.replace("-", "_") if backend.flag_style.underscores else flag] = value
            notes.append(FieldNote(name, "changed", "no field of ours: now in extra_args"))
            continue
        for key, one in put.items():
            if key in data and data[key] != one:
                notes.append(FieldNote(name, "dropped", f"{key} was already given"))
                continue
            data[key] = one
        if field != name:
            notes.append(FieldNote(name, "changed", f"now {' and '.join(put)}"))
    if extra:
        data["extra_args"] = extra
    return data


def _has_negative(backend: Backend, flag: str) -> bool:
    if backend.config_file is not None and flag in backend.config_file.switches:
        return True
    table = backend.known()
    return table is not None and flag in table.on_by_default


def _value(backend: Backend, field: str, value: Any) -> dict[str, Any] | None:
    """Return the fields of a value; None where the field cannot hold it."""
    if field in _SWITCHES:
        on = _switch(value)
        return None if on is None else {field: on}
    if field == "served_model_name" and isinstance(value, list):
        first, *others = [str(one) for one in value] or [""]
        if others and not backend.takes_aliases:
            return None
        return {field: first, **({"aliases": others} if others else {})}
    if field == "lora_modules":
        return _adapters(value)
    if field in _OBJECTS:
        found = _object(value)
        return None if found is None else {field: found}
    if isinstance(value, Mapping | list):
        return None
    return {field: value}


def _switch(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    return True if text in _ON or text == "" else False if text in _OFF else None


def _object(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _adapters(value: Any) -> dict[str, Any] | None:
    words = value if isinstance(value, list) else [value]
    pairs = [str(one).partition("=") for one in words if not isinstance(one, Mapping)]
    if len(pairs) != len(words) or not all(name and path for name, _, path in pairs):
        return None
    return {"lora_modules": {name: path for name, _, path in pairs}}


def options_of(words: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield the flags of a list of words, each with what follows it: a switch, one value, or several."""
    flag, values = "", list[str]()
    for word in words:
        if word.startswith("-") and len(word) > 1 and not _number(word):
            if flag:
                yield flag, _several(values)
            flag, equals, value = word.partition("=")
            values = [value] if equals else []
        elif flag:
            values.append(word)
    if flag:
        yield flag, _several(values)


def _several(values: list[str]) -> Any:
    return True if not values else values[0] if len(values) == 1 else list(values)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def of_words(words: Sequence[str], notes: list[FieldNote]) -> dict[str, Any] | None:
    """Return the fields of a command that starts an engine, flags with several values too; None if it is none."""
    for backend in registry.backends().values():
        pasted = backend.pasted(words)
        if pasted is not None:
            found = _of_arguments(backend, list(pasted.arguments), notes)
            return {"backend": backend.name, **pasted.fields, **found}
    return None


def _of_arguments(backend: Backend, words: list[str], notes: list[FieldNote]) -> dict[str, Any]:
    loose = [*takewhile(lambda word: not word.startswith("-"), words)]
    options: dict[str, Any] = {}
    for flag, value in options_of(words):
        name = backend.flag_style.canonical(flag)
        switch = field_of(backend, flag) in _SWITCHES
        if isinstance(value, list) and name not in backend.flag_style.several:
            value, *more = value
            loose += more
        if switch and isinstance(value, str) and _switch(value) is None:
            loose.append(value)
            value = True
        if backend.flag_style.repeat_lists and name in options and not isinstance(options[name], bool):
            before = options[name]
            value = [*before, value] if isinstance(before, list) else [before, value]
        options[name] = value
    data = take_flags(backend, options.items(), notes)
    if loose:
        data.setdefault("model_path", loose[0])
    key = data.get("api_key")
    if isinstance(key, str) and (found := re.fullmatch(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", key)):
        data["api_key"] = f"env:{found[1]}"
    return data


def without_own(backend: Backend, data: dict[str, Any], notes: list[FieldNote]) -> dict[str, Any]:
    """Return the fields without the flags and variables that a launch of ours adds by itself, with the same value."""
    extra, env = data.get("extra_args"), data.get("env_vars")
    try:
        whole, _ = parse_recipe({**named({}, "bare"), **data, "backend": backend.name})
        bare = whole.model_copy(update={"extra_args": {}, "env_vars": {}})
        own = backend.command(bare, LaunchContext(ImageSettings(), bare.host, 1, environ={}, container=True))
    except (StudioError, ValueError, OSError):
        return data
    kept = dict(data)
    flags = given(own.argv[1:], backend.flag_style)
    if isinstance(extra, Mapping):
        same = [key for key, value in extra.items() if _says(flags.get(backend.flag_style.canonical(str(key))), value)]
        kept["extra_args"] = {key: value for key, value in extra.items() if key not in same}
        bare_names = {str(key).lstrip("-") for key in same}
        notes[:] = [one for one in notes if not (one.action == "changed" and one.field.lstrip("-") in bare_names)]
        notes += [FieldNote(str(key), "taken", "a launch says so by itself") for key in same]
    if whole.gpus:
        kept["gpus"] = list(whole.gpus)
    if isinstance(env, Mapping):
        kept["env_vars"] = {key: value for key, value in env.items() if own.env.get(key) != value}
    return {key: value for key, value in kept.items() if value != {} or key not in ("extra_args", "env_vars")}


def _says(words: list[str] | None, value: Any) -> bool:
    """Return whether the words after a flag are its value: none for a switch that is on."""
    if words is None:
        return False
    return words in ([], ["true"]) and _switch(value) is True if value is True or words == [] else words == [str(value)]


def named(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the fields under a name, with an id made of it."""
    return {"id": slug(name), "name": name, **data}


def file_stem(name: str) -> str:
    """Return the name of a file without its folders and its ending."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
