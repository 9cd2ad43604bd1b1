"""What the files of a model tell before a launch. Only this machine is looked at, and never more than is needed."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, Problem, expanded, is_local
from vllm_studio_tui.kit.access import Trouble, is_folder, read_trouble, status

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

NO_GGUF = frozenset({"vllm", "tabbyapi"})
WEIGHTS = (".safetensors", ".gguf", ".bin")
#: Entries of one folder that are looked at.
MOST = 5000
#: Bytes of an index of shards that are read.
MAX_INDEX = 32 << 20
AGAIN = "Download it again: vllm-studio does not repair models."


def model_problems(backend: Backend, recipe: Recipe) -> Iterator[Problem]:
    """What stands against the recipe's model."""
    model = recipe.model_path
    if backend.name == "custom" and "{model}" not in (recipe.command or ""):
        return
    if not is_local(model):
        if backend.name in NO_GGUF and model.lower().endswith(".gguf"):
            yield Problem("model_path", "error", f"{backend.title} cannot read GGUF files", "Use backend llamacpp.")
        return
    path = Path(expanded(model))
    found = status(path)
    if isinstance(found, Trouble):
        advice = "Correct it; a name on a hub is written without a slash before it."
        yield Problem("model_path", "error", found.words, found.advice or advice)
        return
    wrong = read_trouble(path, folder=stat.S_ISDIR(found.st_mode))
    if wrong is not None:
        yield Problem("model_path", "error", wrong.words, wrong.advice)
    elif missing := incomplete(path):
        yield Problem("model_path", "error", missing, AGAIN)
    elif backend.name in NO_GGUF and _is_gguf(path):
        yield Problem(
            "model_path",
            "error",
            f"{backend.title} cannot read GGUF files",
            "Use backend llamacpp, or install vllm-gguf-plugin in the engine's environment.",
        )


def listing(folder: Path) -> dict[str, int]:
    """The files of a folder and their sizes, not more than `MOST`; none where it cannot be read."""
    sizes: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            for one in itertools.islice(entries, MOST):
                found = status(one.path)
                if not isinstance(found, Trouble) and stat.S_ISREG(found.st_mode):
                    sizes[one.name] = found.st_size
    except (OSError, ValueError):
        return sizes
    return sizes


def incomplete(path: Path) -> str:
    """What a model folder or file lacks, in words; empty where nothing can be seen to be missing.

    Read are the index of shards (`*.index.json` as transformers writes it), the names of GGUF shards, and pointers
    of Git LFS, which are small text files where weights should be.
    """
    whole = is_folder(path)
    folder = path if whole else path.parent
    names = listing(folder)
    for index in sorted(name for name in names if name.endswith(".index.json")) if whole else ():
        try:
            with (folder / index).open("rb") as stream:
                shards = {str(one) for one in json.loads(stream.read(MAX_INDEX))["weight_map"].values()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
            continue
        if lacking := sorted(one for one in shards if one not in names and _absent(folder / one)):
            return f"{len(lacking)} of {len(shards)} weight files are missing: {', '.join(lacking[:3])}"
    for name, size in names.items():
        if (whole or name == path.name) and name.endswith(WEIGHTS) and size < 1024 and _is_pointer(folder / name):
            return f"{name} is a pointer of Git LFS and holds no weights"
    shard = re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})\.gguf", path.name)
    if shard:
        count = int(shard[3])
        parts = (f"{shard[1]}-{at:05}-of-{shard[3]}.gguf" for at in range(1, min(count, MOST) + 1))
        lacking = [one for one in parts if one not in names and _absent(folder / one)]
        if lacking:
            return f"{len(lacking)} of {count} weight files are missing: {', '.join(lacking[:3])}"
    return ""


def _absent(path: Path) -> bool:
    found = status(path)
    return isinstance(found, Trouble) and found.reason in ("missing", "broken_link", "failed")


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(40).startswith(b"version https://git-lfs")
    except OSError:
        return False


def _is_gguf(path: Path) -> bool:
    if path.suffix.lower() == ".gguf":
        return True
    names = [name.lower() for name in listing(path)] if is_folder(path) else []
    return any(one.endswith(".gguf") for one in names) and not any(
        one.endswith((".safetensors", ".bin", ".pt")) for one in names
    )
