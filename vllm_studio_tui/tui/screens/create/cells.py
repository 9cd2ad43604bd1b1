"""The grid of how long for how many, with a cursor: a cell fills in two fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.message import Message

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.domain.fit import FitCell, FitGrid
    from vllm_studio_tui.tui.paint.ink import Ink, Row


class CellsCanvas(Canvas, can_focus=True):
    """Shows the grid.

    Args:
        paint: Draws it, with row and column of the cursor.
        grid: Returns the grid as it is now.
        now: Returns length and users of the choice: the cursor begins there.
    """

    SCOPE = "cells"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("cells")]

    class Taken(Message):
        """A cell was taken."""

        def __init__(self, cell: FitCell) -> None:
            super().__init__()
            self.cell = cell

    def __init__(
        self,
        paint: Callable[[int, int, tuple[int, int]], list[Row]],
        get_ink: Callable[[], Ink],
        grid: Callable[[], FitGrid | None],
        now: Callable[[], tuple[int | None, int | None]],
    ) -> None:
        super().__init__(lambda width, height: paint(width, height, self.at), get_ink, id="create-cells")
        self._grid, self._now = grid, now
        self._at: tuple[int, int] | None = None

    @property
    def at(self) -> tuple[int, int]:
        """Row and column of the cursor; -1, -1 while the keys go elsewhere."""
        return self._place() if self.has_focus else (-1, -1)

    def _place(self) -> tuple[int, int]:
        grid = self._grid()
        if grid is None or not grid.rows or not grid.users:
            return -1, -1
        if self._at is None:
            context, users = self._now()
            line = _nearest(grid.contexts, context)
            self._at = line, _nearest(grid.users, users)
        return min(self._at[0], len(grid.rows) - 1), min(self._at[1], len(grid.users) - 1)

    def on_focus(self) -> None:
        self._at = None
        super().on_focus()

    def _move(self, lines: int, columns: int) -> None:
        grid, (line, column) = self._grid(), self._place()
        if grid is not None and line >= 0:
            self._at = (
                max(0, min(len(grid.rows) - 1, line + lines)),
                max(0, min(len(grid.users) - 1, column + columns)),
            )
            self.repaint()

    def action_left(self) -> None:
        self._move(0, -1)

    def action_right(self) -> None:
        self._move(0, 1)

    def action_up(self) -> None:
        self._move(-1, 0)

    def action_down(self) -> None:
        self._move(1, 0)

    def action_take(self) -> None:
        grid, (line, column) = self._grid(), self._place()
        if grid is not None and line >= 0:
            self.post_message(self.Taken(grid.rows[line][column]))


def _nearest(values: tuple[int, ...], wanted: int | None) -> int:
    return min(range(len(values)), key=lambda index: abs(values[index] - (wanted or 0)))
