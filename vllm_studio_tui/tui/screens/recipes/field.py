"""A field of the recipe form on one line: mark, label, input, unit and what it was; below it what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar, Protocol

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal
from textual.strip import Strip
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.recipes.form_fields import FormField
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.paint.ink import Row, cut_lines
from vllm_studio_tui.tui.screens.recipes.path_list import PathList
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink

#: Cells of an input whose values are short; others take all the room there is, and nothing stands beside them.
NUMBER, CHOICE, SHORT, EDGE = 20, 20, 36, 2
#: Fields of text whose values are short.
SHORT_TEXTS = frozenset({"host", "port", "gpus", "revision", "restart.policy", "docker.shm", "quantization"})


#: Fields for which there is something to choose from, beside those whose values are fixed.
OFFERED = frozenset({"model_path", "gpus", "tool_call_parser", "reasoning_parser", "backend"})
#: The actions of the form that a field does.
MOVES = frozenset({"form.up", "form.down"})


def offers(spec: FormField) -> bool:
    """Return whether there is anything to choose a field's value from."""
    return bool(spec.choices) or spec.kind == "switch" or spec.name in OFFERED


def without_value(error: str) -> str:
    """Return what is wrong with a field, without what was typed: that stands in the field itself."""
    return error.partition(" (got ")[0]


class Form(Protocol):
    """What a field needs of its form.

    Attributes:
        texts: The text of each field as it is now.
        saved: The text of each field as it was saved.
    """

    texts: dict[str, str]
    saved: dict[str, str]

    @property
    def marked(self) -> Collection[str]:
        """The names of the fields that differ from what was saved; none where nothing was."""

    @property
    def focused_field(self) -> FormField | None: ...
    def get_ink(self) -> Ink: ...
    def blank_of(self, field: FormField) -> str:
        """Return what a blank field stands for, in words."""

    def remark_of(self, field: FormField) -> str:
        """Return what is said beside a field, such as whether its engine is installed."""

    def trouble_of(self, name: str) -> tuple[str, str]:
        """Return `error` or `warning` and the words of what is wrong with a field; empty words for nothing."""


def width_of(spec: FormField) -> int | None:
    """Return the cells of a field's input; None: as many as there are."""
    if spec.kind == "number":
        return NUMBER
    if spec.kind in ("switch", "choice") or spec.choices:
        return CHOICE
    return SHORT if spec.name in SHORT_TEXTS else None


class FieldInput(Input):
    """The input of a field. Up and down move to the fields beside it; space, left and right change a choice."""

    #: Here, because the list that scrolls the fields has keys of its own for these.
    BINDINGS: ClassVar[list[BindingType]] = [one for one in actions.bindings("form") if one.id in MOVES]

    def __init__(self, spec: FormField, value: str, blank: str, paths: PathList | None = None) -> None:
        super().__init__(
            clean_line(spec.shown(value)), placeholder=clean_line(blank), select_on_focus=False, classes="field"
        )
        self.cursor_blink = False
        self.spec = spec
        self.paths = paths
        if (width := width_of(spec)) is not None:
            self.styles.width = max(width, len(blank) + 3) if width == CHOICE else width

    def render_line(self, y: int) -> Strip:
        """Draw the text; where it is longer than its field, and nobody types in it, with a mark that it goes on."""
        strip, width = super().render_line(y), self.content_size.width
        if y or self.has_focus or self.scroll_offset.x or cell_len(self.value) <= width:
            return strip
        mark = self.app.ink.glyphs.ellipsis  # type: ignore[attr-defined]
        return Strip.join([strip.crop(0, width - len(mark)), Strip([Segment(mark, self.rich_style)])])

    def action_up(self) -> None:
        self.screen.focus_previous(".field")

    def action_down(self) -> None:
        self.screen.focus_next(".field")

    def on_blur(self) -> None:
        if self.paths is not None:
            self.paths.close()

    def on_key(self, event: events.Key) -> None:
        if self.paths is not None and self.paths.pressed(event.key):
            event.stop()
            event.prevent_default()
            return
        values = ("no", "yes") if self.spec.kind == "switch" else [*map(self.spec.shown, self.spec.choices)]
        if self.spec.kind in ("switch", "choice") and event.key in ("space", "left", "right"):
            event.stop()
            event.prevent_default()
            now = self.value or self.spec.shown(self.spec.default)
            index = values.index(now) if now in values else 0
            self.value = values[(index + (-1 if event.key == "left" else 1)) % len(values)]
        elif self.spec.kind in ("switch", "choice") and event.is_printable:
            # A choice is not typed: a letter selects the first value that begins with it.
            event.stop()
            event.prevent_default()
            letter = (event.character or "\0").lower()
            found = [value for value in values if value.lower().startswith(letter)]
            if found:
                self.value = found[0]


