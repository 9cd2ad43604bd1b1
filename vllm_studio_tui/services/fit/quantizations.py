"""Other quantizations of a GGUF model that lie beside it: the next smaller one may fit where it does not."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.architecture import ModelFacts
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.fit import FitChange, FitQuestion
from vllm_studio_tui.kit.file_access import is_folder
from vllm_studio_tui.models.facts import read_facts
from vllm_studio_tui.services.fit.estimate import estimate

#: Files of one folder that are looked at.
MOST = 40
#: A part of a model other than its first.
_LATER = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


def next_smaller(path: Path, facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> FitChange | None:
    """Return the largest smaller quantization beside a GGUF file that would fit; None: none lies there. Blocking."""
    if facts.source != "gguf" or is_folder(path):
        return None
    try:
        names = [one.name for one in os.scandir(path.parent) if one.name.lower().endswith(".gguf")]
    except OSError:
        return None
    best: FitChange | None = None
    for name in sorted(names)[:MOST]:
        if name == path.name or "mmproj" in name.lower() or _LATER.search(name):
            continue
        try:
            other = read_facts(path.parent / name)
        except StudioError:
            continue
        # The same model, in another form: its shape says so, names are anything.
        if other.bytes >= facts.bytes or other.architecture != facts.architecture:
            continue
        fit = estimate(other, question, rules)
        if fit.fits and (best is None or best.fit is None or fit.weights_bytes > best.fit.weights_bytes):
            title = f"{other.quantization or name}, which is here"
            best = FitChange(title, {"model_path": str(path.parent / name)}, fit, note="smaller weights, less exact")
    return best
