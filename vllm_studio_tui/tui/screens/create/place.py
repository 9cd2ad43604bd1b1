"""The widget of the page on which a model becomes a recipe."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.css.query import NoMatches
from textual.widgets import Input

from vllm_studio_tui.domain.creation import Wishes
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.place import Page
from vllm_studio_tui.tui.screens.create import memory, rows
from vllm_studio_tui.tui.screens.create.cells import CellsCanvas
from vllm_studio_tui.tui.screens.create.fields import FIELDS, MOVES, CreateField, CreateInput, values_of, words_of
from vllm_studio_tui.tui.terminal.deferred import deferred, still_there
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from textual.widget import Widget

    from vllm_studio_tui.domain.creation import Creation
    from vllm_studio_tui.domain.fit import FitChange
    from vllm_studio_tui.tui.paint.ink import Row

#: Seconds without a key before it is worked out what a wish comes to.
REST = 0.15
#: Fields of a recipe that a change sets, and the field of the page that shows each.
SHOWN_AS = {"tensor_parallel_size": "gpus", "max_model_len": "context", "max_num_seqs": "users", "users": "users"}


class CreatePage(Page):
    """Five fields, and what comes of them."""

    SCOPE = "create"
    BINDINGS: ClassVar[list[BindingType]] = [one for one in actions.bindings("create") if one.id not in MOVES]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._model = ""
        self._said: dict[str, Any] = {}
        self._wrong: dict[str, str] = {}
        self._refused: set[str] = set()
        self._fields: dict[str, Any] = {}
        self._made: Creation | None = None
        self._error = ""
        self._working = False
        self._timer: Any = None

    def compose(self) -> ComposeResult:
        yield Canvas(lambda w, h: rows.head_rows(self.facts, self.size_class, w), self.get_ink, id="create-head")
        with Horizontal(id="create-top"):
            with Vertical(id="create-fields"):
                for spec in FIELDS:
                    yield CreateField(spec, self.get_ink, self._reason, self._step, self._go)
            yield ListCanvas(self._paint_side, self.get_ink, id="create-side")
        yield Canvas(self._paint_memory, self.get_ink, id="create-memory")
        yield Canvas(lambda w, h: [memory.fits_row(self.facts, self.size_class, w)], self.get_ink, id="create-fits")
        with Horizontal(id="create-lower"):
            yield CellsCanvas(self._paint_cells, self.get_ink, self._grid, self._now)
            yield ListCanvas(self._paint_else, self.get_ink, id="create-else")
        yield Canvas(lambda w, h: rows.foot_rows(self.facts, self.size_class, w, h), self.get_ink, id="create-foot")

    # --- which model ------------------------------------------------------------------------------------

    def open_item(self, item: str) -> None:
        if item == self._model and self._made is not None and self._typed:
            return  # as it was left
        self._model = item
        self._said, self._wrong, self._refused, self._fields = {}, {}, set(), {}
        self._made, self._error = None, ""
        for field in self.query(CreateInput):
            field.show("")
        self._plan_soon(0.0)

    def shown(self) -> None:
        super().shown()
        if self._made is None:
            self._plan_soon(0.0)

    def focus_first(self) -> None:
        try:
            self.query_one("#create-engine", CreateInput).focus()
        except NoMatches:
            self.call_after_refresh(self.focus_first)

    @property
    def _typed(self) -> bool:
        return bool(self._said or self._refused or self._fields)

    @property
    def facts(self) -> rows.PageFacts:
        return rows.PageFacts(
            self._model, self._made, self.ink.glyphs, self._error, self._working, self.shell.read_only
        )

    # --- painting ---------------------------------------------------------------------------------------

    def update_place(self) -> None:
        focused = self.shell.focused
        for row in self.query(CreateField):
            row.set_class(row.input is focused or (row.field == "engine" and not self._has_field(focused)), "-here")
        super().update_place()

    def _has_field(self, widget: Widget | None) -> bool:
        return isinstance(widget, CreateInput) and self in widget.ancestors

    def on_descendant_focus(self) -> None:
        self.update_place()

    def on_resize(self) -> None:
        self.call_after_refresh(self.update_place)

    def _paint_side(self, width: int, height: int) -> list[Row]:
        return rows.side_rows(self.facts, self.size_class, width, height)

    def _paint_memory(self, width: int, height: int) -> list[Row]:
        return memory.memory_rows(self.facts, self.size_class, width, plain=self.ink.plain)

    def _paint_cells(self, width: int, height: int, at: tuple[int, int]) -> list[Row]:
        return memory.grid_rows(self.facts, self.size_class, width, height, at)

    def _paint_else(self, width: int, height: int) -> list[Row]:
        return memory.change_rows(self.facts, self.size_class, width)

    def _reason(self, name: str) -> tuple[str, str]:
        if name in self._wrong:
            return "err", self._wrong[name]
        return "faint", self._made.reasons.get(name, "") if self._made is not None else ""

    def _grid(self) -> Any:
        return self._made.grid if self._made is not None else None

    def _now(self) -> tuple[int | None, int | None]:
        return (self._made.context, self._made.users) if self._made is not None else (None, None)

    # --- working it out ---------------------------------------------------------------------------------

    @property
    def wishes(self) -> Wishes:
        return Wishes(self._model, **self._said, refused=tuple(sorted(self._refused)), fields=dict(self._fields))

    def _plan_soon(self, rest: float = REST) -> None:
        self._working = True
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(max(rest, 0.01), self._plan_now)

    def _plan_now(self) -> None:
        self.run_worker(deferred(self._plan, self.wishes), group="create", exclusive=True, exit_on_error=False)

    async def _plan(self, wishes: Wishes) -> None:
        made, error = None, ""
        try:
            made = await self.shell.in_thread(partial(self.studio.creating.plan, wishes))
        except InvalidRecipe as problem:
            error = "; ".join(words for _, words in problem.problems) or problem.title
        except StudioError as problem:
            error = " ".join(one for one in (f"{problem.title}.", problem.cause, problem.advice) if one)
        except Exception:  # a fault of ours, which is told: nothing is being worked out any more
            if wishes == self.wishes:
                self._working, self._error = False, "This could not be worked out."
                self.update_place()
            raise
        if not still_there(self) or wishes != self.wishes:
            return
        self._working, self._error = False, error
        if made is not None:
            self._made = made
            self._show_values(made)
        self.update_place()
        self.shell.update_frame()

    def _show_values(self, made: Creation) -> None:
        words = words_of(made)
        for field in self.query(CreateInput):
            if field.choice or field.field not in self._said:
                field.show(words[field.field])

    # --- typing -----------------------------------------------------------------------------------------

    @on(Input.Changed, ".create-field")
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        field = event.input
        if not isinstance(field, CreateInput) or field.choice:
            return
        text = event.value.strip()
        self._wrong.pop(field.field, None)
        if not text:
            self._said.pop(field.field, None)
        elif field.field == "name":
            self._said["name"] = text
        elif text.isascii() and text.isdigit() and 0 < int(text[:12]) < 10**9 and len(text) < 11:
            self._said[field.field] = int(text)
        else:
            self._said.pop(field.field, None)
            self._wrong[field.field] = "a whole number" if field.field == "users" else "a number of tokens"
        self._plan_soon()
        self.update_place()

    @on(Input.Submitted, ".create-field")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if isinstance(event.input, CreateInput):
            self._go(event.input.field, 1)

    def _go(self, name: str, step: int) -> None:
        """Go to the field beside one; in a small window it is shown in its place."""
        fields = list(self.query(CreateField))
        index = next(index for index, one in enumerate(fields) if one.field == name)
        wanted = fields[(index + step) % len(fields)]
        for one in fields:
            one.set_class(one is wanted, "-here")
        self.call_after_refresh(wanted.input.focus)

    def _step(self, name: str, step: int) -> None:
        """Go to the next value of a choice."""
        if self._made is None or not (values := values_of(self._made, name)):
            return
        now = self._made.engine if name == "engine" else self._said.get("gpus", self._made.gpus)
        if name == "engine":
            now = self._said.get("engine", now)
        index = values.index(now) if now in values else -1
        self._take(name, values[(index + step) % len(values)])

    def _take(self, name: str, value: Any) -> None:
        self._said[name] = value
        if name == "engine":
            self._said.pop("gpus", None)
            self._fields.clear()
        self._plan_soon(0.0)

    # --- actions ----------------------------------------------------------------------------------------

    def parts(self) -> list[Widget]:
        first = list(self.query(CreateInput))[:1]
        others = [one for one in self.query("#create-side, #create-cells, #create-else") if one.focusable]
        return [*first, *(one for one in others if getattr(one, "rows", None) and self._has_keys(one))]

    def _has_keys(self, widget: Widget) -> bool:
        return isinstance(widget, CellsCanvas) or any(row.key is not None for row in getattr(widget, "rows", ()))

    def next_part(self, step: int) -> None:
        parts = self.parts()
        at = next((index for index, part in enumerate(parts) if part.has_focus), 0)
        if parts:
            parts[(at + step) % len(parts)].focus()

    def possible(self, name: str) -> bool:
        focused = self.shell.focused
        if name in ("take", "mark"):
            return isinstance(focused, ListCanvas) and focused.key is not None
        if name == "choose":
            return isinstance(focused, CreateInput) and focused.choice
        if name in ("save", "launch", "find"):
            return self._made is not None
        return True

    def action_take(self) -> None:
        focused = self.shell.focused
        key = focused.key if isinstance(focused, ListCanvas) else None
        kind, _, value = (key or "").partition(":")
        if kind == "engine":
            self._take("engine", value)
        elif kind == "offer":
            self._toggle(value)
        elif kind == "change" and self._made is not None and int(value) < len(self._made.changes):
            self._take_change(self._made.changes[int(value)])

    action_mark = action_take

    def _toggle(self, name: str) -> None:
        self._refused ^= {name}
        self._plan_soon(0.0)

    def _take_change(self, change: FitChange) -> None:
        for name, value in change.fields.items():
            if (shown := SHOWN_AS.get(name)) is not None:
                self._said[shown] = value
            else:
                self._fields[name] = value
        self._plan_soon(0.0)

    def on_cells_canvas_taken(self, event: CellsCanvas.Taken) -> None:
        event.stop()
        self._said["context"], self._said["users"] = event.cell.context, event.cell.users
        for field in self.query(CreateInput):
            if field.field in ("context", "users"):
                field.show(str(self._said[field.field]))
        self._plan_soon(0.0)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        if event.action == "open":
            event.stop()
            self.action_take()
        else:
            super().on_canvas_clicked(event)

    def action_choose(self) -> None:
        focused = self.shell.focused
        if isinstance(focused, CreateInput) and focused.choice:
            self.shell.spawn(self._choose(focused.field))

    async def _choose(self, name: str) -> None:
        from vllm_studio_tui.tui.screens.create.flows import choose_value

        made = self._made
        if (
            made is not None
            and (value := await choose_value(self.shell, made, name, values_of(made, "gpus"))) is not None
        ):
            self._take(name, value)

    def action_why(self) -> None:
        from vllm_studio_tui.tui.sheets.dialogs import Pages

        facts = self.facts
        self.shell.push_screen(Pages(lambda ink, width: rows.why_rows(facts, width)))

    def action_find(self) -> None:
        self.shell.spawn(self._finish(None))

    def action_save(self) -> None:
        self.shell.spawn(self._finish(launch=False))

    def action_launch(self) -> None:
        self.shell.spawn(self._finish(launch=True))

    async def _finish(self, launch: bool | None) -> None:
        """Save, and run it, or open the form on it; what was typed just now is worked out first."""
        from vllm_studio_tui.tui.screens.create.flows import keep, open_form, run_kept

        if self._wrong:
            name = next(iter(self._wrong))
            self.query_one(f"#create-{name}", CreateInput).focus()
            label = next(one[1] for one in FIELDS if one[0] == name)
            self.shell.tell(f"{label}: {self._wrong[name]}.", "warning")
            return
        if self._working:
            await self._plan(self.wishes)
        if self._made is None or self._error:
            self.shell.tell(self._error or "It is not known yet what this model needs.", "warning")
            return
        made = self._made
        if launch is not None and not await keep(self.shell, made):
            return
        self._clear()
        if launch is None:
            await open_form(self.shell, made)
        elif launch:
            await run_kept(self.shell, made)

    async def _leave(self) -> None:
        from vllm_studio_tui.tui.screens.create.flows import ask_leaving

        if not self._typed:
            self._close()
            return
        answer = await ask_leaving(self.shell)
        if answer == "s":
            self.action_save()
        elif answer == "d":
            self._close()

    def _close(self) -> None:
        self._clear()
        self.shell.close_page()

    def _clear(self) -> None:
        self._model, self._made, self._error = "", None, ""
        self._said, self._wrong, self._refused, self._fields = {}, {}, set(), {}

    def escape(self) -> bool:
        self.shell.spawn(self._leave())
        return True

    def escape_word(self) -> str:
        return "back"

    def part_word(self, step: int) -> str:
        return "part" if step > 0 and len(self.parts()) > 1 else ""

    def read_again(self) -> None:
        self._plan_soon(0.0)
