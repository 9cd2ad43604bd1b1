"""The header, with screens and runs, and the footer, with the keys that work on the screen in front."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import TROUBLE, Glyphs
from vllm_studio_tui.tui.paint.ink import Ink, Row, fit
from vllm_studio_tui.tui.screens.registry import SCREENS
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.shell import Shell

HOST = os.uname().nodename.partition(".")[0]


def header(
    ink: Ink, width: int, size: Size, place: str, snapshot: Snapshot | None, *, read_only: bool, label: str = ""
) -> list[Row]:
    """Draw the header."""
    row = Row(plane="surf")
    full = size >= Size.WIDE
    x = row.put(1, "vllm studio" if full else "studio", "fg bold") + 1
    if label:
        x = row.put(x, f" {label} ", "warn bold") + 1
    if read_only:
        x = row.put(x, " read-only ", "fg reverse") + 1
    x += 1
    for screen in SCREENS:
        digit = screen.key
        here = screen.name == place
        words = screen.title if full or here else ""
        if size <= Size.COMPACT and not here:
            continue
        start = x
        if here:
            x += 1 if row.pieces[-1][1] == "faint" else 0
            # The active tab has the cursor's background, and is reversed where there are no colours.
            text = f" {digit} {words} "
            row.put(x - 1, text, "accent bold on-sel" + (" reverse" if ink.plain else ""))
            x += len(text)
        else:
            x = row.run(x, [(digit, "faint"), (f" {words}" if words else "", "dim")])
            x += 3 if words else 1
        row.link(start, x, f"app.{screen.name}")
    end = width - 2
    if size >= Size.FULL or size == Size.COMPACT:
        end = row.put_right(end, HOST, "dim") - 3
    if snapshot is not None:
        end = _gpu_columns(row, ink.glyphs, end, snapshot)
        _chips(row, ink.glyphs, x + 2, end, snapshot.runs, names=size >= Size.FULL)
    return [row]


def _gpu_columns(row: Row, glyphs: Glyphs, end: int, snapshot: Snapshot) -> int:
    """Draw the utilization of each GPU, or the mean of more than sixteen; return the end of the room left."""
    uses = [gpu.utilization for gpu in snapshot.tick.gpus.gpus]
    if not uses:
        return end
    if len(uses) > 16:
        known = [use for use in uses if use is not None]
        text = f"gpu {sum(known) / len(known):.0f}%" if known else f"gpu {glyphs.unknown}"
        return row.put_right(end, text, "dim") - 3
    levels = glyphs.spark
    if glyphs.ascii:
        marks = [glyphs.unknown if use is None else str(min(9, use // 10)) for use in uses]
    else:
        marks = [
            glyphs.unknown if use is None else levels[min(len(levels) - 1, round(use / 100 * (len(levels) - 1)))]
            for use in uses
        ]
    return row.put_right(end, (" " if len(uses) <= 4 else "").join(marks), "data") - 3


def _chips(row: Row, glyphs: Glyphs, start: int, end: int, runs: Sequence[RunView], *, names: bool) -> None:
    """Draw the runs, the most urgent states first: with names where they fit, else as a count of each state."""
    order = {state: index for index, state in enumerate(TROUBLE)}
    chips = sorted((run for run in runs if run.state is not State.EXITED), key=lambda run: order.get(run.state, 9))
    if not chips:
        return
    if names:
        parts = [_chip(glyphs, run) for run in chips]
        width = sum(len(text) for part in parts for text, _ in part) + 3 * (len(parts) - 1)
        if width <= end - start:
            x = end - width
            for run, part in zip(chips, parts, strict=True):
                after = row.run(x, part)
                row.link(x, after, f"run:{run.run_id}")
                x = after + 3
            return
    counted: list[list[tuple[str, str]]] = []
    for state in dict.fromkeys(run.state for run in chips):
        of = [run for run in chips if run.state is state]
        mark, colour = glyphs.state(state)
        progress = of[0].status.progress if len(of) == 1 and state is State.LOADING else None
        counted.append([(mark, colour), (f" {numbers.percent(progress) if progress is not None else len(of)}", "fg")])
    while counted:
        width = sum(len(text) for part in counted for text, _ in part) + 2 * (len(counted) - 1)
        if width <= end - start:
            x = end - width
            for part in counted:
                x = row.run(x, part) + 2
            return
        counted.pop()


def _chip(glyphs: Glyphs, run: RunView) -> list[tuple[str, str]]:
    mark, colour = glyphs.state(run.state)
    parts = [(mark, colour), (f" {fit(run.name, 24)}", "fg")]
    if run.state is State.LOADING and run.status.progress is not None:
        parts.append((f" {numbers.percent(run.status.progress)}", "dim"))
    return parts


def footer(width: int, size: Size, here: Sequence[tuple[str, str, str]], *, palette: str, help_key: str) -> list[Row]:
    """Draw the footer: the keys that work here, each with its label; a click on it runs the action."""
    row = Row()
    limit = {Size.FULL: 9, Size.WIDE: 7, Size.BASE: 5}.get(size, 4)
    end = width - 1
    right: list[tuple[str, str, str]] = [(help_key, "help", "app.help")]
    if size >= Size.BASE:
        right.insert(0, (palette, "commands", "app.palette"))
    for key, word, action in reversed(right):
        start = end - len(key) - len(word) - 1
        row.run(start, [(key, "fg bold"), (f" {word}", "dim")])
        row.link(start, end, action)
        end = start - 3
    x = 1
    for key, word, action in here[:limit]:
        if x + len(key) + len(word) + 1 > end:
            break
        after = row.run(x, [(key, "fg bold"), (f" {word}", "dim")])
        row.link(x, after, action)
        x = after + 3
    return [row]


def footer_keys(active: Sequence[tuple[Action, str]], glyphs: Glyphs) -> list[tuple[str, str, str]]:
    """Return key, label and id of the enabled actions that have a label."""
    found = []
    for action, keys in active:
        if not action.label:
            continue
        first = keys.split(",")[0]
        text = {"up": glyphs.up_down, "left": glyphs.left_right}.get(first, actions.key_text(first))
        found.append((action.footer or text, action.label, action.id))
    return found


class Header(Canvas):
    """The header of the page, one row."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(self._rows, lambda: shell.ink, id="header")
        self._shell = shell

    def _rows(self, width: int, height: int) -> list[Row]:
        shell = self._shell
        return header(
            shell.ink,
            width,
            shell.size_class,
            shell.tab_name,
            shell.snapshot,
            read_only=shell.read_only,
            label=shell.label,
        )


class Footer(Canvas):
    """The footer of the page, one row."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(self._rows, lambda: shell.ink, id="footer")
        self._shell = shell

    def _rows(self, width: int, height: int) -> list[Row]:
        shell = self._shell
        return footer(
            width,
            shell.size_class,
            footer_keys(shell.active_actions(), shell.ink.glyphs),
            palette=actions.key_text(shell.keys_of("app.palette").split(",")[0]),
            help_key=actions.key_text(shell.keys_of("app.help").split(",")[0]),
        )
