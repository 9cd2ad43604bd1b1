"""Models in a store of Ollama: manifests that name layers, and layers as blobs by their hash.

A manifest lies at `manifests/HOST/NAMESPACE/MODEL/TAG` and is JSON: `layers` with `mediaType`, `digest`, `size`.
The layer of the type `application/vnd.ollama.image.model` is a GGUF file, which llama.cpp loads as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from vllm_studio_tui.domain.model import Kind, Source
from vllm_studio_tui.models.inventory.folders import read_json
from vllm_studio_tui.models.inventory.found import Found, FoundFile, names_missing
from vllm_studio_tui.models.inventory.walking import Budget, Folder, read_folder

#: What a layer is for, by the last word of its type.
ROLES = {
    "model": "weights", "tensor": "weights", "projector": "projector", "adapter": "adapter", "template": "template",
    "system": "system", "params": "parameters", "license": "license", "messages": "messages",
}  # fmt: skip
MAX_MANIFEST, MAX_LAYERS = 4 << 20, 10_000
HOST, NAMESPACE = "registry.ollama.ai", "library"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a manifest: its role (empty: unknown), the name of its blob, and its bytes."""

    role: str
    blob: str
    bytes: int


def is_store(folder: Folder) -> bool:
    """Return whether a folder is a store of Ollama."""
    return {"manifests", "blobs"} <= set(folder.folders)


def of_store(root: str, budget: Budget) -> Iterator[Found]:
    """Yield the models of a store. Blocking."""
    blobs = read_folder(os.path.join(root, "blobs"), budget)  # noqa: PTH118, RUF100
    if blobs is None:
        return
    for name, path in manifests(root, budget):
        found = _model(root, name, path, blobs)
        if found is not None:
            yield found
        else:
            budget.trouble(f"{path} is no manifest of a model")


def manifests(root: str, budget: Budget) -> Iterator[tuple[str, str]]:
    """Yield the names of all models, as Ollama calls them, and the paths of their manifests. Blocking."""
    level = [((), os.path.join(root, "manifests"))]  # type: list[tuple[tuple[str, ...], str]]  # noqa: PTH118, RUF100
    for _ in range(6):
        below: list[tuple[tuple[str, ...], str]] = []
        for parts, path in level:
            folder = read_folder(path, budget) if not budget.spent else None
            if folder is None:
                continue
            for name in sorted(folder.files):
                if len(parts) >= 2 and not name.startswith("."):
                    yield _name((*parts, name)), folder.under(name)
            below += [((*parts, name), folder.under(name)) for name in folder.folders]
        level = below


def layers_of(path: str) -> list[Layer] | None:
    """Return the layers of a manifest, with that of its configuration; None where it is none. Blocking."""
    document = read_json(path, MAX_MANIFEST)
    listed = document.get("layers")
    if not isinstance(listed, list):
        return None
    found = []
    for one in [*listed[:MAX_LAYERS], document.get("config")]:
        if not isinstance(one, dict):
            continue
        digest, kind, size = one.get("digest"), one.get("mediaType"), one.get("size")
        match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if match is None:
            continue
        word = kind.partition(";")[0].strip().rpartition(".")[2] if isinstance(kind, str) else ""
        found.append(Layer(ROLES.get(word, ""), f"sha256-{match[1]}", size if type(size) is int and size >= 0 else 0))
    return found


def _model(root: str, name: str, path: str, blobs: Folder) -> Found | None:
    layers = layers_of(path)
    if layers is None:
        return None
    files, gone = [], []
    for layer in layers:
        if layer.blob in blobs.files:
            size, changed = blobs.status(layer.blob)
            files.append(FoundFile(blobs.under(layer.blob), size, changed, layer.role or "config"))
            if size != layer.bytes and layer.bytes:
                gone.append(f"{layer.blob[:19]} has {size} of {layer.bytes} bytes")
        else:
            gone.append(f"{layer.blob[:19]} ({layer.role or 'config'})")
    weights = [one for one in files if one.role == "weights"]
    tensors = sum(layer.role == "weights" for layer in layers) > 3
    missing = names_missing(gone)
    kind: str = Kind.GGUF if weights and not tensors else Kind.NOTHING
    if tensors:
        missing = missing or "one file of weights: its tensors lie apart, as Ollama alone reads them"
    return Found(
        path=weights[0].path if weights and not tensors else path,
        name=name,
        source=Source.OLLAMA,
        origin=root,
        kind=kind,
        read=weights[0].path if weights and not tensors else "",
        files=tuple(files),
        missing=missing or ("" if weights else "its weights"),
        complete=not missing and bool(weights),
        projector=next((one.path for one in files if one.role == "projector"), ""),
        repo=path,
    )


def _name(parts: tuple[str, ...]) -> str:
    """Return what Ollama calls a model: `llama3.2:1b`, `someone/model:tag`, `hf.co/owner/name:Q4_K_M`."""
    *place, tag = parts
    if place[0] == HOST:
        place = place[1:]
        if len(place) > 1 and place[0] == NAMESPACE:
            place = place[1:]
    return f"{'/'.join(place)}:{tag}"
