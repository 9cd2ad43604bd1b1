"""Words for a run's engine, stage, GPUs and port."""

from __future__ import annotations

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import elsewhere_words, told_why
from vllm_studio_tui.runs.read import RunView

STAGES = {
    "process": "process",
    "config": "config",
    "downloading": "download",
    "weights": "weights",
    "compiling": "compile",
    "kv_cache": "KV cache",
    "graphs": "graphs",
    "warmup": "warm-up",
    "serving": "serving",
}


def engine_word(run: RunView) -> str:
    """Return the engine of a run."""
    return run.spec.engine if run.spec is not None and run.spec.engine else backend_word(run.backend)


def backend_word(name: str | None) -> str:
    """Return the name of an engine for tables."""
    if not name:
        return "–"
    from vllm_studio_tui.backends import IN_TABLES

    if name in IN_TABLES:  # the registry and the engine's file would hold up the first picture
        return IN_TABLES[name].label
    from vllm_studio_tui.backends import registry

    return registry.label(name)


def takes_first_gpus(backend: str) -> bool:
    """Return whether an engine takes the first GPUs when its recipe names none."""
    from vllm_studio_tui.backends import IN_TABLES

    if backend in IN_TABLES:
        return IN_TABLES[backend].takes_first_gpus
    from vllm_studio_tui.backends import registry

    found = registry.find(backend)
    return found is not None and found.takes_first_gpus


def stage_word(stage: str | None) -> str:
    """Return the name of a stage for people."""
    return STAGES.get(stage or "", stage or "")


def how_far(run: RunView) -> str:
    """Return how far a loading run is: the percent of its weights, of every other stage its name before it.

    Each stage begins at zero again: without the name a figure that was at 100% would fall.
    """
    status = run.status
    if told_why(run):
        return ""  # a sentence of another system, and no measure
    part = numbers.percent(status.progress) if status.progress is not None else ""
    return part if status.stage in (None, "weights") else f"{stage_word(status.stage)} {part}".rstrip()


def where(run: RunView) -> str:
    """Return the GPUs and the port of a run; of one that runs elsewhere what it is called there, and its hosts."""
    if far := elsewhere_words(run):
        return f"{far}   :{run.port}" if run.port else far
    gpus = f"GPU {' '.join(run.spec.gpus)}   " if run.spec is not None and run.spec.gpus else ""
    return f"{gpus}:{run.port}" if run.port else gpus.strip()