class FieldRow(Container):
    """Shows a field."""

    def __init__(self, spec: FormField, form: Form) -> None:
        super().__init__(classes="field-row")
        self.spec = spec
        self._form = form
        self._shown: tuple[str, str] | None = None
        self._paths = PathList(form.get_ink, lambda: self._indent) if spec.name == "model_path" else None

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field-line"):
            yield Canvas(self._paint_label, self._form.get_ink, classes="field-label")
            text, blank = self._form.texts.get(self.spec.name, ""), self._form.blank_of(self.spec)
            yield FieldInput(self.spec, text, blank, self._paths)
            beside = Canvas(self._paint_unit, self._form.get_ink, classes="field-unit")
            if width_of(self.spec) is None:
                beside.styles.width = EDGE
            yield beside
        if self._paths is not None:
            yield self._paths
        yield Canvas(self._paint_below, self._form.get_ink, classes="field-below")

    def on_mount(self) -> None:
        self.show_trouble()

    def show_trouble(self) -> None:
        """Show below the field what is wrong with it; nothing below it where nothing is."""
        trouble = self._form.trouble_of(self.spec.name)
        if trouble == self._shown or len(self.children) < 2:
            return  # the latter while it is composed or removed
        self._shown = trouble
        below = self.query_one(".field-below", Canvas)
        below.display = bool(trouble[1])
        below.styles.height = len(self._lines()) or 1
        below.repaint()

    @property
    def _danger(self) -> bool:
        return self.spec.name == "trust_remote_code" and self._form.texts.get(self.spec.name) == "yes"

    def _lines(self) -> list[str]:
        words = self._shown[1] if self._shown is not None else ""
        room = max(12, self.size.width - self._indent - 4) if self.size.width else 44
        return cut_lines(words, min(room, 90), 2) if words else []

    @property
    def _indent(self) -> int:
        return self.query_one(".field-label", Canvas).size.width or 24

    def _paint_label(self, width: int, height: int) -> list[Row]:
        row = Row()
        glyphs = self._form.get_ink().glyphs
        if self.spec.name in self._form.marked:
            row.put(0, glyphs.changed, "accent")
        focused = self._form.focused_field is self.spec
        style = "err bold" if self._danger else "fg bold" if focused else "dim"
        row.put(2, self.spec.label, style, width - 3)
        if focused:
            row.put(width - 1, glyphs.cursor, "accent bold")  # not every terminal shows the plane of the field
        return [row]

    def _paint_unit(self, width: int, height: int) -> list[Row]:
        row = Row()
        glyphs = self._form.get_ink().glyphs
        x = 1
        if self.spec.kind in ("choice", "switch") or self.spec.choices:
            x = row.put(x, glyphs.choice, "faint") + 1
        x = row.put(x, self.spec.unit, "dim") + (2 if self.spec.unit else 0)
        remark = self._form.remark_of(self.spec)
        if remark:
            x = row.put(x, remark, "dim", max(0, width - x)) + 2
        if self.spec.name in self._form.marked and width > EDGE:
            was = self._form.saved.get(self.spec.name, "")
            words = self.spec.shown(was) or self._form.blank_of(self.spec) or "blank"
            row.put(x, f"was {words}", "faint", max(0, width - x))
        return [row]

    def _paint_below(self, width: int, height: int) -> list[Row]:
        rows = []
        glyphs = self._form.get_ink().glyphs
        severity = self._shown[0] if self._shown is not None else ""
        mark, style = (glyphs.failed, "err") if severity == "error" else (glyphs.warning, "warn")
        for index, line in enumerate(self._lines()):
            row = Row()
            row.run(self._indent, [(f"{mark} " if index == 0 else "  ", style), (line, "fg")])
            rows.append(row)
        return rows
