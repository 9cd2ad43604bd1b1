"""Find models on this machine: in the folders of the settings, in the Hugging Face cache, and beside recipes' paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.kit.file_access import is_folder

#: Folders deep and entries at most: a models folder may be the root of a large disk.
DEPTH = 4
MOST = 20_000
#: Folders of a home in which people, LM Studio and llama.cpp keep models.
USUAL = ("models", ".lmstudio/models", ".cache/lm-studio/models", ".cache/llama.cpp")
WEIGHTS = (".safetensors", ".bin", ".gguf")


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model on this machine.

    Attributes:
        path: What a recipe's `model_path` takes: a folder, a file, or a name on the hub that is in the cache.
        size: Bytes of its weights.
        origin: The folder it was found in, or `cache`.
    """

    path: str
    name: str
    size: int
    kind: str
    origin: str


def hub_cache(environ: Mapping[str, str]) -> Path:
    """Return the cache of huggingface_hub (its environment variables, in their order)."""
    if environ.get("HF_HUB_CACHE"):
        return _path(environ["HF_HUB_CACHE"])
    if environ.get("HF_HOME"):
        return _path(environ["HF_HOME"]) / "hub"
    base = environ.get("XDG_CACHE_HOME") or str(_path(environ.get("HOME", "~")) / ".cache")
    return Path(base) / "huggingface" / "hub"


def hub_token(environ: Mapping[str, str]) -> bool:
    """Return whether a token of the hub is set, by a variable or in the file that its login writes."""
    if environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    path = environ.get("HF_TOKEN_PATH")
    try:
        return (_path(path) if path else hub_cache(environ).parent / "token").stat().st_size > 0
    except OSError:
        return False


def usual_folders(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders in which people and other programs keep models, as far as they are there."""
    home = _path(environ.get("HOME", "~"))
    return [folder for name in USUAL if is_folder(folder := home / name)]


def find_models(
    folders: Iterable[Path], environ: Mapping[str, str], recipe_paths: Iterable[str] = ()
) -> list[FoundModel]:
    """Return every model that can be seen, by name; what cannot be read is skipped. Blocking."""
    places = [_path(folder) for folder in folders]
    for path in recipe_paths:
        parent = _path(path).parent
        if "/" in path and parent.is_absolute() and is_folder(parent) and parent != Path(parent.anchor):
            places.append(parent)
    found: dict[str, FoundModel] = {}
    for place in dict.fromkeys(places):
        for model in _in_folder(place):
            found.setdefault(model.path, model)
    for model in _in_cache(hub_cache(environ)):
        found.setdefault(model.path, model)
    return sorted(found.values(), key=lambda model: model.name.lower())


def _path(text: str | Path) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111, RUF100


def _in_folder(root: Path) -> Iterator[FoundModel]:
    seen = 0
    stack = [(root, 0)]
    while stack and seen < MOST:
        folder, depth = stack.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        seen += len(entries)
        names = {entry.name for entry in entries}
        size = 0
        for entry in entries:
            if entry.name.endswith(WEIGHTS):
                size += _size(entry)
            if entry.name.endswith(".gguf") and not _no_model(entry.name):
                yield FoundModel(entry.path, entry.name.removesuffix(".gguf"), _size(entry), "GGUF", str(root))
        if "config.json" in names and any(name.endswith(WEIGHTS[:2]) for name in names):
            yield FoundModel(str(folder), folder.name, size, "safetensors", str(root))
            continue
        if depth < DEPTH:
            stack += [
                (Path(entry.path), depth + 1)
                for entry in entries
                if entry.name[0] != "." and _is_dir(entry) and not entry.name.startswith("models--")
            ]


def _no_model(name: str) -> bool:
    """Return whether a GGUF file is a projector, or a part of a split file other than the first (`-00002-of-00005`)."""
    import re

    if "mmproj" in name.lower():
        return True
    match = re.search(r"-(\d{5})-of-\d{5}\.gguf$", name)
    return match is not None and match[1] != "00001"


def _in_cache(cache: Path) -> Iterator[FoundModel]:
    try:
        entries = [entry for entry in os.scandir(cache) if entry.name.startswith("models--")]
    except OSError:
        return
    for entry in entries:
        name = entry.name.removeprefix("models--").replace("--", "/")
        snapshots = Path(entry.path) / "snapshots"
        try:
            latest = max(os.scandir(snapshots), key=lambda one: one.stat().st_mtime, default=None)
            files = list(os.scandir(latest.path)) if latest is not None else []
        except OSError:
            continue
        size = sum(_size(one) for one in files if one.name.endswith(WEIGHTS))
        if size:
            kind = "GGUF" if any(one.name.endswith(".gguf") for one in files) else "safetensors"
            yield FoundModel(name, name, size, kind, "cache")


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=True)
    except OSError:
        return False
