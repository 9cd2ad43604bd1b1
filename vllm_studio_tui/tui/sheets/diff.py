"""The sheet that shows what would change in a recipe, before it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from vllm_studio_tui.tui.paint.diff import diff_rows, note_rows
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.services.recipes.changes import Proposal

#: Rows and columns below which the sheet takes the whole window and leaves out titles.
SMALL = (60, 14)


class DiffSheet(Sheet):
    """Shows one of several proposals at a time; returns `take:N`, `edit:N`, or None.

    Args:
        number: The revision that the recipe has; None where it is new or not counted.
        verb: What enter does, such as `save and run`.
        edit: What `e` does; empty: it is not offered.
        look: Finds out in the background what follows from a proposal.
    """

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["dialogs.tcss", "diff.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", show=False, priority=True),
        Binding("left,h", "turn(-1)", show=False),
        Binding("right,l", "turn(1)", show=False),
        Binding("e", "edit", show=False),
    ]

    def __init__(
        self,
        proposals: Sequence[Proposal],
        *,
        number: int | None = None,
        verb: str = "save",
        edit: str = "edit first",
        keep: str = "leave it",
        look: Callable[[Proposal], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        super().__init__()
        self._proposals = tuple(proposals)
        self._number = number
        self._verb = verb
        self._edit = edit
        self._keep = keep
        self._look = look
        self._at = 0
        self._found: dict[int, tuple[str, ...]] = {}

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="diff"):
            yield Canvas(self._head, self.ink, plane="panel", id="diff-head")
            yield ListCanvas(self._body, self.ink, plane="panel", id="diff-body")
            yield Canvas(self._foot, self.ink, plane="panel", id="diff-foot")

    def on_mount(self) -> None:
        self._fit()
        self.query_one("#diff-body").focus()
        self._ask_what_follows()

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    def _fit(self) -> None:
        """Give the sheet the rows that it needs, and no more."""
        width, height = self.app.size
        self.set_class(self._small, "-small")
        inner = min(width, 100 if width >= 120 else 80) if not self._small else width
        self.query_one("#sheet").styles.width = inner
        head, foot = len(self._head(inner, 0)), len(self._foot(inner, 0))
        room = max(1, height - head - foot - (0 if self._small else 6))
        self.query_one("#diff-head").styles.height = head
        self.query_one("#diff-foot").styles.height = foot
        self.query_one("#diff-body").styles.height = min(room, len(self._body(inner, 0)))
        for canvas in self.query(Canvas):
            canvas.repaint()

    @property
    def _small(self) -> bool:
        return self.app.size.width < SMALL[0] or self.app.size.height < SMALL[1]

    @property
    def _now(self) -> Proposal:
        return self._proposals[self._at]

    # --- painting ---------------------------------------------------------------------------------------

    def _head(self, width: int, height: int) -> list[Row]:
        glyphs, one = self.ink().glyphs, self._now
        row, edge = Row(), 0 if self._small else 3
        end = width - edge
        if len(self._proposals) > 1:
            text = f"{glyphs.left} {self._at + 1} of {len(self._proposals)} {glyphs.right}"
            start = row.put_right(end, text, "accent")
            row.link(start, start + 2, "turn:-1")
            row.link(end - 2, end, "turn:1")
            end = start - 2
        x = row.put(edge, one.after.id, "fg bold", max(4, end - edge)) + 3
        if not self._small and (words := self._revisions()) and x + len(words) <= end:
            row.put(x, words, "dim")
        if self._small or not one.title:
            return [row] if self._small else [row, Row()]
        title = Row()
        title.put(edge, one.title, "fg", width - 2 * edge)
        return [row, title, Row()]

    def _revisions(self) -> str:
        return f"revision {self._number} -> {self._number + 1}" if self._number is not None else ""

    def _body(self, width: int, height: int) -> list[Row]:
        edge = 0 if self._small else 3
        inner = width - 2 * edge - (1 if self._small else 0)
        rows = diff_rows(self._now.change.fields, edge, inner)
        notes = note_rows(self._notes(), self.ink().glyphs, edge, inner)
        if notes and not self._small:
            rows.append(Row())
        return rows + notes

    def _notes(self) -> tuple[str, ...]:
        return (*self._now.notes, *self._found.get(self._at, ()))

    def _foot(self, width: int, height: int) -> list[Row]:
        several = len(self._proposals) > 1
        if self._small:
            row = Row()
            parts = [("enter", "accent bold", self._verb.replace(" and ", ", ")), ("esc", "fg bold", "no")]
            if several:
                parts.insert(1, ("→" if not self.ink().glyphs.ascii else ">", "fg bold", "other"))
            if self._edit and width >= 50:
                parts.insert(-1, ("e", "fg bold", "edit"))
            x = 0
            for key, style, words in parts:
                x = row.run(x, [(key, style), (f" {words}", "dim")]) + 2
            return [row]
        rows = [Row()]
        number = f" as revision {self._number + 1}" if self._number is not None else ""
        first, space, rest = self._verb.partition(" ")
        keys = [("enter", "accent bold", f"{first}{number}{space}{rest}", "take")]
        if several:
            arrows = self.ink().glyphs.left_right
            other = self._proposals[(self._at + 1) % len(self._proposals)]
            keys.append((arrows, "fg bold", f"other: {other.title or other.change.words(2)}", "turn:1"))
        if self._edit:
            keys.append(("e", "fg bold", self._edit, "edit"))
        keys.append(("esc", "fg bold", self._keep, "close"))
        for key, style, words, action in keys:
            row = Row()
            row.put(3, key, style)
            row.put(10, words, "dim", max(4, width - 13))
            row.link(3, width - 3, action)
            rows.append(row)
        return rows

    # --- answers ----------------------------------------------------------------------------------------

    def action_take(self) -> None:
        self.dismiss(f"take:{self._at}")

    def action_edit(self) -> None:
        if self._edit:
            self.dismiss(f"edit:{self._at}")

    def action_turn(self, step: int) -> None:
        self._at = (self._at + step) % len(self._proposals)
        self.query_one("#diff-body", ListCanvas).top = 0
        self._fit()
        self._ask_what_follows()

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        what, _, step = event.action.partition(":")
        if what == "turn":
            self.action_turn(int(step))
        elif what in ("take", "edit", "close"):
            getattr(self, f"action_{what}")()

    # --- what follows -----------------------------------------------------------------------------------

    def _ask_what_follows(self) -> None:
        if self._look is not None and self._at not in self._found:
            self.run_worker(self._look_at(self._at, self._look), group="follows", exclusive=True, exit_on_error=False)

    async def _look_at(self, at: int, look: Callable[[Proposal], Awaitable[Sequence[str]]]) -> None:
        self._found[at] = tuple(await look(self._proposals[at]))
        if self.is_attached:
            self._fit()
