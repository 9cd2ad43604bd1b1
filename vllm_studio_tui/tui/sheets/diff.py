"""The sheet that shows what would change in a recipe, or in a key, before it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.diff import diff_rows, note_rows
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.terminal.deferred import deferred, still_there
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.services.recipes.changes import Change

#: Rows of a window in which the name of the recipe still has one.
LEAST_WITH_HEAD = 4


class Proposed(Protocol):
    """A change that nobody has agreed to yet: whose it is, what it does, what differs and what follows."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def change(self) -> Change: ...
    @property
    def notes(self) -> Sequence[str]: ...


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
        proposals: Sequence[Proposed],
        *,
        number: int | None = None,
        verb: str = "save",
        edit: str = "edit first",
        keep: str = "leave it",
        look: Callable[[Any], Awaitable[Sequence[str]]] | None = None,
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
        self.query_one("#diff-body").focus()
        self._ask_what_follows()

    def fit(self) -> None:
        """Give the sheet the rows that it needs, and no more."""
        width = self.app.size.width
        if self.room >= Size.BASE:
            width = min(width, 100 if width >= 120 else 80)
        self.query_one("#sheet").styles.width = width
        parts = {"head": self._head(width, 0), "foot": self._foot(width, 0), "body": self._body(width, 0)}
        room = max(1, self.rows_free - len(parts["head"]) - len(parts["foot"]))
        for name, rows in parts.items():
            self.query_one(f"#diff-{name}").styles.height = min(room, len(rows)) if name == "body" else len(rows)
        for canvas in self.query(Canvas):
            canvas.repaint()

    @property
    def _edge(self) -> int:
        """The first column."""
        return {Size.LINE: 0, Size.STRIP: 0, Size.COMPACT: 1}.get(self.room, 3)

    @property
    def _now(self) -> Proposed:
        return self._proposals[self._at]

    # --- painting ---------------------------------------------------------------------------------------

    def _head(self, width: int, height: int) -> list[Row]:
        glyphs, one, edge = self.ink().glyphs, self._now, self._edge
        row, end = Row(), width - edge
        if len(self._proposals) > 1:
            text = f"{glyphs.left} {self._at + 1} of {len(self._proposals)} {glyphs.right}"
            start = row.put_right(end, text, "accent")
            row.link(start, start + 2, "turn:-1")
            row.link(end - 2, end, "turn:1")
            end = start - 2
        x = row.put(edge, one.name, "fg bold", max(4, end - edge)) + 3
        words = f"revision {self._number} -> {self._number + 1}" if self._number is not None else ""
        if words and x + len(words) <= end:
            row.put(x, words, "dim")
        rows = [row]
        if one.title and not self.tiny:
            title = Row()
            title.put(edge, one.title, "fg", width - 2 * edge)
            rows.append(title)
        if self.rows_free < LEAST_WITH_HEAD:
            return []  # what changes and the keys come first
        return [*rows, Row()] if self.room >= Size.BASE else rows

    def _body(self, width: int, height: int) -> list[Row]:
        inner = width - 2 * self._edge - (1 if self.tiny else 0)
        rows = diff_rows(self._now.change.fields, self._edge, inner)
        notes = note_rows((*self._now.notes, *self._found.get(self._at, ())), self.ink().glyphs, self._edge, inner)
        return [*rows, Row(), *notes] if notes and not self.tiny else rows + notes

    def _foot(self, width: int, height: int) -> list[Row]:
        glyphs, room = self.ink().glyphs, self.room
        first, space, rest = self._verb.partition(" ")
        number = f" as revision {self._number + 1}" if self._number is not None and room >= Size.BASE else ""
        keys = [("enter", f"{first}{number}{space}{rest}", "take")]
        if len(self._proposals) > 1:
            other = self._proposals[(self._at + 1) % len(self._proposals)]
            words = f"other: {other.title or other.change.words(2)}" if room >= Size.BASE else "other"
            keys.append((glyphs.left_right, words, "turn:1"))
        if self._edit and not self.tiny:
            keys.append(("e", self._edit, "edit"))
        keys.append(("esc", self._keep if room >= Size.BASE else "no", "close"))
        if room >= Size.BASE:
            rows = [Row()]
            beside = 3 + max(7, *(len(key) + 2 for key, _, _ in keys))
            for key, words, action in keys:
                row = Row()
                row.put(3, key, "accent bold" if key == "enter" else "fg bold")
                row.put(beside, words, "dim", max(4, width - beside - 3))
                row.link(3, width - 3, action)
                rows.append(row)
            return rows
        row, x = Row(), self._edge
        keys = [(key, words.replace(" and ", ", ") if self.tiny else words, action) for key, words, action in keys]
        needed = x + sum(len(key) + len(words) + 3 for key, words, _ in keys) - 2
        for key, words, action in keys:
            key = key.rpartition("/")[2] if needed > width else key  # of two keys spelled out the second
            after = row.run(x, [(key, "accent bold" if key == "enter" else "fg bold"), (f" {words}", "dim")])
            row.link(x, after, action)
            x = after + 2
        return [row] if self.tiny else [Row(), row]

    # --- answers ----------------------------------------------------------------------------------------

    def action_take(self) -> None:
        self.dismiss(f"take:{self._at}")

    def action_edit(self) -> None:
        if self._edit:
            self.dismiss(f"edit:{self._at}")

    def action_turn(self, step: int) -> None:
        self._at = (self._at + step) % len(self._proposals)
        self.query_one("#diff-body", ListCanvas).top = 0
        self.fit()
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
            self.run_worker(
                deferred(self._look_at, self._at, self._look), group="follows", exclusive=True, exit_on_error=False
            )

    async def _look_at(self, at: int, look: Callable[[Any], Awaitable[Sequence[str]]]) -> None:
        self._found[at] = tuple(await look(self._proposals[at]))
        if still_there(self):
            self.fit()
