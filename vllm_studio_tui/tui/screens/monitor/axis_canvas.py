"""The canvas of the monitor: its `g` and `G` are for the time axis, where there is one, and else for its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import BindingType

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.widgets.canvas import ListCanvas


class AxisCanvas(ListCanvas):
    """A list above charts.

    Attributes:
        to_end: Goes to an end of the time axis, -1 or 1; returns False where there is none to go to.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("axis")]

    to_end: Callable[[int], bool] = staticmethod(lambda step: False)

    def action_begin(self) -> None:
        if not self.to_end(-1):
            self.action_first()

    def action_now(self) -> None:
        if not self.to_end(1):
            self.action_last()
