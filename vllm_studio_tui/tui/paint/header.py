"""The header of the page: the screens, the runs with trouble first, the GPUs and the host."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import shown_state
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import downloads
from vllm_studio_tui.tui.paint.glyphs import TROUBLE, Glyphs
from vllm_studio_tui.tui.paint.ink import Ink, Row, fit
from vllm_studio_tui.tui.paint.run_words import how_far
from vllm_studio_tui.tui.screens.registry import SCREENS

if TYPE_CHECKING:
    from vllm_studio_tui.domain.download import Download
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.watching.snapshot import Snapshot

#: The states whose runs keep their names in the header.
NAMED = frozenset({State.FAILED, State.UNHEALTHY, State.BACKOFF})
#: How many names of a state there are at most, and how long they are, from roomy to narrow.
NAMES = ((3, 24), (3, 14), (1, 24), (1, 14))
#: Letters of what is being downloaded, from roomy to narrow.
COMING = (24, 14, 8)
#: Blanks between two things.
GAP = 2


@dataclass(slots=True)
class Part:
    """Something that stands together: its texts with their styles, and what a click on it does."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    link: str = ""

    @property
    def width(self) -> int:
        return sum(cell_len(text) for text, _ in self.texts)


def header(
    ink: Ink,
    width: int,
    size: Size,
    place: str,
    snapshot: Snapshot | None,
    *,
    host: str,
    read_only: bool = False,
    label: str = "",
    without_tab: Collection[str] = (),
    pulls: Sequence[Download] = (),
    bench: str = "",
) -> list[Row]:
    """Draw the header: as much as fits, where the names of runs in trouble go last.

    Args:
        without_tab: Screens that are named only while they are in front.
        pulls: What is being downloaded.
        bench: How far the benchmark is that is being made; empty for none.
    """
    row = Row(plane="surf")
    x = row.put(1, "studio", "fg bold") + 1
    if label:
        x = row.put(x, f" {label} ", "warn bold") + 1
    if snapshot is not None and snapshot.stale is not None:
        age = numbers.fixed(snapshot.stale, 0, " s")
        x = row.put(x, f"{ink.glyphs.state(State.UNHEALTHY)[0]} no connection, {age} old ", "err bold") + 1
    if read_only:
        x = row.put(x, " read-only ", "fg reverse") + 1
    runs = [run for run in snapshot.runs if run.state is not State.EXITED] if snapshot is not None else []
    gpus = _gpus(ink.glyphs, snapshot) if snapshot is not None else Part()
    tabs, right = _with_pulls(ink, width - x - 1, size, place, runs, gpus, host, without_tab, pulls)
    if bench:
        chip = Part([(ink.glyphs.state(State.LOADING)[0], "accent"), (f" {bench}", "fg")], "app.bench")
        less = width - x - 1 - chip.width - GAP
        narrow = _with_pulls(ink, less, size, place, runs, gpus, host, without_tab, pulls)
        shown = sum(1 for part in right if part.link)
        if [part.texts for part in narrow[1] if part.link] == [part.texts for part in right if part.link]:
            tabs, right = narrow[0], [*narrow[1][:shown], chip, *narrow[1][shown:]]
    for part in tabs:
        after = row.run(x, part.texts)
        if part.link:
            row.link(x, after, part.link)
        x = after
    start = width - 1 - _width(right)
    for part in right:
        after = row.run(start, part.texts)
        if part.link:
            row.link(start, after, part.link)
        start = after + GAP
    return [row]


def _with_pulls(
    ink: Ink,
    room: int,
    size: Size,
    place: str,
    runs: Sequence[RunView],
    gpus: Part,
    host: str,
    without_tab: Collection[str],
    pulls: Sequence[Download],
) -> tuple[list[Part], list[Part]]:
    """Return the same as `_fitting` with what is being downloaded, as far as that takes no tab and no run away."""
    plain = _fitting(ink, room, size, place, runs, gpus, host, without_tab)
    if not pulls:
        return plain
    mark, colour = downloads.state_mark(pulls[0], ink.glyphs)
    more = f" and {len(pulls) - 1} more" if len(pulls) > 1 else ""
    found = []
    for longest in COMING:
        part = Part([(mark, colour), (f" {downloads.chip(pulls[0], longest)}{more}", "fg")], "app.models")
        found.append((part, *_fitting(ink, room - part.width - GAP, size, place, runs, gpus, host, without_tab)))
    runs_shown = [part.texts for part in plain[1] if part.link]
    alike = [one for one in found if [part.texts for part in one[2] if part.link] == runs_shown]
    # The tabs lose their words for it, never a run its name.
    for part, tabs, right in sorted(alike, key=lambda one: sum(tab.width for tab in one[1]), reverse=True):
        if len(tabs) == len(plain[0]):
            at = len(runs_shown)
            return tabs, [*right[:at], part, *right[at:]]
    return plain


