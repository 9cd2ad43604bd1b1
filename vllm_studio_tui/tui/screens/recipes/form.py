"""The recipe form: sections, their fields, and beside them the checks and the command of the recipe as edited."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.recipes.form import FormField, Reading, form_fields, read_form, texts_of
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.recipes.field import FieldInput, FieldRow
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.tui.paint.ink import Ink


class RecipeForm(Container):
    """Edits a recipe.

    Args:
        recipe: None for a new recipe.
        get_ink: Returns the colours and glyphs in use.
        get_size: Returns the size class of the terminal.
    """

    SCOPE = "form"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("form")]

    class Done(Message):
        """The user saved the recipe, perhaps to launch it too. `was` is the recipe before."""

        def __init__(self, recipe: Recipe | None, *, launch: bool = False, was: Recipe | None = None) -> None:
            super().__init__()
            self.recipe = recipe
            self.launch = launch
            self.was = was

    class Asked(Message):
        """The user asked to choose a value of the field `name`, to edit as YAML, or to leave."""

        def __init__(self, what: str, name: str = "") -> None:
            super().__init__()
            self.what = what
            self.name = name

    class Changed(Message):
        """The texts of the form changed; `reading` is the recipe or the errors that they give."""

        def __init__(self, reading: Reading) -> None:
            super().__init__()
            self.reading = reading

    def __init__(self, recipe: Recipe | None, get_ink: Callable[[], Ink], get_size: Callable[[], Size]) -> None:
        super().__init__(id="form")
        self.recipe = recipe
        self.get_ink = get_ink
        self.get_size = get_size
        self.fields = form_fields()
        self.sections = list(dict.fromkeys(field.section for field in self.fields))
        self.section = self.sections[0]
        self.saved = texts_of(recipe)
        self.texts = dict(self.saved)
        self.reading = read_form(self.texts, recipe)
        self.side: list[Row] = []
        self._touched: set[str] = set()

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Canvas(self._paint_head, self.get_ink, id="form-head")
        with Horizontal():
            yield Canvas(self._paint_sections, self.get_ink, id="form-sections")
            yield VerticalScroll(id="form-fields", can_focus=False)
            yield Canvas(self._paint_side, self.get_ink, id="form-side")
        yield Canvas(self._paint_foot, self.get_ink, id="form-foot")

    async def on_mount(self) -> None:
        await self.show_section(self.section)

    async def show_section(self, section: str) -> None:
        """Show the fields of a section."""
        self.section = section
        body = self.query_one("#form-fields", VerticalScroll)
        async with self.batch():
            await body.remove_children()
            await body.mount_all([FieldRow(field, self) for field in self.fields if field.section == section])
        first = body.query(FieldInput).first()
        first.focus()
        self.repaint()

    def repaint(self) -> None:
        for canvas in self.query(Canvas):
            canvas.repaint()

    @property
    def changed(self) -> list[str]:
        """The names of the fields that differ from what was saved."""
        return [name for name, text in self.texts.items() if text.strip() != self.saved.get(name, "").strip()]

    # --- painting ---------------------------------------------------------------------------------------

    def _paint_head(self, width: int, height: int) -> list[Row]:
        wide = self.get_size() >= Size.WIDE
        row = Row()
        x = row.put(3 if wide else 2, self.texts.get("id") or "new recipe", "fg bold", 40) + 3
        count = len(self.changed)
        if count:
            x = row.put(x, f"{count} unsaved {'change' if count == 1 else 'changes'}", "warn")
        rows = [row]
        if not wide:
            line, x = Row(), 2
            for name in self.sections:
                mark = self.get_ink().glyphs.changed if self._differs(name) else ""
                end = line.put(x, f"{name}{mark}", "accent bold" if name == self.section else "dim")
                line.link(x, end, f"section:{name}")
                x = end + 2
            rows.append(line)
        return rows

    def _differs(self, section: str) -> bool:
        inside = {field.name for field in self.fields if field.section == section}
        return any(name in inside for name in self.changed)

    def _paint_sections(self, width: int, height: int) -> list[Row]:
        glyphs = self.get_ink().glyphs
        rows = []
        for name in self.sections:
            here = name == self.section
            row = Row(plane="sel" if here else "")
            if here:
                row.put(1, glyphs.cursor, "accent bold")
            row.put(3, name, "accent bold" if here else "dim")
            wrong = any(field.name in self.reading.errors for field in self.fields if field.section == name)
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
        """Draw the help of the focused field, where there is no room below each field."""
        field = self.focused_field
        row = Row()
        if field is None:
            return [row]
        if field.name == "trust_remote_code" and self.texts.get(field.name) == "yes":
            row.put(2, f"{self.get_ink().glyphs.warning} runs code from the model folder", "err")
        else:
            row.run(2, [("help  ", "faint"), (clean_line(field.help or field.name), "dim")])
        return [row]

    @property
    def focused_field(self) -> FormField | None:
        """The field that has the focus; None for none."""
        focused = self.screen.focused
        return focused.spec if isinstance(focused, FieldInput) else None

    # --- typing -----------------------------------------------------------------------------------------

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if not isinstance(event.input, FieldInput):
            return
        name = event.input.spec.name
        # The input shows a sanitised text: until the user types, the original value is kept.
        if clean_line(self.texts.get(name, "")) == event.value:
            return
        self.texts[name] = event.value
        self._touched.add(name)
        self.read()

    def read(self) -> None:
        """Parse the texts, and show the errors."""
        self.reading = read_form(self.texts, self.recipe)
        for row in self.query(FieldRow):
            row.show_error(self.reading.errors.get(row.spec.name, "") if self.shows_error_of(row.spec.name) else "")
        self.repaint()
        self.post_message(self.Changed(self.reading))

    def shows_error_of(self, name: str) -> bool:
        """Return whether the error of a field is shown: in a new recipe, not before the user changed the field."""
        return name in self._touched or self.recipe is not None

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text
        self._touched.add(name)
        for widget in self.query(FieldInput):
            if widget.spec.name == name:
                widget.value = text
                widget.cursor_position = len(text)
        self.read()

    def set_recipe(self, recipe: Recipe) -> None:
        """Set all fields from a recipe, as unsaved changes."""
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
        self._touched |= {field.name for field in self.fields}
        self.read()
        if self.reading.recipe is None:
            first = next(iter(self.reading.errors))
            section = next((field.section for field in self.fields if field.name == first), self.sections[0])
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
        if (field := self.focused_field) is not None:
            self.post_message(self.Asked("choose", field.name))

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
