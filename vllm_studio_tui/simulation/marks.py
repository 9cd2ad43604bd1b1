"""How simulated things are told from real ones. Imports nothing of the simulation: every launch asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: The variable that asks for simulated GPUs: how many, and what is on them.
GPUS = "VLLM_STUDIO_SIMULATE_GPUS"
ENGINE = "vllm_studio_tui.simulation.engine"
PROGRAMS = "vllm_studio_tui.simulation.programs"


def is_simulated(argv: Sequence[str]) -> bool:
    """Return whether a command starts a simulated engine."""
    if ENGINE in argv:
        return True
    try:
        with Path(argv[0]).open("rb") as stream:
            return PROGRAMS.encode() in stream.read(512)
    except (OSError, IndexError):
        return False
