"""Processes of runs and on GPUs at one moment, as a tree. None is unknown, which is not zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time

#: Signals that can be sent, the gentlest first, and what each does to a program that does nothing else with it.
SIGNALS: Mapping[str, str] = MappingProxyType(
    {
        "TERM": "asks it to end",
        "INT": "as ctrl+c: asks it to end",
        "HUP": "as a closed terminal: most end, servers read their settings again",
        "QUIT": "ends it; Python may write where it was",
        "USR1": "means what the program says; most others end by it",
        "USR2": "means what the program says; most others end by it",
        "STOP": "holds it: it keeps its memory and does nothing",
        "CONT": "lets one that is held go on",
        "KILL": "ends it at once: nothing is saved, nothing is cleaned up",
    }
)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that belongs to a run, that is on a GPU, or that is the parent of one.

    Attributes:
        start: When it began, in clock ticks since boot: with the number it names this very process; 0: there is none.
        created: The same in seconds since the epoch.
        command: In few words, without secrets; `argv` is its command line without them.
        container: The name of its container, else the beginning of its id; None: the same as ours, or none.
        run_id: The run that it belongs to.
        ours: It belongs to a run of this studio.
        gpus: The indices of those that it is on.
        gpu_memory: Bytes, on all of its GPUs together.
        sm: Percent of the time in which it kept a GPU busy, the busiest of its GPUs.
        cpu: Percent of one core.
        memory: Resident bytes.
        seconds: Since it began.
        state: The kernel's letter: R, S, D (waits in the kernel: no signal reaches it), T (held), Z (has ended).
    """

    pid: int
    parent: int | None = None
    start: int = 0
    created: float | None = None
    command: str | None = None
    argv: tuple[str, ...] = ()
    user: str | None = None
    container: str | None = None
    run_id: str | None = None
    ours: bool = False
    gpus: tuple[int, ...] = ()
    gpu_memory: int | None = None
    sm: int | None = None
    cpu: float | None = None
    memory: int | None = None
    seconds: float | None = None
    state: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus processes --json` prints of it: bytes, percent, seconds; unknown is null."""
        document = asdict(self)
        document["created"] = iso_time(self.created) if self.created is not None else None
        return {**document, "argv": list(self.argv), "gpus": list(self.gpus)}


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process at its place in the tree.

    Attributes:
        last: For each generation above it, and for itself, whether that one is the last child of its parent.
    """

    process: Process
    last: tuple[bool, ...] = ()

    @property
    def depth(self) -> int:
        """Return how many of the processes above it are in the tree."""
        return len(self.last)


def as_tree(
    processes: Iterable[Process],
    order: Callable[[Sequence[Process]], Any] | None = None,
    *,
    falling: bool = False,
) -> tuple[ProcessRow, ...]:
    """Return processes as a tree: below each its children; each process once, whatever they say of their parents.

    Args:
        order: Returns what siblings are ordered by, of a process and all below it, itself first; what has None comes
            last. Without it: by their first GPU, those without one last, then by their age.
    """
    here = {one.pid: one for one in processes}
    below: dict[int | None, list[Process]] = {}
    for one in here.values():
        below.setdefault(one.parent if one.parent in here and one.parent != one.pid else None, []).append(one)
    families: dict[int, list[Process]] = {}

    def gather(one: Process) -> list[Process]:
        families[one.pid] = found = [one]
        for child in below.get(one.pid, ()):
            if child.pid not in families:
                found += gather(child)
        return found

    def first_gpu(family: Sequence[Process]) -> Any:
        return (min((gpu for one in family for gpu in one.gpus), default=10**6), family[0].start, family[0].pid)

    def arranged(some: Iterable[Process]) -> list[Process]:
        by_age = sorted(some, key=lambda one: first_gpu(families[one.pid]))
        if order is None:
            return by_age
        valued = [(order(families[one.pid]), one) for one in by_age]
        known = sorted((pair for pair in valued if pair[0] is not None), key=lambda pair: pair[0], reverse=falling)
        return [one for _, one in known] + [one for value, one in valued if value is None]

    rows: list[ProcessRow] = []
    placed: set[int] = set()

    def place(some: Iterable[Process], above: tuple[bool, ...], *, root: bool) -> None:
        siblings = [one for one in arranged(some) if one.pid not in placed]
        placed.update(one.pid for one in siblings)
        for index, one in enumerate(siblings):
            last = () if root else (*above, index == len(siblings) - 1)
            rows.append(ProcessRow(one, last))
            place(below.get(one.pid, ()), last, root=False)

    roots = below.get(None, [])
    for one in roots:
        gather(one)
    lost = [one for one in here.values() if one.pid not in families]  # their parents go in a circle
    families.update({one.pid: [one] for one in lost})
    place(roots, (), root=True)
    place(lost, (), root=True)
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a signal to a process would do, before it is sent.

    Attributes:
        run_id: The run that would suffer; None: the process is not ours.
        run: Its name.
        requests: How many are under way there; None: unknown.
        ends: How many processes end with it, itself counted.
        words: The same in sentences.
        signals: What may be sent, the gentlest first.
        refusal: Why nothing can be sent.
    """

    process: Process
    run_id: str | None = None
    run: str | None = None
    requests: int | None = None
    ends: int = 1
    words: tuple[str, ...] = ()
    signals: tuple[str, ...] = tuple(SIGNALS)
    refusal: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus signal --dry-run --json` prints."""
        document = asdict(self)
        return {**document, "process": self.process.to_json(), "words": list(self.words), "signals": list(self.signals)}


@dataclass(frozen=True, slots=True)
class SignalSent:
    """What became of a signal to one process.

    Attributes:
        sent: The name of the signal that reached it; None: none did.
        words: Why it did not, or what was done besides.
    """

    pid: int
    sent: str | None
    words: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what `gpus signal --json` prints of it."""
        return asdict(self)
