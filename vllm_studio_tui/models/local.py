"""Where huggingface_hub keeps models and its token on this machine; see `models.inventory` for what lies there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: Endings of files of weights.
WEIGHTS = (".safetensors", ".bin", ".gguf")


def hub_cache(environ: Mapping[str, str]) -> Path:
    """Return the cache of huggingface_hub (its environment variables, in their order)."""
    if environ.get("HF_HUB_CACHE"):
        return _path(environ["HF_HUB_CACHE"])
    if environ.get("HUGGINGFACE_HUB_CACHE"):
        return _path(environ["HUGGINGFACE_HUB_CACHE"])
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


def _path(text: str | Path) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111, RUF100
