"""The recipe form: sections, fields with their help and their errors beside them, and what would be launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.recipes.form import FormField, Reading, form_fields, read_form, texts_of
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.tui.paint.ink import Ink


class FieldInput(Input):
    """A field's text. Up and down go to its neighbours; a choice turns with the space bar."""

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
            # What is chosen is not typed: the first value that begins with the letter.
            event.stop()
            event.prevent_default()
            found = [value for value in values if value.startswith(event.character or "\0")]
            if found:
                self.value = found[0]


class RecipeForm(Container):
    """Edits a recipe.

    Args:
        preview: Makes the lines beside the form (checks and command) of a recipe; called in a thread.
    """

    SCOPE = "form"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("form")]

    class Done(Message):
        """The form was left: with a recipe to save, and perhaps to launch, or without."""

        def __init__(self, recipe: Recipe | None, *, launch: bool = False, was: Recipe | None = None) -> None:
            super().__init__()
            self.recipe = recipe
            self.launch = launch
            self.was = was

    class Asked(Message):
        """The person wants to choose a value, edit as YAML, or leave with changes."""

        def __init__(self, what: str, name: str = "") -> None:
            super().__init__()
            self.what = what
            self.name = name

    class Changed(Message):
        """The recipe that the form makes is another one."""

        def __init__(self, reading: Reading) -> None:
            super().__init__()
            self.reading = reading

    def __init__(self, recipe: Recipe | None, get_ink: Callable[[], Ink], get_size: Callable[[], Size]) -> None:
        super().__init__(id="form")
        self.recipe = recipe
        self._get_ink = get_ink
        self._get_size = get_size
        self.fields = form_fields()
        self.sections = list(dict.fromkeys(one.section for one in self.fields))
        self.section = self.sections[0]
        self.saved = texts_of(recipe)
        self.texts = dict(self.saved)
        self.reading = read_form(self.texts, recipe)
        self.side: list[Row] = []
        self._touched: set[str] = set()

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Canvas(self._paint_head, self._get_ink, id="form-head")
        with Horizontal():
            yield Canvas(self._paint_sections, self._get_ink, id="form-sections")
            yield VerticalScroll(id="form-fields", can_focus=False)
            yield Canvas(self._paint_side, self._get_ink, id="form-side")
        yield Canvas(self._paint_foot, self._get_ink, id="form-foot")

    async def on_mount(self) -> None:
        await self.show_section(self.section)

    async def show_section(self, section: str) -> None:
        """Show the fields of one section."""
        self.section = section
        body = self.query_one("#form-fields", VerticalScroll)
        async with self.batch():
            await body.remove_children()
            await body.mount_all([FieldRow(one, self) for one in self.fields if one.section == section])
        first = body.query(FieldInput).first()
        first.focus()
        self.repaint()

    def repaint(self) -> None:
        for canvas in self.query(Canvas):
            canvas.repaint()

    @property
    def changed(self) -> list[str]:
        return [name for name, text in self.texts.items() if text.strip() != self.saved.get(name, "").strip()]

    # --- painting ---------------------------------------------------------------------------------------

    def _paint_head(self, width: int, height: int) -> list[Row]:
        wide = self._get_size() >= Size.WIDE
        row = Row()
        x = row.put(3 if wide else 2, self.texts.get("id") or "new recipe", "fg bold", 40) + 3
        count = len(self.changed)
        if count:
            x = row.put(x, f"{count} unsaved {'change' if count == 1 else 'changes'}", "warn")
        rows = [row]
        if not wide:
            line, x = Row(), 2
            for name in self.sections:
                mark = self._get_ink().glyphs.changed if self._differs(name) else ""
                end = line.put(x, f"{name}{mark}", "accent bold" if name == self.section else "dim")
                line.link(x, end, f"section:{name}")
                x = end + 2
            rows.append(line)
        return rows

    def _differs(self, section: str) -> bool:
        inside = {one.name for one in self.fields if one.section == section}
        return any(name in inside for name in self.changed)

    def _paint_sections(self, width: int, height: int) -> list[Row]:
        glyphs = self._get_ink().glyphs
        rows = []
        for name in self.sections:
            here = name == self.section
            row = Row(plane="sel" if here else "")
            if here:
                row.put(1, glyphs.cursor, "accent bold")
            row.put(3, name, "accent bold" if here else "dim")
            wrong = any(one.name in self.reading.errors for one in self.fields if one.section == name)
            if wrong and self._touched:
                row.put(width - 3, glyphs.failed, "err")
            elif self._differs(name):
                row.put(width - 3, glyphs.changed, "warn")
            row.link(0, width, f"section:{name}")
            rows.append(row)
        return rows

    def _paint_side(self, width: int, height: int) -> list[Row]:
        return self.side

    def _paint_foot(self, width: int, height: int) -> list[Row]:
        """Help of the field that has the focus, where there is no room below each."""
        one = self.focused_field
        row = Row()
        if one is None:
            return [row]
        if one.name == "trust_remote_code" and self.texts.get(one.name) == "yes":
            row.put(2, f"{self._get_ink().glyphs.warning} runs code from the model folder", "err")
        else:
            row.run(2, [("help  ", "faint"), (clean_line(one.help or one.name), "dim")])
        return [row]

    @property
    def focused_field(self) -> FormField | None:
        focused = self.screen.focused
        return focused.spec if isinstance(focused, FieldInput) else None

    # --- typing -----------------------------------------------------------------------------------------

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if not isinstance(event.input, FieldInput):
            return
        name = event.input.spec.name
        # What is shown was made safe; as long as nobody types, the value stays as it is.
        if clean_line(self.texts.get(name, "")) == event.value:
            return
        self.texts[name] = event.value
        self._touched.add(name)
        self.read()

    def read(self) -> None:
        """Read the form anew and show what is wrong."""
        self.reading = read_form(self.texts, self.recipe)
        for row in self.query(FieldRow):
            row.show_error(self.reading.errors.get(row.spec.name, "") if self._says(row.spec.name) else "")
        self.repaint()
        self.post_message(self.Changed(self.reading))

    def _says(self, name: str) -> bool:
        """Nobody is told what is wrong with a field before they touched it."""
        return name in self._touched or self.recipe is not None

    def set_text(self, name: str, text: str) -> None:
        """Put a chosen value into a field."""
        self.texts[name] = text
        self._touched.add(name)
        for widget in self.query(FieldInput):
            if widget.spec.name == name:
                widget.value = text
                widget.cursor_position = len(text)
        self.read()

    def set_recipe(self, recipe: Recipe) -> None:
        """Take over a recipe that was edited elsewhere, as unsaved changes."""
        self.texts = texts_of(recipe)
        for widget in self.query(FieldInput):
            widget.value = self.texts.get(widget.spec.name, "")
        self._touched.add("id")
        self.read()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.repaint()

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        kind, _, name = event.action.partition(":")
        if kind == "section":
            self.run_worker(self.show_section(name), exclusive=True, group="section")

    # --- actions ----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"form.{action.replace('_', '-')}")
        if known is not None and known.writes and self.app.read_only:  # type: ignore[attr-defined]
            return False
        return super().check_action(action, parameters)

    def _finish(self, *, launch: bool) -> None:
        self._touched |= {one.name for one in self.fields}
        self.read()
        if self.reading.recipe is None:
            first = next(iter(self.reading.errors))
            section = next((one.section for one in self.fields if one.name == first), self.sections[0])
            self.run_worker(self._show_error(section, first), exclusive=True, group="section")
            return
        self.post_message(self.Done(self.reading.recipe, launch=launch, was=self.recipe))

    async def _show_error(self, section: str, name: str) -> None:
        await self.show_section(section)
        self.read()
        for widget in self.query(FieldInput):
            if widget.spec.name == name:
                widget.focus()

    def action_save(self) -> None:
        self._finish(launch=False)

    def action_launch(self) -> None:
        self._finish(launch=True)

    def action_choose(self) -> None:
        if (one := self.focused_field) is not None:
            self.post_message(self.Asked("choose", one.name))

    def action_yaml(self) -> None:
        self.post_message(self.Asked("yaml"))

    def action_leave(self) -> None:
        self.post_message(self.Asked("leave"))

    def _turn(self, step: int) -> None:
        index = (self.sections.index(self.section) + step) % len(self.sections)
        self.run_worker(self.show_section(self.sections[index]), exclusive=True, group="section")

    def action_next_section(self) -> None:
        self._turn(1)

    def action_previous_section(self) -> None:
        self._turn(-1)


