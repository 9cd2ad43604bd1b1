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
    return _cache(environ) / "huggingface" / "hub"


def hub_token(environ: Mapping[str, str]) -> bool:
    """Return whether a token of the hub is set, by a variable or in the file that its login writes."""
    return find_token(environ)[0] is not None


def find_token(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the token for the hub, and where it came from, as huggingface_hub looks for it; a text that no header can
    carry is none."""
    if is_true(environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")):
        return None, ""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        text = environ.get(name, "").strip()
        if text:
            return (text, name) if _sendable(text) else (None, "")
    home = _path(environ["HF_HOME"]) if environ.get("HF_HOME") else _cache(environ) / "huggingface"
    path = _path(environ["HF_TOKEN_PATH"]) if environ.get("HF_TOKEN_PATH") else home / "token"
    try:
        with path.open("rb") as stream:
            text = stream.read(4096).decode("ascii").strip()
    except (OSError, ValueError):
        return None, ""
    return (text, str(path)) if text and _sendable(text) else (None, "")


def is_true(value: str | None) -> bool:
    """Return whether a variable is set to what huggingface_hub takes for true."""
    return (value or "").upper() in ("1", "ON", "YES", "TRUE")


def _sendable(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token and len(token) < 4096


def _cache(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CACHE_HOME") or _path(environ.get("HOME", "~")) / ".cache")


def _path(text: str | Path) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111, RUF100
