"""The doctor inside the screens: every check with its state and its fix, trouble first, as each is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.terminal.deferred import deferred, still_there
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.domain.check import Check
    from vllm_studio_tui.tui.paint.glyphs import Glyphs
    from vllm_studio_tui.tui.shell import Shell

GROUPS = (("fail", "STANDS IN THE WAY"), ("warn", "WORTH A LOOK"), ("ok", "FINE"))

#: Rows of a window in which the title still has one.
LEAST_WITH_TITLE = 4
#: From this width on what was found stands beside the name of the check.
LEAST_BESIDE = 50


class DoctorSheet(Sheet):
    """Shows the checks; `y` copies the one under the cursor, `Y` all of them."""

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["dialogs.tcss", "inside.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_one", show=False),
        Binding("Y", "copy_all", show=False),
        Binding("f5,r", "again", show=False),
        Binding("q,f7", "close", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._results: list[tuple[str, Check]] = []
        self._left = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="doctor"):
            yield ListCanvas(self._paint, self.ink, header=1, plane="panel", id="doctor")
            yield Canvas(self._keys, self.ink, plane="panel", id="doctor-keys")

    def on_mount(self) -> None:
        self.query_one("#doctor").focus()
        self.action_again()

    def action_again(self) -> None:
        """Run every check (again)."""
        self.run_worker(deferred(self._check), group="recipes", exclusive=True, exit_on_error=False)

    async def _check(self) -> None:
        from vllm_studio_tui.probes.terminal import Answers
        from vllm_studio_tui.services.doctor.doctor import CHECKS, Ground, run_checks

        shell = cast("Shell", self.app)
        terminal = shell.profile.terminal  # it was asked at the start, and cannot be while the screens read its input
        answers = Answers(terminal.background, terminal.synchronised)
        ground = Ground(shell.studio.places, os.environ, answers=answers)
        self._results, self._left = [], len(CHECKS)
        for check in CHECKS:
            self._results += await shell.in_thread(partial(run_checks, ground, [check]))
            self._left -= 1
            if not still_there(self):
                return  # it was closed meanwhile
            canvas = self.query_one("#doctor", ListCanvas)
            if canvas.keys and canvas.key == canvas.keys[0]:
                canvas.key = None  # nobody has moved it: it stays on what comes first, which is trouble
            canvas.repaint()

    def _paint(self, width: int, height: int) -> list[Row]:
        rows = doctor_rows(self._results, self._left, self.ink().glyphs, width)
        if self.tiny:  # no empty rows; in a window of a few rows no title
            rows = [rows[0], *(row for row in rows[1:] if row.pieces)][
                1 - self.query_one("#doctor", ListCanvas).header :
            ]
        return rows

    def fit(self) -> None:
        canvas = self.query_one("#doctor", ListCanvas)
        canvas.header = 0 if self.app.size.height < LEAST_WITH_TITLE else 1
        canvas.repaint()
        canvas.show_cursor()

    def _keys(self, width: int, height: int) -> list[Row]:
        keys = (("y", "copy"), ("Y", "copy all"), ("f5", "again"), ("esc", "close"))
        return [keys_row(width, *keys, edge=1 if self.tiny else 3)]

    def action_copy_one(self) -> None:
        key = self.query_one("#doctor", ListCanvas).key
        found = [(name, check) for name, check in self._results if name == key]
        if found:
            cast("Shell", self.app).copy(doctor_text(found))

    def action_copy_all(self) -> None:
        cast("Shell", self.app).copy(doctor_text(self._results))


def doctor_text(results: Sequence[tuple[str, Check]]) -> str:
    """Return checks as text to paste into a report."""
    return "\n".join(
        f"{check.state:<4}  {name}: {check.found}{f' -> {check.fix}' if check.fix else ''}" for name, check in results
    )


def doctor_rows(results: Sequence[tuple[str, Check]], left: int, glyphs: Glyphs, width: int) -> list[Row]:
    """Draw the checks that are done, trouble first, each with what would mend it.

    Args:
        left: How many are still to come.
    """
    title = Row()
    counts = {state: sum(check.state == state for _, check in results) for state, _ in GROUPS}
    x = title.put(3, "Doctor", "fg bold") + 3
    marks = {"fail": (glyphs.failed, "err"), "warn": (glyphs.warning, "warn"), "ok": (glyphs.passed, "ok")}
    for state, _ in GROUPS:
        if counts[state]:
            x = title.run(x, [(f"{marks[state][0]} ", marks[state][1]), (str(counts[state]), "fg")]) + 3
    if left:
        title.put(x, f"{left} to come", "faint")
    rows = [title]
    narrow = width < 70
    for state, head in GROUPS:
        inside = [(name, check) for name, check in results if check.state == state]
        if not inside:
            continue
        line = Row()
        line.put(3, head, "dim bold")
        rows += [Row(), line]
        for name, check in inside:
            rows += _check_rows(name, check, marks[state], width, narrow=narrow)
    return rows


def _check_rows(name: str, check: Check, mark: tuple[str, str], width: int, *, narrow: bool) -> list[Row]:
    rows = []
    first = Row(key=name)
    first.put(2, *mark)
    first.put(4, name, "fg", 18 if narrow else 20)
    start = 24 if narrow else 26
    below = width < LEAST_BESIDE
    if below:  # what was found stands below the name
        start = 4
        rows.append(first)
    found = cut_lines(check.found, max(10, width - start - 2), 3 if check.state == "ok" else 6)
    for index, text in enumerate(found):
        row = first if index == 0 and not below else Row(key=name)
        row.put(start, text, "dim" if check.state == "ok" else "fg")
        rows.append(row)
    for text in cut_lines(check.fix, max(10, width - start - 2), 4) if check.fix else []:
        row = Row(key=name)
        row.put(start, text, "dim")
        rows.append(row)
    return rows
