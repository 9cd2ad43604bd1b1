"""Read a file of an engine's own flags: `--config` in YAML, flat or in sections, as the backend says.

Which engine it is for is told by the flags that it names.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.services.recipes.formats.engine_flags import field_of, file_stem, named, take_flags, without_own
from vllm_studio_tui.services.recipes.formats.format import Found, Source, Unreadable

#: Keys by which a file is one of recipes, ours or the original's.
_OURS = frozenset({"id", "name", "backend", "engine", "recipes", "model_path", "extra_args", "env_vars"})
#: Names of files in which an engine keeps the keys of its clients.
_KEYS = frozenset({"api_key", "admin_key"})


class EngineConfig:
    """A file that an engine reads by `--config`."""

    name = "engine-config"
    title = "a file of an engine's flags (--config)"

    def read(self, source: Source) -> list[Found] | None:
        config = source.mapping
        if not config:
            return None
        if set(config) <= _KEYS and config:
            raise Unreadable(
                f"{source.name} holds the keys of a server",
                cause="It describes no launch, and keys are not written into recipes.",
                advice="Keep the key in a file of its own that you alone can read, and write api_key: file:PATH.",
            )
        if not _OURS.isdisjoint(config):
            return None
        backends = [one for one in registry.backends().values() if one.config_file is not None]
        for one in backends:
            if one.config_file is not None and one.config_file.shape == "sections" and _has_sections(one, config):
                return [_of_sections(one, config, source)]
        scored = [
            (_known(one, config), one) for one in backends if one.config_file and one.config_file.shape == "flags"
        ]
        best = max((score for score, _ in scored), default=0)
        chosen = next((one for score, one in scored if score == best and best > 0), None)
        if chosen is None or best * 2 <= len(config):
            return None
        return [_of_flags(chosen, config, source)]


def _known(backend: Backend, config: Mapping[Any, Any]) -> int:
    """Return how many keys are flags of an engine; none where no more than one is, and that not its model."""
    table = backend.known()
    assert backend.config_file is not None
    names = [backend.flag_style.canonical(str(key)) for key in config if isinstance(key, str)]
    known = [
        name
        for name in names
        if name == backend.config_file.model
        or field_of(backend, name) is not None
        or (table is not None and name.split(".", 1)[0] in table.flags)
    ]
    return len(known) if len(known) > 1 or backend.config_file.model in known else 0


def _of_flags(backend: Backend, config: Mapping[Any, Any], source: Source) -> Found:
    notes: list[FieldNote] = []
    data: dict[str, Any] = {"backend": backend.name}
    data |= take_flags(backend, [(str(key), value) for key, value in config.items()], notes)
    name = str(data.get("served_model_name") or data.get("model_path") or file_stem(source.name))
    data = without_own(backend, data, notes)
    notes += _key_notes(data)
    if "model_path" not in data:
        notes.append(FieldNote("model", "dropped", "the file names no model: give it in the recipe, as model_path"))
    return Found(named(data, name.rstrip("/").rsplit("/", 1)[-1]), tuple(notes))


def _key_notes(data: Mapping[str, Any]) -> Iterator[FieldNote]:
    if isinstance(data.get("extra_args"), Mapping) and "config" in data["extra_args"]:
        yield FieldNote("config", "taken", "a further file of flags, which is not read here")


def _has_sections(backend: Backend, config: Mapping[Any, Any]) -> bool:
    """Return whether a file has the sections of an engine, at least one of them with flags that are known of it."""
    assert backend.config_file is not None
    sections = {str(key) for key, value in config.items() if isinstance(value, Mapping) or value is None}
    if not sections or not sections <= backend.config_file.sections or len(sections) != len(config):
        return False
    style, spec = backend.flag_style, backend.config_file
    marks = {spec.model, spec.folder, *spec.fields}
    flags = [style.canonical(str(key)) for one in config.values() if isinstance(one, Mapping) for key in one]
    return any(name in marks for name in flags)


def _of_sections(backend: Backend, config: Mapping[Any, Any], source: Source) -> Found:
    spec, style = backend.config_file, backend.flag_style
    assert spec is not None
    notes: list[FieldNote] = []
    options: list[tuple[str, Any]] = []
    folder, model = "", ""
    for section, values in config.items():
        for key, value in values.items() if isinstance(values, Mapping) else ():
            name = style.canonical(str(key))
            if name == spec.folder:
                folder = str(value or "")
            elif name == spec.model:
                model = str(value or "")
            elif name in spec.notes:
                notes.append(FieldNote(f"{section}.{key}", "dropped", spec.notes[name]))
            elif value is None or value == [] or value == {}:
                notes.append(FieldNote(f"{section}.{key}", "dropped", "it is empty: the engine's own default"))
            elif "key" in name.split("-") and "api" in name.split("-") and isinstance(value, str):
                notes.append(FieldNote(f"{section}.{key}", "dropped", "a secret: not written into a command line"))
            elif isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(v, Mapping) for v in value)):
                why = "it has no flag: it stays in the engine's own file, which it reads too"
                notes.append(FieldNote(f"{section}.{key}", "dropped", why))
            else:
                options.append((str(key), value))
    data: dict[str, Any] = {"backend": backend.name, **take_flags(backend, _explicit(options), notes)}
    own = posixpath.dirname(source.name.replace("\\", "/"))
    if model:
        data["model_path"] = _model(own, folder or "models", model)
        notes.append(FieldNote("model.model_name", "changed", f"now model_path: {data['model_path']}"))
    elif own and posixpath.basename(source.name) == spec.beside_model:
        data["model_path"] = own
        notes.append(FieldNote("model_path", "changed", "the folder that the file lies in"))
    else:
        notes.append(FieldNote("model.model_name", "dropped", "it is empty: give the model as model_path"))
    if folder:
        notes.append(FieldNote("model.model_dir", "changed", "part of model_path"))
    title = model or file_stem(str(data.get("model_path") or source.name))
    return Found(named(data, title), tuple(notes))


def _explicit(options: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return switches as words: such an engine is told `true` and `false`."""
    return [(key, str(value).lower() if isinstance(value, bool) else value) for key, value in options]


def _model(own: str, folder: str, model: str) -> str:
    """Return the path of a model: a folder that is not absolute lies beside the file."""
    path = posixpath.join(folder.replace("\\", "/"), model)
    if path.startswith(("/", "~")):
        return path
    return (
        posixpath.normpath(posixpath.join(own, path)) if own.startswith(("/", "~")) else f"./{posixpath.normpath(path)}"
    )