class FieldRow(Container):
    """A field with its label, unit, help and error."""

    def __init__(self, spec: FormField, form: RecipeForm) -> None:
        super().__init__(classes="field-row")
        self.spec = spec
        self._form = form
        self._error = ""

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field-line"):
            yield Canvas(self._paint_label, self._form._get_ink, classes="field-label")
            yield FieldInput(self.spec, self._form.texts.get(self.spec.name, ""))
            yield Canvas(self._paint_unit, self._form._get_ink, classes="field-unit")
        yield Canvas(self._paint_below, self._form._get_ink, classes="field-below")

    def on_mount(self) -> None:
        error = self._form.reading.errors.get(self.spec.name, "")
        self.show_error(error if self._form._says(self.spec.name) else "")

    def show_error(self, error: str) -> None:
        """Say what is wrong below the field."""
        if error != self._error or not self.is_mounted:
            self._error = error
        wide = self._form._get_size() >= Size.WIDE
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
        glyphs = self._form._get_ink().glyphs
        if self.spec.name in self._form.changed:
            row.put(0, glyphs.changed, "warn")
        focused = self._form.focused_field is self.spec
        style = "err bold" if self._danger else "fg bold" if focused else "dim"
        row.put(2, self.spec.name, style, width - 3)
        return [row]

    def _paint_unit(self, width: int, height: int) -> list[Row]:
        row = Row()
        glyphs = self._form._get_ink().glyphs
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
            row.run(x, [(f"{self._form._get_ink().glyphs.failed} " if index == 0 else "  ", "err"), (line, "fg")])
            rows.append(row)
        if self._form._get_size() >= Size.WIDE:
            row = Row()
            if self._danger:
                row.put(x, f"{self._form._get_ink().glyphs.warning} runs code from the model folder", "err")
            else:
                row.put(x, self.spec.help, "faint", max(0, width - x))
            rows.append(row)
        return rows
