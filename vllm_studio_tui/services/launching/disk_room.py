"""Check whether the disk has room for a model that will be fetched at launch."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.backends.common.commands import is_local
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.models.local import hub_cache
from vllm_studio_tui.services.published import find_published

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

GIB = 1024**3
#: Less than this is too little for nearly every model, whatever its name says.
LEAST = 2 * GIB
#: Billions of parameters in a model's name, as in 70B and 8x7B; not the active ones of A3B.
_PARAMETERS = re.compile(r"(?<![\d.a-z])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)b(?![a-z\d])")
#: Bytes a parameter takes on the disk, with the parts that stay unquantised.
_BYTES = (
    (re.compile(r"awq|gptq|int4|fp4|4-?bit|w4a|q4"), 0.65),
    (re.compile(r"fp8|int8|8-?bit|w8a|q8"), 1.1),
)
_PLAIN_BYTES = 2.05


def expected_size(name: str) -> int | None:
    """Return the bytes of a model's weights as its name tells, None where it does not; right within a third."""
    text = name.rsplit("/", 1)[-1].lower()
    sizes = [int(one[1] or 1) * float(one[2]) for one in _PARAMETERS.finditer(text)]
    if not sizes:
        return None
    each = next((size for pattern, size in _BYTES if pattern.search(text)), _PLAIN_BYTES)
    return int(max(sizes) * 1e9 * each)


def disk_room(recipe: Recipe, environ: Mapping[str, str]) -> list[Problem]:
    """Return the problems of fetching the recipe's model. Blocking: reads the disk.

    Args:
        environ: As the engine will have it, without the recipe's own variables.
    """
    backend = registry.find(recipe.backend)
    if backend is None or not backend.fetches_models or recipe.runtime != "native" or is_local(recipe.model_path):
        return []
    environ = {**environ, **{key: value for key, value in recipe.env_vars.items() if isinstance(value, str)}}
    cache = _cache(recipe, environ)
    folder = cache / f"models--{recipe.model_path.replace('/', '--')}"
    there, whole = _present(folder)
    if whole:
        return []
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true"):
        message = f"{recipe.model_path} is not in {cache}, and HF_HUB_OFFLINE forbids to fetch it"
        return [Problem("model_path", "warning", message, "Fetch it first, or name its folder.")]
    free = _free(cache)
    if free is None:
        return []
    known = find_published(recipe.model_path)
    needed = known.bytes if known is not None else expected_size(recipe.model_path)
    if needed is not None and needed - there > free:
        about = f"about {(needed - there) / GIB:.0f} GiB{'' if known is not None else ', as its name tells'}"
        message = f"the model will be fetched to {cache}: {about}, and {free / GIB:.1f} GiB are free"
    elif free < LEAST:
        message = f"the model will be fetched to {cache}, where {free / GIB:.1f} GiB are free"
    else:
        return []
    return [Problem("model_path", "warning", message, "Make room, or set HF_HOME to another disk in env_vars.")]


def _cache(recipe: Recipe, environ: Mapping[str, str]) -> Path:
    named = recipe.extra_args.get("download_dir") or recipe.extra_args.get("download-dir")
    return Path(expanded(named)) if isinstance(named, str) and named else hub_cache(environ)


def _present(folder: Path) -> tuple[int, bool]:
    """Return the bytes of a model that are in the cache, and whether the download is complete."""
    try:
        blobs = [(one.name, one.stat().st_size) for one in os.scandir(folder / "blobs")]
    except OSError:
        return 0, False
    return sum(size for _, size in blobs), bool(blobs) and not any(name.endswith(".incomplete") for name, _ in blobs)


def _free(path: Path) -> int | None:
    for one in (path, *path.parents):
        try:
            return shutil.disk_usage(one).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
