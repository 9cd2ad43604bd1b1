"""Read what vllm-cli keeps: shortcuts (a model with a profile), joined with the profiles of the file beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.services.recipes.formats.engine_flags import backend_of, named, take_flags
from vllm_studio_tui.services.recipes.formats.format import MAX_BYTES, Found, Source, Unreadable
from vllm_studio_tui.store.original import BrokenRow

PROFILES, SHORTCUTS = "user_profiles.json", "shortcuts.json"
_OURS = "a name or a picture of vllm-cli's own menus"
_BESIDE = {"icon": _OURS, "created_at": _OURS, "last_used": _OURS, "name": _OURS}


class VllmCli:
    """`shortcuts.json` and `user_profiles.json` of vllm-cli."""

    name = "vllm-cli"
    title = "shortcuts and profiles of vllm-cli"

    def read(self, source: Source) -> list[Found] | None:
        document = source.mapping
        if document is None:
            return None
        _refuse_manifest(document, source)
        shortcuts, profiles = _shortcuts(document), _profiles(document)
        if shortcuts is None and profiles is None:
            return None
        shortcuts = shortcuts or (_shortcuts(_beside(source, SHORTCUTS)) or {})
        profiles = profiles or (_profiles(_beside(source, PROFILES)) or {})
        used = {str(one.get("profile")) for one in shortcuts.values()}
        found = [_shortcut(name, one, profiles) for name, one in shortcuts.items()]
        found += [Found(BrokenRow(name, _alone(one))) for name, one in profiles.items() if name not in used]
        return found or None


def _alone(profile: Mapping[str, Any]) -> str:
    flags = ", ".join(str(one) for one in _mapping(profile.get("config")))[:200]
    return f"a profile names no model, and no shortcut uses it ({flags or 'no flags'}): make a shortcut, or a recipe"


def _refuse_manifest(document: Mapping[str, Any], source: Source) -> None:
    models = document.get("models")
    if not isinstance(models, list) or not models or not all(isinstance(one, Mapping) for one in models):
        return
    keys = {str(key) for one in models for key in one}
    if "path" in keys and keys <= {"path", "name", "publisher", "notes", "enabled", "model_type", "type"}:
        raise Unreadable(
            f"{source.name} is a list of folders with models",
            cause="It says where models lie, not how they are launched.",
            advice="Name its folder in models_dirs: `models list` finds what lies there.",
        )


def _shortcuts(document: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]] | None:
    given = _mapping(document).get("shortcuts", document)
    if not isinstance(given, Mapping) or not given:
        return None
    if not all(isinstance(one, Mapping) and {"model", "profile"} <= set(one) for one in given.values()):
        return None
    return {str(name): one for name, one in given.items()}


def _profiles(document: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]] | None:
    given = _mapping(document).get("profiles", document)
    if not isinstance(given, Mapping) or not given:
        return None
    if not all(isinstance(one, Mapping) and isinstance(one.get("config"), Mapping) for one in given.values()):
        return None
    return {str(name): one for name, one in given.items()}


def _beside(source: Source, name: str) -> Mapping[str, Any] | None:
    """Return the file that lies beside the one that was given, where that one is surely a file of this machine."""
    path = Path(source.name)
    try:
        if not path.is_file() or path.stat().st_size != len(source.raw) or path.read_bytes() != source.raw:
            return None
        other = path.with_name(name)
        if not other.is_file() or other.stat().st_size > MAX_BYTES:
            return None
        return Source(other.read_bytes(), name).mapping
    except (OSError, ValueError):
        return None


def _shortcut(name: str, shortcut: Mapping[str, Any], profiles: Mapping[str, Mapping[str, Any]]) -> Found:
    backend = backend_of("vllm-cli")
    notes: list[FieldNote] = []
    given = shortcut.get("model")
    model = given if isinstance(given, str) else _mapping(given).get("path") or _mapping(given).get("model")
    chosen = str(shortcut.get("profile"))
    profile = profiles.get(chosen)
    if profile is None:
        why = (
            f"{chosen} is one of vllm-cli's own, or lies in {PROFILES} beside {SHORTCUTS}: its flags are not known here"
        )
        notes.append(FieldNote("profile", "dropped", why))
    flags = {**_mapping(_mapping(profile).get("config")), **_mapping(shortcut.get("config_overrides"))}
    notes += [
        FieldNote(f"profile.{key}", "changed", f"of the profile {chosen}")
        for key in ("config", "environment")
        if _mapping(_mapping(profile).get(key))
    ]
    adapters = _adapters(flags.pop("lora_modules", None), notes)
    gpus, extra = flags.pop("gpu_ids", flags.pop("device_ids", None)), flags.pop("extra_args", None)
    data = {"backend": backend.name, **take_flags(backend, [(str(key), one) for key, one in flags.items()], notes)}
    data["model_path"] = str(model or "")
    if adapters:
        data["lora_modules"] = adapters
    if gpus is not None:
        data["gpus"] = gpus
    if extra:
        data.setdefault("extra_args", {})["raw"] = extra
        notes.append(FieldNote("extra_args", "changed", "now extra_args.raw: words as they stand"))
    env = {str(key): str(one) for key, one in _mapping(_mapping(profile).get("environment")).items() if one is not None}
    if env:
        data["env_vars"] = env
    text = shortcut.get("description") or _mapping(profile).get("description")
    if text:
        data["description"] = str(text)
    for place, one in (("", shortcut), ("profile.", _mapping(profile))):
        known = {"model", "profile", "description", "config", "environment", "config_overrides"}
        for key, value in one.items():
            if str(key) not in known and value not in (None, ""):
                why = _BESIDE.get(str(key), "not known of vllm-cli")
                notes.append(FieldNote(f"{place}{key}", "dropped", why))
    return Found(named(data, name), tuple(notes))


def _adapters(given: Any, notes: list[FieldNote]) -> dict[str, str]:
    """Return adapters as vllm-cli keeps them: a list of objects, or words `name=path`."""
    found: dict[str, str] = {}
    for one in given if isinstance(given, list) else [given] if isinstance(given, str) else []:
        if isinstance(one, Mapping) and one.get("name") and one.get("path"):
            found[str(one["name"])] = str(one["path"])
        elif isinstance(one, str) and "=" in one:
            name, _, path = one.partition("=")
            found[name] = path
        else:
            notes.append(FieldNote("lora_modules", "dropped", "an adapter without a name or a path"))
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
