"""Models in folders that people made: safetensors, EXL2, EXL3, MLX, adapters, and GGUF files, several in one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vllm_studio_tui.domain.model import Kind
from vllm_studio_tui.kit.json_body import read_object
from vllm_studio_tui.models.inventory.found import (
    GGUF,
    PYTORCH,
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
    config = config_of(folder)
    files = [_file(folder, one, role_of(one)) for one in sorted(folder.files)]
    weights = [one for one in files if one.role == "weights" and not one.path.lower().endswith(GGUF)]
    if not any(one in folder.files for one in CONFIGS) or not (weights or _is_model(config, folder)):
        return None
    if not weights and any(one.path.lower().endswith(GGUF) for one in files):
        return None  # a config.json beside GGUF files
    kind = _kind(folder, config, [one.path for one in weights])
    tensors = [one for one in weights if one.path.lower().endswith(SAFETENSORS)]
    if tensors and kind != Kind.PYTORCH:
        # The same model in two formats: engines read the first.
        files = [one for one in files if one.role != "weights" or one in tensors]
    missing = _missing(folder, kind)
    return Found(
        path=path or folder.path,
        name=name or folder.path.rstrip("/").rpartition("/")[2],
        source=source,
        origin=origin,
        kind=kind,
        read=folder.path,
        files=tuple(one for one in files if not one.path.lower().endswith(GGUF)),
        missing=missing,
        complete=not missing,
        about=_about(config),
    )


def config_of(folder: Folder) -> dict[str, Any]:
    """Return the config.json of a folder, or what it has in its place; empty where it cannot be read."""
    for name in ("adapter_config.json", "config.json", "params.json"):
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


def _kind(folder: Folder, config: dict[str, Any], weights: list[str]) -> str:
    if "adapter_config.json" in folder.files:
        return Kind.ADAPTER
    if not weights:
        return Kind.NOTHING
    given = config.get("quantization_config")
    method = given.get("quant_method") if isinstance(given, dict) else None
    if method in ("exl2", "exl3"):
        return Kind(method)
    own = config.get("quantization")
    if isinstance(own, dict) and "group_size" in own and "bits" in own:
        return Kind.MLX
    return Kind.SAFETENSORS if any(one.lower().endswith(SAFETENSORS) for one in weights) else Kind.PYTORCH


def _missing(folder: Folder, kind: str) -> str:
    """Return what is not there of what the index, or the numbers of the parts, name."""
    if kind == Kind.NOTHING:
        return "its weights"
    if kind == Kind.ADAPTER:
        there = any(one.startswith("adapter_model.") for one in folder.files)
        return "" if there else "its weights"
    for index in INDEXES:
        if index in folder.files and (kind == Kind.PYTORCH) == index.startswith("pytorch"):
            named = read_json(folder.under(index), MAX_INDEX).get("weight_map")
            if isinstance(named, dict):
                wanted = sorted({one for one in named.values() if isinstance(one, str)})
                return names_missing([one for one in wanted if one not in folder.files])
    counts: dict[tuple[str, int], set[int]] = {}
    for name in folder.files:
        stem, dot, ending = name.rpartition(".")
        match = SHARD.fullmatch(stem) if dot and f".{ending.lower()}" in (SAFETENSORS, *PYTORCH) else None
        if match is not None:
            counts.setdefault((match["stem"], int(match["count"])), set()).add(int(match["number"]))
    return ", ".join(filter(None, (parts_missing(numbers, count) for (_, count), numbers in sorted(counts.items()))))


def _about(config: dict[str, Any]) -> dict[str, str]:
    """Return what a configuration says for people."""
    base = config.get("base_model_name_or_path")
    return {"base_model": base[:300]} if isinstance(base, str) and base else {}


def _file(folder: Folder, name: str, role: str) -> FoundFile:
    size, changed = folder.files[name]
    return FoundFile(folder.under(name), size, changed, role)
