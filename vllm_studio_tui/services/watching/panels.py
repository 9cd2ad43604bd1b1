"""Panels of other packages: functions from a snapshot to rows of text, each called in a thread of its own.

A panel is asked only while it is seen, and the less often the longer it takes. What is not text, raises or does not
come back becomes a line that says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from vllm_studio_tui.backends.common import plug_ins
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.watching.snapshot import Snapshot

GROUP = "vllm_studio_tui.panels"
#: What a panel may draw: rows, cells of a row, characters of a cell.
ROWS, CELLS, LETTERS = 200, 16, 200
#: Words that a style may consist of; the theme has a colour for each.
STYLES = frozenset({"fg", "dim", "faint", "accent", "data", "ok", "warn", "err", "bold", "italic", "underline"})
#: Share of a thread's time that a panel may take.
SHARE = 0.1
#: Seconds after which a panel counts as hanging, and its rows are no longer shown.
PATIENCE = 5.0

#: What a plug-in brings.
PanelFunction = Callable[[Snapshot], Iterable[object]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of a panel, its style, and whether it is a number, which stands at the right of its column."""

    text: str
    style: str = "fg"
    right: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel as it is to be drawn.

    Attributes:
        rows: None: it has not answered yet.
        fault: What is wrong, in words; its rows are not shown then.
    """

    title: str
    package: str
    rows: tuple[tuple[Cell, ...], ...] | None = None
    fault: str = ""


class Panels:
    """All panels there are.

    Args:
        changed: Called in a thread when a panel looks different from before.
    """

    def __init__(
        self, found: Sequence[plug_ins.PlugIn[PanelFunction]], changed: Callable[[], object], **options: float
    ) -> None:
        self._artists = [_Artist(one, changed, **options) for one in found]

    def __len__(self) -> int:
        return len(self._artists)

    def look(self, snapshot: Snapshot) -> list[Panel]:
        """Return the panels as they are, and have them drawn anew from this snapshot. Never waits."""
        return [one.look(snapshot) for one in self._artists]

    def close(self) -> None:
        for one in self._artists:
            one.close()


class _Artist:
    def __init__(
        self,
        plug_in: plug_ins.PlugIn[PanelFunction],
        changed: Callable[[], object],
        share: float = SHARE,
        patience: float = PATIENCE,
    ) -> None:
        self._draw = plug_in.value
        self._changed = changed
        self._share, self._patience = share, patience
        self._panel = Panel(clean_line(plug_in.name, limit=40), clean_line(plug_in.package, limit=40))
        self._wanted: Snapshot | None = None
        self._drawn: Snapshot | None = None
        self._began: float | None = None
        self._rested = 0.0
        self._over = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def look(self, snapshot: Snapshot) -> Panel:
        with self._wake:
            now = time.monotonic()
            if snapshot is not self._drawn and self._began is None and now >= self._rested and not self._over:
                self._wanted = snapshot
                self._wake.notify()
                if self._thread is None:
                    # As a daemon: one that hangs must not keep the program from ending.
                    self._thread = threading.Thread(target=self._work, name="panel", daemon=True)
                    self._thread.start()
            if self._began is not None and now - self._began > self._patience:
                said = f"has not come back for {numbers.duration(now - self._began)}"
                return Panel(self._panel.title, self._panel.package, fault=said)
            return self._panel

    def close(self) -> None:
        with self._wake:
            self._over = True
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._wanted is not None or self._over)
                if self._over or self._wanted is None:
                    return
                snapshot, self._wanted = self._wanted, None
                self._began = began = time.monotonic()
            rows, fault = _drawn(self._draw, snapshot)
            with self._wake:
                took = time.monotonic() - began
                self._began, self._drawn, self._rested = None, snapshot, began + took / self._share
                before = self._panel
                self._panel = Panel(before.title, before.package, rows, fault)
                differs = before != self._panel or took > self._patience
            if differs and not self._over:
                self._changed()


def _drawn(draw: PanelFunction, snapshot: Snapshot) -> tuple[tuple[tuple[Cell, ...], ...], str]:
    """Return a panel's rows, and what is wrong with it."""
    try:
        return tuple(_row(one) for one in islice(draw(snapshot), ROWS)), ""
    except BaseException as error:  # noqa: BLE001 - foreign code may raise anything, also what would end a process
        try:
            words = f"raises {type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001
            words = f"raises {type(error).__name__}"
        return (), clean_line(words, limit=LETTERS)


def _row(given: object) -> tuple[Cell, ...]:
    """Return a row: a text, or texts, numbers, and pairs of one of these and a style."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return (_cell(given),)
    return tuple(_cell(one) for one in islice(given, CELLS))


def _cell(given: object) -> Cell:
    style = "fg"
    if isinstance(given, tuple) and len(given) == 2:
        given, style = given
        if not isinstance(style, str) or not set(style.split()) <= STYLES:
            raise ValueError(f"{str(style)[:40]!r} is no style; there are {', '.join(sorted(STYLES))}")
    if isinstance(given, str):
        return Cell(clean_line(str(given)[:LETTERS]), style)
    if given is None:
        return Cell(numbers.count(None), "faint", right=True)
    if isinstance(given, int | float) and not isinstance(given, bool):
        text = numbers.count(given) if isinstance(given, int) else numbers.rate(given)
        return Cell(text, style, right=True)
    raise TypeError(f"a cell is {type(given).__name__}, and no text or number")


def panels_of_packages() -> tuple[list[plug_ins.PlugIn[PanelFunction]], dict[str, str]]:
    """Return the panels that packages bring, and what of them cannot be used and why. Blocking."""
    return plug_ins.load_all(GROUP, _accept)


def _accept(name: str, loaded: object) -> PanelFunction:
    if isinstance(loaded, type) or not callable(loaded):
        raise plug_ins.NotUsable(f"{name} is no function")
    return loaded
