"""Models in folders that people made: safetensors, EXL2, EXL3, MLX, adapters, and GGUF files, several in one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from vllm_studio_tui.domain.model import Kind
from vllm_studio_tui.kit.json_body import read_object
from vllm_studio_tui.models.inventory.found import (
    GGUF,
    SAFETENSORS,
    SHARD,
    Found,
    FoundFile,
    is_projector,
    names_missing,
    parts_missing,
    role_of,
)
from vllm_studio_tui.models.inventory.walking import Folder, read_small

#: Bytes of a config.json, and of the index of a model in many parts: the largest have nine million.
MAX_CONFIG, MAX_INDEX = 4 << 20, 32 << 20
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
#: Files of a folder that make it one of a model, even without weights.
CONFIGS = ("config.json", "params.json", "adapter_config.json")


def in_folder(folder: Folder, *, source: str, origin: str) -> Iterator[Found]:
    """Yield the models that lie in one folder: one of the folder, and one for each GGUF file."""
    yield from gguf_models(folder, source=source, origin=origin)
    model = folder_model(folder, source=source, origin=origin)
    if model is not None:
        yield model


# --- GGUF -----------------------------------------------------------------------------------------------


def gguf_models(folder: Folder, *, source: str, origin: str) -> Iterator[Found]:
    """Yield a model for each GGUF file, those in several parts as one; projectors are none."""
    parts: dict[tuple[str, int], dict[int, str]] = {}
    projectors = sorted(name for name in folder.files if is_projector(name))
    for name in sorted(folder.files):
        if not name.lower().endswith(GGUF) or is_projector(name) or "imatrix" in name.lower():
            continue
        match = SHARD.fullmatch(name[: -len(GGUF)])
        if match is None:
            parts[name[: -len(GGUF)], 0] = {1: name}
        else:
            parts.setdefault((match["stem"], int(match["count"])), {})[int(match["number"])] = name
    for (stem, count), names in sorted(parts.items()):
        missing = parts_missing(set(names), count) if count else ""
        projector = _projector_of(stem, projectors)
        files = [_file(folder, names[number], "weights") for number in sorted(names)]
        yield Found(
            path=folder.under(names[min(names)]),
            name=stem,
            source=source,
            origin=origin,
            kind=Kind.GGUF,
            read=folder.under(names[min(names)]),
            files=(*files, *([_file(folder, projector, "projector")] if projector else [])),
            missing=missing,
            complete=not missing,
            projector=folder.under(projector) if projector else "",
        )


def _projector_of(stem: str, projectors: list[str]) -> str:
    """Return the projector that goes with a model: the only one, else the one whose name shares most with its own."""
    if len(projectors) <= 1:
        return projectors[0] if projectors else ""
    words = set(re.split(r"[^a-z0-9]+", stem.lower()))
    return max(projectors, key=lambda one: len(words & set(re.split(r"[^a-z0-9]+", one.lower()))))


# --- folders of one model -------------------------------------------------------------------------------


def folder_model(folder: Folder, *, source: str, origin: str, name: str = "", path: str = "") -> Found | None:
    """Return the model that a folder is; None where it is none.

    Args:
        name, path: What it is called and what a recipe takes, where that is not the folder itself.
    """
    if not any(one in folder.files for one in CONFIGS):
        return None
    config = config_of(folder)
    loaded, missing = _loaded(folder)
    if not loaded and (not _is_model(config, folder) or any(one.lower().endswith(GGUF) for one in folder.files)):
        return None
    kind = _kind(folder, config, loaded)
    roles = {one: role_of(one) for one in folder.files if not one.lower().endswith(GGUF)}
    files = [
        _file(folder, one, "weights" if one in loaded else "other" if roles[one] == "weights" else roles[one])
        for one in sorted(roles)
    ]
    return Found(
        path=path or folder.path,
        name=name or folder.path.rstrip("/").rpartition("/")[2],
        source=source,
        origin=origin,
        kind=kind,
        read=folder.path,
        files=tuple(files),
        missing=missing,
        complete=not missing,
        about=_about(folder),
    )


def config_of(folder: Folder) -> dict[str, Any]:
    """Return the config.json of a folder, or what it has in its place; empty where it cannot be read."""
    for name in ("config.json", "params.json"):
        if name in folder.files:
            return read_json(folder.under(name), MAX_CONFIG)
    return {}


def read_json(path: str, most: int) -> dict[str, Any]:
    """Return the JSON object in a file; empty where there is none. Blocking; it never raises."""
    data = read_small(path, most)
    try:
        return read_object(data) if data is not None else {}
    except ValueError:
        return {}


def _is_model(config: dict[str, Any], folder: Folder) -> bool:
    """Return whether a configuration is one of a model, whose weights may be missing."""
    return "adapter_config.json" in folder.files or any(
        isinstance(config.get(name), kind) for name, kind in (("architectures", list), ("model_type", str))
    )


def _kind(folder: Folder, config: dict[str, Any], loaded: set[str]) -> str:
    if "adapter_config.json" in folder.files and all(one.startswith("adapter_") for one in loaded):
        return Kind.ADAPTER
    if not loaded:
        return Kind.NOTHING
    given = config.get("quantization_config")
    method = given.get("quant_method") if isinstance(given, dict) else None
    if method in ("exl2", "exl3"):
        return Kind(method)
    own = config.get("quantization")
    if isinstance(own, dict) and "group_size" in own and "bits" in own:
        return Kind.MLX
    return Kind.SAFETENSORS if any(one.lower().endswith(SAFETENSORS) for one in loaded) else Kind.PYTORCH


def _loaded(folder: Folder) -> tuple[set[str], str]:
    """Return which files of weights an engine loads, and what is not there of them, in words.

    Those of the index, else `model.safetensors`, else all of one format: what lies beside them, as an adapter or the
    same model in another format, is not loaded.
    """
    names = [one for one in folder.files if role_of(one) == "weights" and not one.lower().endswith(GGUF)]
    for index in INDEXES:
        named = read_json(folder.under(index), MAX_INDEX).get("weight_map") if index in folder.files else None
        wanted = {one for one in named.values() if isinstance(one, str)} if isinstance(named, dict) else set()
        there = wanted & folder.files
        if there or (wanted and not names):
            return there, names_missing(sorted(wanted - there))
    for group in (
        [one for one in names if one == "model.safetensors"],
        [one for one in names if one.endswith(SAFETENSORS) and not one.startswith(("adapter_", "consolidated"))],
        [one for one in names if one.endswith(SAFETENSORS) and one.startswith("consolidated")],
        [one for one in names if not one.startswith("adapter_")],
        names,
    ):
        if group:
            return set(group), _parts_missing(group)
    return set(), "its weights"


def _parts_missing(names: Iterable[str]) -> str:
    """Return which parts are not there, where the names of files say how many there are."""
    counts: dict[tuple[str, int], set[int]] = {}
    for name in names:
        match = SHARD.fullmatch(name.rpartition(".")[0])
        if match is not None:
            counts.setdefault((match["stem"], int(match["count"])), set()).add(int(match["number"]))
    return ", ".join(filter(None, (parts_missing(numbers, count) for (_, count), numbers in sorted(counts.items()))))


def _about(folder: Folder) -> dict[str, str]:
    """Return what an adapter says for people."""
    if "adapter_config.json" not in folder.files:
        return {}
    base = read_json(folder.under("adapter_config.json"), MAX_CONFIG).get("base_model_name_or_path")
    return {"base_model": base[:300]} if isinstance(base, str) and base else {}


def _file(folder: Folder, name: str, role: str) -> FoundFile:
    size, changed = folder.status(name)
    return FoundFile(folder.under(name), size, changed, role)
