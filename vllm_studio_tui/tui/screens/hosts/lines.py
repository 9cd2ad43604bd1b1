"""A row of the table of hosts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from vllm_studio_tui.domain.host_overview import SEEN, HostOverview
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.remote.host_state import HostState
from vllm_studio_tui.remote.host_words import Rank, gpus_words, rank, trouble
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.glyphs import TROUBLE, Glyphs
from vllm_studio_tui.tui.paint.table import Column, Parts

#: The most bars of GPUs in a row.
BARS = 16
#: Seconds after which the age of an answer is shown: it was asked again meanwhile.
OLD = 5.0


@dataclass(frozen=True, slots=True)
class HostLine:
    """A host, as the table shows it.

    Attributes:
        shown: It is the one whose studio the screens are on.
        asked: It is asked at all: this machine is not, while the screens are on another.
        total: It is no host, but the sum of those that answer.
    """

    state: HostState
    shown: bool = False
    asked: bool = True
    total: bool = False

    @property
    def key(self) -> str:
        return "." if self.state.here else self.state.name

    @property
    def found(self) -> HostOverview | None:
        """Return what it says of itself; None where it does not answer now."""
        return self.state.overview if self.state.answers else None

    def words(self) -> str:
        """Return what a filter looks through."""
        found = self.found
        runs = " ".join(run.name for run in found.runs) if found is not None else ""
        gpus = gpus_words(found) if found is not None else ""
        return f"{self.state.name} {self.state.how} {trouble(self.state)} {gpus} {runs}"


def mark(line: HostLine, glyphs: Glyphs) -> tuple[str, str]:
    """Return the mark of a host, and its colour."""
    marks = {
        Rank.LOST: (glyphs.failed, "err"),
        Rank.FAILED: (glyphs.warning, "err"),
        Rank.WARNING: (glyphs.warning, "warn"),
        Rank.WELL: glyphs.state("ready"),
    }
    return marks.get(rank(line.state), (glyphs.pending, "faint"))


def columns_of(glyphs: Glyphs) -> list[Column[HostLine]]:
    """Return the columns of the table of hosts."""
    now = time.time()

    def number(text: str, line: HostLine, style: str = "fg") -> Parts:
        return [(text, "faint" if text == glyphs.unknown else style)]

    def answer(line: HostLine) -> Parts:
        state = line.state
        if state.here or line.total or state.error is not None or state.seen_at is None:
            return [("" if line.total else glyphs.unknown, "faint")]
        if now - state.seen_at > OLD:
            return [(f"{numbers.short_age(now - state.seen_at)} old", "warn")]
        return [(numbers.latency(state.seconds, glyphs.unknown), "fg")]

    def gpus(line: HostLine, width: int) -> Parts:
        if line.found is None or line.total:
            return []
        forms = [gpus_words(line.found, words) for words in (9, 2, 1)]
        return [(next((form for form in forms if cell_len(form) <= width), forms[-1]), "dim")]

    def bars(line: HostLine, width: int) -> Parts:
        if line.found is None or line.total:
            return []
        uses = [gpu.utilization for gpu in line.found.gpus]
        if len(uses) > width:
            uses = [_mean(uses[len(uses) * at // width : len(uses) * (at + 1) // width]) for at in range(width)]
        return charts.spark(glyphs, uses, 100.0, latest="fill")

    def runs(line: HostLine, width: int) -> Parts:
        return run_parts(line.found, glyphs, width) if not line.total else []

    def memory(line: HostLine) -> Parts:
        found = line.found.memory if line.found is not None else None
        if found is None:
            return [(glyphs.unknown, "faint")]
        return [(f"{found[0] / numbers.GIB:.0f}/{found[1] / numbers.GIB:.0f}G", "fg")]

    def heat(line: HostLine) -> Parts:
        found = line.found.hottest if line.found is not None else None
        hot = "warn" if "hot" in trouble(line.state) else "fg"
        return number(numbers.fixed(found, 0, glyphs.degree, glyphs.unknown), line, hot)

    return [
        Column("host", lambda line: [(line.state.name, "fg bold")], 6, grow=1,
               order=lambda line: line.state.name.lower()),
        Column("how", lambda line: [("" if line.total else line.state.how, "dim")], 10, drop=7),
        Column("answer", answer, 6, right=True, drop=8, order=lambda line: line.state.seconds),
        Column("GPUs", lambda line: gpus(line, 99), 8, grow=4, drop=5, draw=gpus),
        Column("bars", lambda line: bars(line, BARS), 4, "", grow=4, drop=4, draw=bars),
        Column("util", lambda line: number(_use(line, glyphs), line), 4, right=True, drop=2, falling=True,
               order=lambda line: line.found.utilization if line.found is not None else None),
        Column("memory", memory, 6, right=True, falling=True, drop=3,
               order=lambda line: line.found.memory[0] if line.found is not None and line.found.memory else None),
        Column("power", lambda line: number(numbers.power(line.found.power if line.found else None, glyphs.unknown),
                                            line), 5, right=True, drop=4, falling=True,
               order=lambda line: line.found.power if line.found is not None else None),
        Column("max", heat, 4, right=True, drop=9, falling=True,
               order=lambda line: line.found.hottest if line.found is not None else None),
        Column("tok/s", lambda line: number(numbers.count(line.found.tokens_per_second if line.found else None,
                                                          glyphs.unknown), line), 5, right=True, drop=1, falling=True,
               order=lambda line: line.found.tokens_per_second if line.found is not None else None),
        Column("wait", lambda line: number(numbers.count(line.found.waiting if line.found else None, glyphs.unknown),
                                           line), 4, right=True, drop=6, falling=True,
               order=lambda line: line.found.waiting if line.found is not None else None),
        Column("runs", lambda line: runs(line, 99), 6, grow=2, draw=runs),
        Column("trouble", lambda line: trouble_parts(line, now), 13, grow=2),
    ]  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _use(line: HostLine, glyphs: Glyphs) -> str:
    return numbers.fixed(line.found.utilization if line.found is not None else None, 0, "%", glyphs.unknown)


def trouble_parts(line: HostLine, now: float) -> Parts:
    """Return what is wrong with a host, and for how long."""
    state = line.state
    if line.total:
        return []
    if not line.asked:
        return [("enter goes back", "faint")]
    words = trouble(state)
    if state.error is not None and state.since is not None:
        return [(words, "err"), (f" {numbers.short_age(now - state.since)}", "dim")]
    if words:
        return [(words, "err" if rank(state) is Rank.FAILED else "warn")]
    if state.overview is None:
        return [("asking", "faint")]
    return [("shown now", "accent")] if line.shown and not state.here else []


def run_parts(found: HostOverview | None, glyphs: Glyphs, width: int = 99) -> Parts:
    """Return the runs of a host as counts by state, trouble first; where there is no room, in one number."""
    if found is None:
        return []
    counts: list[tuple[int, Parts]] = []
    for state in TROUBLE:
        of = found.in_state(state)
        if not of:
            continue
        sign, colour = glyphs.state(state)
        far = of[0].progress if len(of) == 1 and state == "loading" else None
        text = numbers.percent(min(1.0, far)) if far is not None else str(len(of))
        counts.append((len(of), [(f"{' ' if counts else ''}{sign}", colour), (f" {text}", "fg")]))
    seen = len(found.in_state(SEEN))  # nobody here launched them
    if seen:
        counts.append((seen, [(f"{' ' if counts else ''}{seen}", "fg"), (" seen", "dim")]))
    for shown in range(len(counts), -1, -1):
        rest = len(found.runs) - sum(number for number, _ in counts[:shown])
        parts = [part for _, one in counts[:shown] for part in one]
        if rest:
            parts.append((f"{' ' if parts else ''}+{rest}", "faint"))
        if sum(cell_len(text) for text, _ in parts) <= width:
            break
    return parts or [("none", "faint")]
