"""The recipe form: sections and their fields; around them the checks, what changes, help and the command."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.recipes.form import Reading, read_form, texts_of
from vllm_studio_tui.services.recipes.form_fields import (
    FormField,
    blank_text,
    engine_of,
    flag_of,
    form_fields,
    is_shown,
)
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.recipes import form_rows as paint
from vllm_studio_tui.tui.screens.recipes.field import MOVES, FieldInput, FieldRow, offers, without_value
from vllm_studio_tui.tui.screens.recipes.path_list import PathList
from vllm_studio_tui.tui.screens.recipes.plans import Plan
from vllm_studio_tui.tui.terminal.deferred import deferred
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.recipes.revisions import Revision
    from vllm_studio_tui.services.recipes.starting import EngineHere
    from vllm_studio_tui.tui.paint.ink import Ink


class RecipeForm(Container):
    """Edits a recipe.

    Args:
        recipe: None for a new recipe.
        get_ink: Returns the colours and glyphs in use.
        get_size: Returns the size class of the terminal.
        engines: Which engines are installed here.
        revisions: Those of the recipe, the latest first.
        draft: Texts of a new recipe to begin with.
        preset: Likewise; those that are lost without a question.

    Attributes:
        plan: What the recipe would launch, as it was last looked at; None: not known.
    """

    SCOPE = "form"
    BINDINGS: ClassVar[list[BindingType]] = [one for one in actions.bindings("form") if one.id not in MOVES]

    class Done(Message):
        """The user saved the recipe, perhaps to launch it too. `was` is the recipe before."""

        def __init__(self, recipe: Recipe | None, *, launch: bool = False, was: Recipe | None = None) -> None:
            super().__init__()
            self.recipe = recipe
            self.launch = launch
            self.was = was

    class Asked(Message):
        """The user asked to choose a value of the field `name`, to find a field, for all checks, YAML or to leave."""

        def __init__(self, what: str, name: str = "") -> None:
            super().__init__()
            self.what = what
            self.name = name

    class Changed(Message):
        """The texts of the form changed; `reading` is the recipe or the errors that they give."""

        def __init__(self, reading: Reading) -> None:
            super().__init__()
            self.reading = reading

    def __init__(
        self,
        recipe: Recipe | None,
        get_ink: Callable[[], Ink],
        get_size: Callable[[], Size],
        *,
        engines: Sequence[EngineHere] = (),
        revisions: Sequence[Revision] = (),
        draft: Mapping[str, str] | None = None,
        preset: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(id="form")
        self.recipe = recipe
        self.get_ink = get_ink
        self.get_size = get_size
        self.engines = tuple(engines)
        self.revisions = tuple(revisions)
        self.plan: Plan | None = None
        self.fields = form_fields()
        self.saved = {**texts_of(recipe), **(preset or {})}
        self.texts = {**self.saved, **(draft or {})}
        self.reading = read_form(self.texts, recipe)
        self._found: set[str] = set()
        self._touched: set[str] = set(draft or ())
        self.section = self.sections[0]

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Canvas(self._paint_head, self.get_ink, id="form-head")
        with Horizontal():
            yield Canvas(lambda width, height: paint.section_rows(self.facts, width), self.get_ink, id="form-sections")
            with Vertical(id="form-middle"):
                yield Canvas(lambda width, height: [paint.title_row(self.facts)], self.get_ink, id="form-title")
                yield VerticalScroll(id="form-fields", can_focus=False)
                yield Canvas(self._paint_foot, self.get_ink, id="form-foot")
            yield Canvas(self._paint_side, self.get_ink, id="form-side")

    async def on_mount(self) -> None:
        await self.show_section(self.section)

    def shown_fields(self, section: str) -> list[FormField]:
        """Return the fields of a section that mean something for the engine, and those that were looked for."""
        return [
            field
            for field in self.fields
            if field.section == section and (field.name in self._found or is_shown(field, self.texts))
        ]

    @property
    def sections(self) -> list[str]:
        """The sections that have a field for this engine."""
        return [name for name in dict.fromkeys(field.section for field in self.fields) if self.shown_fields(name)]

    async def show_section(self, section: str, name: str | None = None) -> None:
        """Show the fields of a section, and focus the field `name`, or the first."""
        self.section = section
        body = self.query_one("#form-fields", VerticalScroll)
        async with self.batch():
            await body.remove_children()
            await body.mount_all([FieldRow(field, self) for field in self.shown_fields(section)])
        inputs = list(body.query(FieldInput))
        wanted = next((one for one in inputs if one.spec.name == name), inputs[0] if inputs else None)
        if wanted is not None:
            wanted.focus()
        self.repaint()

    async def find(self, name: str) -> None:
        """Go to a field, also to one that this engine does not use."""
        self._found.add(name)
        field = next(field for field in self.fields if field.name == name)
        await self.show_section(field.section, name)

    def repaint(self) -> None:
        for row in self.query(FieldRow):
            row.show_trouble()
        for canvas in self.query(Canvas):
            canvas.repaint()

    @property
    def changed(self) -> list[str]:
        """The names of the fields that differ from what was saved."""
        return [name for name, text in self.texts.items() if text.strip() != self.saved.get(name, "").strip()]

    @property
    def marked(self) -> list[str]:
        """Those of `changed` that are marked: in a new recipe everything is new."""
        return self.changed if self.recipe is not None else []

    # --- what is known of the fields --------------------------------------------------------------------

    def blank_of(self, field: FormField) -> str:
        return blank_text(field, self.texts, new=self.recipe is None)

    def remark_of(self, field: FormField) -> str:
        if field.name != "backend":
            return ""
        here = next((one for one in self.engines if one.name == engine_of(self.texts)), None)
        if here is None or here.usable is None:
            return ""
        return f"{here.words} is installed" if here.usable else "not installed here"

    def trouble_of(self, name: str) -> tuple[str, str]:
        error = self.reading.errors.get(name, "")
        if error:
            return ("error", without_value(error)) if name in self._touched or self.recipe is not None else ("", "")
        if name == "trust_remote_code" and self.texts.get(name) == "yes":
            return "error", "runs code from the model folder"
        for problem in self.plan.problems if self.plan is not None else ():
            if problem.field == name:
                return problem.severity, problem.message
        return "", ""

    @property
    def focused_field(self) -> FormField | None:
        """The field that has the focus; None for none."""
        focused = self.screen.focused
        return focused.spec if isinstance(focused, FieldInput) else None

    @property
    def facts(self) -> paint.FormFacts:
        """What is drawn around the fields."""
        field = self.focused_field
        by_name = {one.name: one for one in self.fields}
        changes = [
            (name, self._shown_value(by_name[name], self.saved.get(name, "")),
             self._shown_value(by_name[name], self.texts[name]))
            for name in self.changed if name in by_name
        ]  # fmt: skip
        return paint.FormFacts(
            self.texts.get("id") or (self.reading.recipe.id if self.reading.recipe is not None else ""),
            self.recipe is None,
            self.fields,
            self.section,
            self.sections,
            field,
            flag_of(field, self.texts) if field is not None else "",
            changes,
            {name: without_value(words) for name, words in self.reading.errors.items()},
            self.plan,
            self.revisions,
            self.get_ink().glyphs,
        )

    def _shown_value(self, field: FormField, text: str) -> str:
        return field.shown(text.strip()) or self.blank_of(field) or "blank"

    # --- painting ---------------------------------------------------------------------------------------

    def _paint_head(self, width: int, height: int) -> list[Row]:
        return paint.head_rows(self.facts, self.get_size(), width)

    def _paint_side(self, width: int, height: int) -> list[Row]:
        return paint.side_rows(self.facts, width, height, time.time())

    def _paint_foot(self, width: int, height: int) -> list[Row]:
        return paint.foot_rows(self.facts, self.get_size(), width, height)

    @property
    def paths(self) -> PathList | None:
        """The list of paths, while it is open."""
        return next((one for one in self.query(PathList) if one.is_open), None)

    def on_path_list_taken(self, event: PathList.Taken) -> None:
        event.stop()
        self.set_text("model_path", event.path)
        if event.path.endswith("/"):  # what is in it comes next
            self.query_one(PathList).look(event.path)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.focus_next(".field")

    # --- typing -----------------------------------------------------------------------------------------

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if not isinstance(event.input, FieldInput):
            return
        field = event.input.spec
        name = field.name
        # The input shows a sanitised text: until the user types, the original value is kept.
        if clean_line(field.shown(self.texts.get(name, ""))) == event.value:
            return
        self.texts[name] = field.stored(event.value)
        if event.input.paths is not None:
            event.input.paths.look(event.value)
        self._touched.add(name)
        self.read()

    def read(self) -> None:
        """Parse the texts, and show what is wrong."""
        before = [field.name for field in self.shown_fields(self.section)]
        self.reading = read_form(self.texts, self.recipe)
        if self.reading.recipe is None:
            self.plan = None
        self.repaint()
        self.post_message(self.Changed(self.reading))
        if [field.name for field in self.shown_fields(self.section)] != before and self.is_mounted:
            # Another engine has other fields.
            focused = self.focused_field
            shown = self.show_section(self.section, focused.name if focused is not None else None)
            self.run_worker(shown, exclusive=True, group="section")

    def show_plan(self, reading: Reading, plan: Plan | None) -> None:
        """Show what a recipe would launch, unless something else was typed meanwhile."""
        if reading is self.reading:
            self.plan = plan
            self.repaint()

    def set_text(self, name: str, text: str) -> None:
        """Set the text of a field."""
        self.texts[name] = text
        self._touched.add(name)
        for widget in self.query(FieldInput):
            if widget.spec.name == name:
                widget.value = clean_line(widget.spec.shown(text))
                widget.cursor_position = len(widget.value)
        self.read()

    def set_recipe(self, recipe: Recipe) -> None:
        """Set all fields from a recipe, as unsaved changes."""
        self.texts = texts_of(recipe)
        for widget in self.query(FieldInput):
            widget.value = clean_line(widget.spec.shown(self.texts.get(widget.spec.name, "")))
        self._touched.add("id")
        self.read()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.repaint()

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.repaint)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        kind, _, name = event.action.partition(":")
        if kind == "section":
            event.stop()
            self.run_worker(deferred(self.show_section, name), exclusive=True, group="section")
        elif event.action.startswith("form."):
            event.stop()
            self.post_message(self.Asked(event.action.removeprefix("form.")))

    # --- actions ----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"form.{action.replace('_', '-')}")
        if known is not None and known.writes and self.app.read_only:  # type: ignore[attr-defined]
            return False
        if action == "choose":
            return self.focused_field is not None and offers(self.focused_field)
        return super().check_action(action, parameters)

    def _finish(self, *, launch: bool) -> None:
        self._touched |= {field.name for field in self.fields}
        self.read()
        if self.reading.recipe is None:
            first = next(iter(self.reading.errors))
            name = first if any(field.name == first for field in self.fields) else self.fields[0].name
            self.run_worker(deferred(self.find, name), exclusive=True, group="section")
            return
        self.post_message(self.Done(self.reading.recipe, launch=launch, was=self.recipe))

    def action_save(self) -> None:
        self._finish(launch=False)

    def action_launch(self) -> None:
        self._finish(launch=True)

    def action_choose(self) -> None:
        if (field := self.focused_field) is not None:
            self.post_message(self.Asked("choose", field.name))

    def action_find(self) -> None:
        self.post_message(self.Asked("find"))

    def action_info(self) -> None:
        self.post_message(self.Asked("info"))

    def action_yaml(self) -> None:
        self.post_message(self.Asked("yaml"))

    def action_leave(self) -> None:
        if (paths := self.paths) is not None:
            paths.close()
            return
        self.post_message(self.Asked("leave"))

    def turn(self, step: int) -> None:
        """Go to another section, of which the first field gets the focus."""
        sections = self.sections
        index = sections.index(self.section) if self.section in sections else 0
        section = sections[(index + step) % len(sections)]
        self.run_worker(deferred(self.show_section, section), exclusive=True, group="section")

    def action_next_section(self) -> None:
        if (paths := self.paths) is not None:
            paths.take()
        else:
            self.turn(1)

    def action_previous_section(self) -> None:
        self.turn(-1)