def _fitting(
    ink: Ink,
    room: int,
    size: Size,
    place: str,
    runs: Sequence[RunView],
    gpus: Part,
    host: str,
    without_tab: Collection[str],
) -> tuple[list[Part], list[Part]]:
    """Return the screens and what stands at the right, as full as there is room."""
    tail = [gpus] if gpus.width else []
    ends = [[*tail, Part([(host, "dim")])], tail] if size != Size.BASE else [tail]
    every = [_tabs(ink, place, without_tab, words=True), _tabs(ink, place, without_tab, words=False)]
    only = [_tabs(ink, place, without_tab, words=False, others=False)]
    trouble = any(shown_state(run) in NAMED for run in runs)
    for names in (*(NAMES if trouble else ()), (0, 0), None):
        chips = _chips(ink.glyphs, runs, *(names or (0, 0)), far=names is not None)
        for tabs in every if size > Size.COMPACT else only:
            for end in ends:
                if sum(part.width for part in tabs) + 1 + _width([*chips, *end]) <= room:
                    return tabs, [*chips, *end]
    tabs = only[0]
    while chips and sum(part.width for part in tabs) + 1 + _width([*chips, *tail]) > room:
        chips.pop()
    return tabs, [*chips, *tail]


def _width(parts: Sequence[Part]) -> int:
    return sum(part.width for part in parts) + GAP * max(0, len(parts) - 1)


def _tabs(ink: Ink, place: str, without_tab: Collection[str], *, words: bool, others: bool = True) -> list[Part]:
    """Return the screens; the one in front is marked by its background, and is reversed where there are no colours."""
    found = []
    for screen in SCREENS:
        link = f"app.{screen.name}"
        if screen.name == place:
            style = "accent bold on-sel" + (" reverse" if ink.plain else "")
            found.append(Part([(f" {screen.key} {screen.title} ", style)], link))
        elif others and screen.name not in without_tab:
            title = f" {screen.title} " if words else ""
            found.append(Part([(f" {screen.key}", "faint"), (title, "dim")], link))
    found.append(Part([(" ", "dim")]))
    return found


def _gpus(glyphs: Glyphs, snapshot: Snapshot) -> Part:
    """Return the utilization of each GPU, or the mean of more than sixteen."""
    uses = [gpu.utilization for gpu in snapshot.tick.gpus.gpus]
    if not uses:
        return Part()
    if len(uses) > 16:
        known = [use for use in uses if use is not None]
        return Part([(f"gpu {sum(known) / len(known):.0f}%" if known else f"gpu {glyphs.unknown}", "dim")])
    levels = glyphs.spark
    if glyphs.ascii:
        marks = [glyphs.unknown if use is None else str(min(9, use // 10)) for use in uses]
    else:
        marks = [
            glyphs.unknown if use is None else levels[min(len(levels) - 1, round(use / 100 * (len(levels) - 1)))]
            for use in uses
        ]
    return Part([((" " if len(uses) <= 4 else "").join(marks), "data")])


def _chips(glyphs: Glyphs, runs: Sequence[RunView], names: int, longest: int, *, far: bool = True) -> list[Part]:
    """Return the states that there are, the most urgent first: trouble by name, the rest as a count.

    With `far`, a run that loads alone says how far it is.
    """
    found = []
    for state in TROUBLE:
        of = [run for run in runs if shown_state(run) is state]
        if not of:
            continue
        mark, colour = glyphs.state(state)
        part = Part([(mark, colour)], f"run:{of[0].run_id}")
        words = how_far(of[0]) if far and len(of) == 1 and state is State.LOADING else ""
        named = of[:names] if state in NAMED else []
        if not named or len(of) > 1:
            part.texts.append((f" {words or len(of)}", "fg"))
        part.texts += [(f" {fit(run.name, longest)}", "fg") for run in named]
        found.append(part)
    return found
