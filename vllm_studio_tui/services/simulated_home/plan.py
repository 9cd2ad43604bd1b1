"""What happened in the simulated home before it is opened: forms of recipes and runs, in hours before now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.simulation.recipes import FAILED, LOADING, READY

DAY = 24.0


def mark_of(places: Places) -> Path:
    """Return the file that says when a home was made; there is none in a home that was not made."""
    return places.state / "simulation" / "home.json"


@dataclass(frozen=True, slots=True)
class Form:
    """A form that a recipe had.

    Attributes:
        ago: Hours before now from which on it had it.
        without: Fields in which it differs from the recipe as it is today.
    """

    ago: float
    reason: str
    without: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Past:
    """A run that has ended.

    Attributes:
        ago: Hours before now at which it began; it was stopped after `hours`, where it got ready.
        form: Which of the recipe's forms it ran, the first being 0.
        fails: Another end than being stopped: `licence` or `crash`; a recipe that cannot start fails by itself.
        version: Of the engine, where it is not today's.
    """

    recipe: str
    ago: float
    hours: float = 0.0
    form: int = 0
    fails: str = ""
    version: str = ""


#: The forms of each recipe, oldest first; the last is the recipe as it is today. A recipe that is not here has one.
FORMS: Mapping[str, tuple[Form, ...]] = {
    READY: (
        Form(21 * DAY, "new", {"max_num_seqs": 64, "gpu_memory_utilization": 0.88, "reasoning_parser": None}),
        Form(14.2 * DAY, "edit", {"gpu_memory_utilization": 0.88, "max_num_seqs": 64}),
        Form(9.1 * DAY, "edit"),
    ),
    FAILED: (
        Form(16 * DAY, "new", {"max_model_len": 16384, "tool_call_parser": None}),
        Form(15 * DAY, "edit", {"max_model_len": 16384}),
        Form(0.25, "edit"),
    ),
    LOADING: (Form(12 * DAY, "import of recipes.yaml", {"max_model_len": 8192}), Form(5.1 * DAY, "edit")),
    "phi-4": (Form(29.6 * DAY, "new"),),
    "mistral-small-24b": (Form(25.9 * DAY, "new"),),
    "gemma-3-12b": (Form(11 * DAY, "new", {"max_model_len": 65536}), Form(10 * DAY, "edit")),
}
#: Oldest first. No two of them hold a GPU at once, and none holds one when the home is opened.
RUNS = (
    Past("phi-4", 29.4 * DAY, 24 * 3.3, version="0.31.0"),
    Past("mistral-small-24b", 25.6 * DAY, 24 * 3.9, version="0.31.0"),
    Past("phi-4", 18.3 * DAY, 3.4, version="0.31.1"),
    Past(FAILED, 16.0 * DAY, form=0, fails="licence", version="0.31.1"),
    Past(READY, 20.9 * DAY, 24 * 4.6, form=0, version="0.31.1"),
    Past(FAILED, 15.0 * DAY, 0.2, form=1, version="0.31.1"),
    Past(FAILED, 14.8 * DAY, 6.04, form=1, version="0.31.1"),
    Past(READY, 14.1 * DAY, 24 * 4.9, form=1, version="0.31.1"),
    Past("gemma-3-12b", 10.9 * DAY, 5.0, form=0, version="0.31.1"),
    Past("house-judge", 9.6 * DAY, 1.3, version="0.31.1"),
    Past("smollm2-135m", 8.4 * DAY, 0.4, fails="crash"),
    Past(READY, 9.0 * DAY, 24 * 6.7, form=2, version="0.31.1"),
    Past("qwen2.5-vl-7b", 6.7 * DAY, 2.1),
    Past(LOADING, 5.0 * DAY, 4.2, form=1),
    Past("house-judge", 2.9 * DAY, 1.1),
    Past(LOADING, 2.2 * DAY, 2.4, form=1),
    Past("mistral-small-24b", 29.0, 5.2),
    Past("gemma-3-12b", 27.0, 2.6, form=1),
    Past("gemma-3-12b", 7.1, 3.2, form=1),
    Past(FAILED, 0.235, form=2),
)
#: Hours before now at which the run that serves began.
SERVES = 52.1
#: The part of its start that the run which loads has behind it.
LOADED = 0.43
