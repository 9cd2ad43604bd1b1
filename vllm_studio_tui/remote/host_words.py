"""What is wrong with a host, and which of several is looked at first; the same for the command and the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import IntEnum

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.host_overview import HostOverview, total
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.remote.errors import KeyWanted
from vllm_studio_tui.remote.host_state import HostState


class Rank(IntEnum):
    """How urgent a host is; the most urgent first."""

    LOST = 0
    FAILED = 1
    WARNING = 2
    WELL = 3
    ASKED = 4


#: How a state of a host is called.
STATES = {
    Rank.LOST: "lost",
    Rank.FAILED: "failed",
    Rank.WARNING: "warning",
    Rank.WELL: "well",
    Rank.ASKED: "asked",
}
#: States of runs that are no failure, and need somebody all the same.
_ILL = (State.UNHEALTHY, State.BACKOFF)


def rank(state: HostState) -> Rank:
    """Return how urgent a host is."""
    found = state.overview
    if state.error is not None:
        return Rank.LOST
    if found is None:
        return Rank.ASKED
    if found.in_state(State.FAILED):
        return Rank.FAILED
    return Rank.WARNING if found.in_state(*_ILL) or _gpu_trouble(found) else Rank.WELL


def trouble(state: HostState) -> str:
    """Return in a few words what is wrong with a host; empty: nothing."""
    found, error = state.overview, state.error
    if error is not None:
        kinds = ((UsageError, "bad entry"), (KeyWanted, "wants a key"))
        return next((words for kind, words in kinds if isinstance(error, kind)), "no answer")
    if found is None:
        return ""
    failed, ill = len(found.in_state(State.FAILED)), len(found.in_state(*_ILL))
    parts = [*([f"{failed} failed"] if failed else []), *([f"{ill} unhealthy"] if ill else []), _gpu_trouble(found)]
    return ", ".join(part for part in parts if part)


def _gpu_trouble(found: HostOverview) -> str:
    if found.trouble:
        return found.trouble
    for gpu in found.gpus:
        if gpu.trouble:
            return f"GPU {gpu.index} in trouble"
        if any("thermal" in one for one in gpu.slowed):
            return f"GPU {gpu.index} hot"
    return ""


def in_order(states: Iterable[HostState]) -> list[HostState]:
    """Return hosts with trouble first, else as they were."""
    return sorted(states, key=rank)


def gpus_words(found: HostOverview, words: int = 2) -> str:
    """Return which GPUs a host has: `8 x H100 80GB`.

    Args:
        words: Of the name of a GPU, at most.
    """
    names = Counter(
        " ".join(gpu.name.removeprefix("NVIDIA ").removeprefix("GeForce ").split()[:words]) or "GPU"
        for gpu in found.gpus
    )
    return ", ".join(f"{number} x {name}" for name, number in names.items()) or "no GPU"


def sums(states: Iterable[HostState]) -> HostOverview:
    """Return what those that answer have and do together, as if they were one host."""
    found = [state.overview for state in states if state.overview is not None and state.answers]
    return HostOverview(
        gpus=tuple(gpu for one in found for gpu in one.gpus),
        runs=tuple(run for one in found for run in one.runs),
        queue=_whole(total(one.queue for one in found)),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def last_seen(state: HostState, count: str) -> str:
    """Return with what a lost host was last seen, in words; empty: it never answered.

    Args:
        count: Its speed then, in words; empty: not known.
    """
    found = state.overview
    if found is None:
        return ""
    parts = [
        f"{len(runs)} run{'' if len(runs) == 1 else 's'} {name}"
        for name in dict.fromkeys(run.state for run in found.runs)
        if (runs := found.in_state(name))
    ]
    return ", ".join([*(parts or ["no run"]), *([count] if count else [])])
