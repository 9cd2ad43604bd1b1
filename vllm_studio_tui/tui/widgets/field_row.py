"""A field on a line: its label, what is typed or chosen, its unit, and below it what there is to say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink


class FieldInput(Input):
    """The input of a field. Left, right and space change a choice; up and down go to the fields beside it."""

    #: Begins the ids and the classes of its page; the cells of a label there.
    PREFIX: ClassVar[str] = ""
    LABEL: ClassVar[int] = 17

    def __init__(
        self, name: str, *, choice: bool, step: Callable[[str, int], None], move: Callable[[str, int], None]
    ) -> None:
        super().__init__(select_on_focus=False, classes=f"{self.PREFIX}-field", id=f"{self.PREFIX}-{name}")
        self.cursor_blink = False
        self.field = name
        self.choice = choice
        self._step = step
        self._move = move

    def action_up(self) -> None:
        self._move(self.field, -1)

    def action_down(self) -> None:
        self._move(self.field, 1)

    def on_key(self, event: events.Key) -> None:
        if not self.choice:
            return
        if event.key in ("left", "right", "space"):
            self._stop(event)
            self._step(self.field, -1 if event.key == "left" else 1)
        elif event.is_printable or event.key in ("backspace", "delete"):
            self._stop(event)  # a choice is not typed

    def _on_paste(self, event: events.Paste) -> None:
        if self.choice:
            event.stop()
            event.prevent_default()
            return
        super()._on_paste(event)

    @staticmethod
    def _stop(event: events.Key) -> None:
        event.stop()
        event.prevent_default()

    def show(self, text: str) -> None:
        """Show a value that nobody typed."""
        text = clean_line(text)
        if self.value != text:
            with self.prevent(Input.Changed):
                self.value = text
            self.cursor_position = 0 if self.choice else len(text)


class FieldRow(Container):
    """A field with its label, its unit, and what stands below it.

    Args:
        spec: Its name, label, whether it is chosen from a list, and its unit.
        reason: Returns the style and the words that stand below the field.
    """

    INPUT: ClassVar[type[FieldInput]] = FieldInput

    def __init__(
        self,
        spec: tuple[str, str, bool, str],
        get_ink: Callable[[], Ink],
        reason: Callable[[str], tuple[str, str]],
        step: Callable[[str, int], None],
        move: Callable[[str, int], None],
    ) -> None:
        super().__init__(classes=f"{self.INPUT.PREFIX}-row")
        self.field, self.label, self._choice, self._unit = spec
        self._get_ink, self._reason, self._step, self._move = get_ink, reason, step, move

    def compose(self) -> ComposeResult:
        prefix = self.INPUT.PREFIX
        with Horizontal(classes=f"{prefix}-line"):
            yield Canvas(self._paint_label, self._get_ink, classes=f"{prefix}-label")
            yield self.INPUT(self.field, choice=self._choice, step=self._step, move=self._move)
            yield Canvas(self._paint_unit, self._get_ink, classes=f"{prefix}-unit")
        yield Canvas(self._paint_reason, self._get_ink, classes=f"{prefix}-reason")

    @property
    def input(self) -> FieldInput:
        return self.query_one(self.INPUT)

    def _paint_label(self, width: int, height: int) -> Sequence[Row]:
        row, focused = Row(), self.input.has_focus
        row.put(0, self.label, "fg bold" if focused else "dim", width - 2)
        if focused:
            row.put(width - 1, self._get_ink().glyphs.cursor, "accent bold")
        return [row]

    def _paint_unit(self, width: int, height: int) -> Sequence[Row]:
        row = Row()
        row.put(1, self._get_ink().glyphs.choice if self._choice else self._unit, "faint", width - 1)
        return [row]

    def _paint_reason(self, width: int, height: int) -> Sequence[Row]:
        style, words = self._reason(self.field)
        row, x = Row(), self.INPUT.LABEL + 1
        row.put(x, words, style, max(0, width - x - 1))
        return [row]
