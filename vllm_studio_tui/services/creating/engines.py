"""Which of the engines here could run a model, and what speaks against the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.backends.common.versions import environments_of
from vllm_studio_tui.domain.creation import EngineChoice, ModelCard
from vllm_studio_tui.services.recipes.starting import EngineHere

NOT_INSTALLED = "not installed"
#: Files of an engine that are looked through for a model's class, and bytes of each.
MOST_FILES, MOST_BYTES = 600, 1 << 20


def engine_choices(model: ModelCard, engines: Sequence[EngineHere], gpus: int) -> list[EngineChoice]:
    """Return the kinds of engine that are launched, the ones that would run the model first. Blocking.

    Args:
        gpus: How many the machine has: without any, an engine that needs one comes last.
    """
    found = [_choice(model, one, backend) for one in engines if (backend := _launchable(one)) is not None]
    last = {one.name: _no_gpu(one.name) and not gpus for one in found}
    return sorted(found, key=lambda one: (not one.ready, last[one.name]))


def _launchable(one: EngineHere) -> Backend | None:
    backend = registry.find(one.name)
    return backend if backend is not None and backend.needs_launch and backend.weights is not None else None


def _no_gpu(name: str) -> bool:
    backend = registry.find(name)
    return backend is not None and backend.takes_first_gpus


def _choice(model: ModelCard, one: EngineHere, backend: Backend) -> EngineChoice:
    def says(why: str, *, ready: bool = False) -> EngineChoice:
        return EngineChoice(one.name, one.title, ready, _version(one), why)

    wrong = _format_against(model, backend)
    if one.usable is not True:
        lacks = one.found.partition(";")[0] if one.usable is False or one.found else ""
        lacks = NOT_INSTALLED if not lacks or lacks.startswith("not found") else lacks
        return says(f"{lacks}; {wrong}" if wrong else lacks)
    if wrong:
        return says(wrong)
    if one.embedded and not model.here:
        return says(f"runs files that are here: this one is fetched first; {backend.suits}", ready=True)
    if not model.here and not backend.fetches_models and backend.weights != "gguf":
        return says("does not fetch models by their names")
    knows = knows_class(backend, one, model.architecture)
    if knows is False:
        return says(f"does not know {model.architecture}")
    known = f"knows {model.architecture}" if knows else "installed"
    return says(f"{known}; {backend.suits}" if backend.suits else known, ready=True)


def _version(one: EngineHere) -> str:
    return "embedded" if one.embedded else one.version


def _format_against(model: ModelCard, backend: Backend) -> str:
    """Return why an engine cannot read the model's format, in words; empty where it can, or where that is unknown."""
    if not model.format or model.format in (backend.formats or (backend.weights,)):
        return ""
    if backend.formats:
        return f"needs {' or '.join(one.upper() for one in backend.formats)} weights"
    if model.format in ("safetensors", "gguf"):
        return "needs a GGUF file" if backend.weights == "gguf" else "does not read GGUF files"
    return f"does not read {model.format.upper()}"


def knows_class(backend: Backend, one: EngineHere, architecture: str) -> bool | None:
    """Return whether the installed engine has a class for a model; None where its files do not say. Blocking."""
    where = one.found.partition(" at ")[2]
    if not where or not backend.class_files or not re.fullmatch(r"[A-Za-z_]\w{2,80}", architecture):
        return None
    return _in_files(where, backend.class_files, architecture)


@lru_cache(maxsize=256)
def _in_files(program: str, patterns: tuple[str, ...], word: str) -> bool | None:
    looked = 0
    try:
        for site in environments_of(Path(program)):
            for pattern in patterns:
                for file in sorted(site.glob(pattern))[:MOST_FILES]:
                    with file.open("rb") as stream:
                        text = stream.read(MOST_BYTES)
                    looked += 1
                    if re.search(rb"\b%s\b" % word.encode(), text):
                        return True
    except OSError:
        return None
    return False if looked else None
