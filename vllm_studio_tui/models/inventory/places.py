"""Where models may lie on this machine: folders of the settings, and the stores of other programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_studio_tui.domain.model import Source
from vllm_studio_tui.models.inventory.folders import read_json
from vllm_studio_tui.models.inventory.walking import read_small
from vllm_studio_tui.models.local import hub_cache

#: Homes of Ollama's service, as its installer and distributions make them.
OLLAMA_HOMES = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models", "/var/lib/ollama/.ollama/models")
MAX_SETTINGS = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that is searched: whose it is, and why it is searched, in words."""

    path: str
    source: Source
    why: str


def places_of(
    environ: Mapping[str, str],
    *,
    folders: Iterable[str | Path] = (),
    ours: Iterable[Place] = (),
    beside: Iterable[str] = (),
) -> list[Place]:
    """Return every place, whether it is there or not; none twice. Blocking.

    Args:
        folders: Those of the settings.
        ours: Those of the studio itself.
        beside: Paths of models that recipes name: others may lie beside them.
    """
    home = _path(environ.get("HOME") or "~")
    found = [
        *(Place(_path(one), Source.FOLDER, "models_dirs of the settings") for one in folders),
        *ours,
        Place(str(hub_cache(environ)), Source.HUB, _why_hub(environ)),
        *_ollama(environ, home),
        *_lm_studio(home),
        *_llama_cpp(environ, home),
        Place(f"{home}/models", Source.FOLDER, "a usual place"),
    ]
    for path in beside:
        parent = os.path.dirname(_path(path).rstrip("/"))  # noqa: PTH120, RUF100
        if parent.startswith("/") and parent != "/":
            found.append(Place(parent, Source.FOLDER, "a recipe names a model there"))
    return list({_real(one.path): one for one in reversed(found)}.values())[::-1]


def _why_hub(environ: Mapping[str, str]) -> str:
    return next((name for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME") if environ.get(name)), "a usual place")


def _ollama(environ: Mapping[str, str], home: str) -> list[Place]:
    given = environ.get("OLLAMA_MODELS")
    return [
        *([Place(_path(given), Source.OLLAMA, "OLLAMA_MODELS")] if given else []),
        Place(f"{home}/.ollama/models", Source.OLLAMA, "a usual place"),
        *(Place(one, Source.OLLAMA, "the place of Ollama's service") for one in OLLAMA_HOMES),
    ]


def _lm_studio(home: str) -> list[Place]:
    pointer = read_small(f"{home}/.lmstudio-home-pointer", 4096)
    named = pointer.decode("utf-8", "replace").strip() if pointer else ""
    homes = [*([named] if named.startswith("/") else []), f"{home}/.lmstudio", f"{home}/.cache/lm-studio"]
    found = []
    for one in homes:
        folder = read_json(f"{one}/settings.json", MAX_SETTINGS).get("downloadsFolder")
        if isinstance(folder, str) and folder.startswith("/"):
            found.append(Place(folder, Source.LMSTUDIO, f"downloadsFolder in {one}/settings.json"))
        found.append(Place(f"{one}/models", Source.LMSTUDIO, "a usual place"))
    return found


def _llama_cpp(environ: Mapping[str, str], home: str) -> list[Place]:
    given = environ.get("LLAMA_CACHE")
    base = environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    return [
        *([Place(_path(given), Source.LLAMA_CPP, "LLAMA_CACHE")] if given else []),
        Place(f"{base}/llama.cpp", Source.LLAMA_CPP, "a usual place"),
    ]


def _path(text: str | Path) -> str:
    return os.path.expanduser(os.fspath(text))  # noqa: PTH111, RUF100


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path
