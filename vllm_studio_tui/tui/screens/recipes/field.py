"""A field of the recipe form: its label, input and unit on a line, its help and its error below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.recipes.form import FormField, Reading
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink


class Form(Protocol):
    """What a field needs of its form.

    Attributes:
        texts: The text of each field as it is now.
        saved: The text of each field as it was saved.
        reading: The recipe or the errors that the texts give.
    """

    texts: dict[str, str]
    saved: dict[str, str]
    reading: Reading

    @property
    def changed(self) -> Sequence[str]:
        """The names of the fields that differ from what was saved."""

    @property
    def focused_field(self) -> FormField | None: ...
    def get_ink(self) -> Ink: ...
    def get_size(self) -> Size: ...
    def shows_error_of(self, name: str) -> bool:
        """Return whether the error of a field is shown."""


class FieldInput(Input):
    """The input of a field. Up and down move to the fields beside it; space, left and right change a choice."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "neighbour(-1)", show=False),
        Binding("down,enter", "neighbour(1)", show=False),
    ]

    def __init__(self, spec: FormField, value: str) -> None:
        super().__init__(
            clean_line(value),
            placeholder=spec.default and f"default {clean_line(spec.default)}",
            select_on_focus=False,
            classes="field",
        )
        self.cursor_blink = False
        self.spec = spec

    def action_neighbour(self, step: int) -> None:
        if step > 0:
            self.screen.focus_next(".field")
        else:
            self.screen.focus_previous(".field")

    def on_key(self, event: events.Key) -> None:
        values = ("no", "yes") if self.spec.kind == "switch" else self.spec.choices
        if self.spec.kind in ("switch", "choice") and event.key in ("space", "left", "right"):
            event.stop()
            event.prevent_default()
            now = self.value or self.spec.default
            index = values.index(now) if now in values else 0
            self.value = values[(index + (-1 if event.key == "left" else 1)) % len(values)]
        elif self.spec.kind in ("switch", "choice") and event.is_printable:
            # A choice is not typed: a letter selects the first value that begins with it.
            event.stop()
            event.prevent_default()
            found = [value for value in values if value.startswith(event.character or "\0")]
            if found:
                self.value = found[0]


class FieldRow(Container):
    """Shows a field: label, input, unit, help and error."""

    def __init__(self, spec: FormField, form: Form) -> None:
        super().__init__(classes="field-row")
        self.spec = spec
        self._form = form
        self._error = ""

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field-line"):
            yield Canvas(self._paint_label, self._form.get_ink, classes="field-label")
            yield FieldInput(self.spec, self._form.texts.get(self.spec.name, ""))
            yield Canvas(self._paint_unit, self._form.get_ink, classes="field-unit")
        yield Canvas(self._paint_below, self._form.get_ink, classes="field-below")

    def on_mount(self) -> None:
        error = self._form.reading.errors.get(self.spec.name, "")
        self.show_error(error if self._form.shows_error_of(self.spec.name) else "")

    def show_error(self, error: str) -> None:
        """Show an error below the field; empty for none."""
        if error != self._error or not self.is_mounted:
            self._error = error
        wide = self._form.get_size() >= Size.WIDE
        below = self.query_one(".field-below", Canvas)
        below.styles.height = (1 if wide else 0) + (len(self._lines()) if self._error else 0)
        below.display = bool(wide or self._error)
        below.repaint()

    @property
    def _danger(self) -> bool:
        return self.spec.name == "trust_remote_code" and self._form.texts.get(self.spec.name) == "yes"

    def _lines(self) -> list[str]:
        return wrap(self._error, 44)[:3]

    def _paint_label(self, width: int, height: int) -> list[Row]:
        row = Row()
        glyphs = self._form.get_ink().glyphs
        if self.spec.name in self._form.changed:
            row.put(0, glyphs.changed, "warn")
        focused = self._form.focused_field is self.spec
        style = "err bold" if self._danger else "fg bold" if focused else "dim"
        row.put(2, self.spec.name, style, width - 3)
        return [row]

    def _paint_unit(self, width: int, height: int) -> list[Row]:
        row = Row()
        glyphs = self._form.get_ink().glyphs
        x = 1
        if self.spec.kind in ("choice", "switch") or self.spec.choices:
            x = row.put(x, glyphs.choice, "faint") + 1
        x = row.put(x, self.spec.unit, "dim") + (2 if self.spec.unit else 0)
        if self.spec.name in self._form.changed:
            was = self._form.saved.get(self.spec.name, "")
            row.put(x, f"was {was or self.spec.default or 'blank'}", "faint", max(0, width - x))
        return [row]

    def _paint_below(self, width: int, height: int) -> list[Row]:
        rows = []
        x = self.query_one(".field-label", Canvas).size.width + 1
        for index, line in enumerate(self._lines() if self._error else []):
            row = Row()
            row.run(x, [(f"{self._form.get_ink().glyphs.failed} " if index == 0 else "  ", "err"), (line, "fg")])
            rows.append(row)
        if self._form.get_size() >= Size.WIDE:
            row = Row()
            if self._danger:
                row.put(x, f"{self._form.get_ink().glyphs.warning} runs code from the model folder", "err")
            else:
                row.put(x, self.spec.help, "faint", max(0, width - x))
            rows.append(row)
        return rows
