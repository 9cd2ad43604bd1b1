"""Read presets: an INI file with a section for each model, and flags of an engine under their long or short names."""

from __future__ import annotations

import re
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.services.recipes.formats.engine_flags import named, take_flags
from vllm_studio_tui.services.recipes.formats.format import Found, Source

_SECTION = re.compile(r"\[\s*([^\]\r\n]{1,200}?)\s*\]\s*(?:[;#].*)?\Z")
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]{0,127})[ \t]*=[ \t]*(.*)\Z")
_COMMENT = re.compile(r"[ \t]+[;#].*\Z")
#: The section whose flags are those of all.
EVERY = "*"
MAX_SECTIONS = 10_000
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*_ARG_([A-Z0-9_]+)\Z")


class Presets:
    """`models.ini`."""

    name = "presets"
    title = "presets of models (INI)"

    def read(self, source: Source) -> list[Found] | None:
        sections = _sections(source.text) if source.text is not None else None
        if not sections:
            return None
        backend = next(
            (one for one in registry.backends().values() if one.config_file and one.config_file.shape == "presets"),
            None,
        )
        if backend is None:
            return None
        common = sections.pop(EVERY, {})
        top = sections.pop("", {})
        if not sections or not _is_of(backend, [common, *sections.values()]):
            return None
        found = [_preset(backend, name, common, own) for name, own in sections.items()]
        notes = [FieldNote(key, "dropped", _of_top(key)) for key in top]
        return [Found(found[0].data, (*notes, *found[0].notes)), *found[1:]]


def _of_top(key: str) -> str:
    return "the version of the format" if key == "version" else "it stands before any section, where nothing is read"


def _sections(text: str) -> dict[str, dict[str, str]] | None:
    """Return the sections of a text; None where a line is none of such a file."""
    sections: dict[str, dict[str, str]] = {"": {}}
    current = sections[""]
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in ";#":
            continue
        if header := _SECTION.fullmatch(line):
            if len(sections) > MAX_SECTIONS:
                return None
            current = sections.setdefault(header[1], {})
        elif pair := _PAIR.fullmatch(line):
            current[pair[1]] = _COMMENT.sub("", pair[2]).strip()
        else:
            return None
    return sections if len(sections) > 1 else None


def _is_of(backend: Backend, sections: list[dict[str, str]]) -> bool:
    """Return whether the flags are of an engine: it must know the model, or most flags."""
    from vllm_studio_tui.services.recipes.formats.engine_flags import field_of

    assert backend.config_file is not None
    keys = [_flag(key) for one in sections for key in one]
    style, spec = backend.flag_style, backend.config_file
    known = [
        key for key in keys if field_of(backend, key) or key in spec.notes or style.canonical(key) in _names(backend)
    ]
    return bool(known) and (len(known) * 3 >= len(keys) or any(field_of(backend, key) == "model_path" for key in keys))


def _names(backend: Backend) -> set[str]:
    return {*backend.flag_style.aliases.values(), *backend.file_flags}


def _flag(key: str) -> str:
    """Return the flag of a key, which may be the variable that stands for it."""
    found = _VARIABLE.fullmatch(key)
    return found[1].lower().replace("_", "-") if found else key


def _preset(backend: Backend, name: str, common: dict[str, str], own: dict[str, str]) -> Found:
    assert backend.config_file is not None
    notes = [
        FieldNote(f"[*].{key}", "changed", "taken over from the section for all") for key in common if key not in own
    ]
    flags: dict[str, Any] = {}
    preload = False
    for key, value in {**common, **own}.items():
        flag = _flag(key)
        why = backend.config_file.notes.get(flag)
        if why == "preload":
            preload = value.lower() in ("1", "true", "on", "yes", "enabled")
            notes.append(FieldNote(key, "changed", "now preload"))
        elif why:
            notes.append(FieldNote(key, "dropped", why))
        else:
            canonical = backend.flag_style.canonical(flag)
            flags.pop(canonical, None)
            flags[canonical] = _typed(canonical, value, backend.config_file.switches)
    data: dict[str, Any] = {"backend": backend.name, **take_flags(backend, flags.items(), notes)}
    if "model_path" not in data:
        data["model_path"] = name
        notes.append(FieldNote("model_path", "changed", "the section is the model's name on the hub"))
    data |= {"preload": True} if preload else {}
    title = name.rstrip("/").rsplit("/", 1)[-1]
    if "served_model_name" not in data:
        data["served_model_name"] = name
    return Found(named(data, title), tuple(notes))


def _typed(flag: str, value: str, switches: frozenset[str]) -> Any:
    """Return a switch for a word of a flag that is one; all else stays text, as the engine gets it."""
    if flag.removeprefix("no-") not in switches:
        return value
    return {"false": False, "0": False, "off": False, "disabled": False, "no": False}.get(value.lower(), True)
