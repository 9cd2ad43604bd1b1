"""The sheet with all branches of a chat: what was asked and answered, where it forked, and a jump to any of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.chat.branches import OutlineLine, branch_of, outline
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: Rows of the text of the message under the cursor, where there is room.
PREVIEW = 5
#: Forks whose lines are drawn; deeper ones stand no further to the right.
DEEPEST = 8
#: Letters of a message that are looked at for its first line.
FIRST = 400


class ChatTreeSheet(Sheet):
    """Shows every branch of a chat; returns the id of the message to go to.

    Args:
        tree: All messages of the chat.
        leaf: The end of the branch that is shown.
        here: The message that the cursor of the transcript is on.
    """

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["dialogs.tcss", "chat_tree.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", show=False, priority=True),
        Binding("left,h", "fold(True)", show=False),
        Binding("right,l", "fold(False)", show=False),
        Binding("left_square_bracket", "stop(-1)", show=False),
        Binding("right_square_bracket", "stop(1)", show=False),
        Binding("z", "fold_all", show=False),
        Binding("v,q", "close", show=False),
    ]

    def __init__(self, tree: Sequence[Message], leaf: str | None, here: str | None) -> None:
        super().__init__()
        self._tree = tree
        self._shown = {message.id for message, _ in branch_of(tree, leaf)}
        self._here = here
        self._folded: set[str] = set()
        self._now = time.time()

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="tree"):
            yield ListCanvas(self._paint, self.ink, header=0, plane="panel", id="tree")
            yield Canvas(self._preview, self.ink, plane="panel", id="tree-preview")
            yield Canvas(self._keys, self.ink, plane="panel", id="tree-keys")

    def on_mount(self) -> None:
        canvas = self.query_one("#tree", ListCanvas)
        canvas.focus()
        canvas.choose(self._here)

    def fit(self) -> None:
        lines = len(self._tree) + (0 if self.tiny else 2)
        preview = PREVIEW + 1 if self.room >= Size.BASE else 0
        self.query_one("#tree-preview").styles.height = preview
        self.query_one("#tree-preview").display = bool(preview)
        most = self.app.size.width
        self.query_one("#sheet").styles.width = most if self.tiny else min(most, 110)
        self.query_one("#tree").styles.height = max(1, min(lines, self.rows_free - preview - 1))
        for canvas in self.query(Canvas):
            canvas.repaint()

    # --- painting ---------------------------------------------------------------------------------------

    @property
    def _lines(self) -> list[OutlineLine]:
        return outline(self._tree, self._folded)

    def _paint(self, width: int, height: int) -> list[Row]:
        glyphs, edge = self.ink().glyphs, 1 if self.tiny else 2
        rows: list[Row] = []
        lines = self._lines
        self.query_one("#tree", ListCanvas).header = 0 if self.tiny else 2
        if not self.tiny:
            forks = sum(1 for line in lines if line.begins)
            head = Row()
            x = head.put(edge, "Branches", "fg bold") + 3
            said = f"{len(self._tree)} messages   {forks} branches" if forks else f"{len(self._tree)} messages, no fork"
            head.put(x, said, "dim", max(0, width - x - edge))
            rows += [head, Row()]
        return rows + [self._line(line, glyphs, edge, width) for line in lines]

    def _line(self, line: OutlineLine, glyphs: Glyphs, edge: int, width: int) -> Row:
        message, row = line.message, Row(key=line.message.id)
        on_it = message.id in self._shown
        x = edge + 1
        deep = line.guides[-DEEPEST:]
        for at, more in enumerate(deep):
            own = line.begins and at == len(deep) - 1
            if own:
                row.put(x, (glyphs.tree_middle if more else glyphs.tree_last) + glyphs.hairline, "faint")
            elif more:
                row.put(x, glyphs.inside, "faint")
            x += 2
        mark, style = self._mark(message, glyphs)
        row.put(x, mark, style if on_it else "dim")
        x += 2
        note = self._note(line, width)
        room = width - x - 2 - (cell_len(note) + 2 if note else 0)
        style = ("fg bold" if message.role == "user" else "fg") if on_it else "dim"
        row.put(x, first_words(message), style, max(1, room))
        row.put_right(width - 2, note, "faint")
        return row

    @staticmethod
    def _mark(message: Message, glyphs: Glyphs) -> tuple[str, str]:
        if message.role == "user":
            return glyphs.right, "accent"
        if message.role == "tool":
            return glyphs.passed, "dim"
        if message.finish in ("failed", "interrupted"):
            return glyphs.failed, "err"
        return glyphs.bullet, "ok"

    def _note(self, line: OutlineLine, width: int) -> str:
        """Return what stands at the right of a line, as much of it as there is room for."""
        if line.hidden:
            return f"{line.below} more"
        message, parts = line.message, []
        if message.bookmarked_at is not None:
            parts.append("bookmarked" if width >= 60 else "*")
        if message.role == "assistant" and width >= 90 and message.model:
            parts.append(clean_line(message.model, limit=24))
        if width >= 70 and message.usage.completion_tokens:
            parts.append(f"{message.usage.completion_tokens} tok")
        if width >= 50:
            parts.append(f"{numbers.moment(numbers.when(message.created_at), self._now):>6}")
        return "   ".join(parts)

    def _preview(self, width: int, height: int) -> list[Row]:
        message = self._message
        rows = [Row()]
        if message is None:
            return rows
        text = message.content or message.error or message.reasoning
        lines = [part for line in text[:4000].splitlines() for part in wrap(clean_line(line), max(1, width - 6))]
        for index, part in enumerate(lines[:PREVIEW]):
            row = Row()
            cut = index == PREVIEW - 1 and len(lines) > PREVIEW
            row.put(3, part + (f" {self.ink().glyphs.ellipsis}" if cut else ""), "dim", width - 6)
            rows.append(row)
        return rows

    def _keys(self, width: int, height: int) -> list[Row]:
        arrows = self.ink().glyphs.left_right
        keys = (("enter", "go there"), ("[ ]", "forks"), (arrows, "fold"), ("z", "fold all"), ("esc", "close"))
        return [keys_row(width, *keys, edge=1 if self.tiny else 3)]

    # --- keys -------------------------------------------------------------------------------------------

    @property
    def _message(self) -> Message | None:
        key = self.query_one("#tree", ListCanvas).key
        return next((message for message in self._tree if message.id == key), None)

    def action_take(self) -> None:
        self.dismiss(self.query_one("#tree", ListCanvas).key)

    def action_stop(self, step: int) -> None:
        """Go to the next message at which a branch begins, or the one before."""
        canvas = self.query_one("#tree", ListCanvas)
        ids = [line.message.id for line in self._lines]
        at = ids.index(canvas.key) if canvas.key in ids else 0
        begins = [index for index, line in enumerate(self._lines) if line.begins]
        found = [index for index in begins if (index - at) * step > 0]
        if found:
            canvas.choose(ids[found[0] if step > 0 else found[-1]])

    def action_fold(self, fold: bool) -> None:
        """Fold what is below the message, or show it; folded already, go to where its branch begins."""
        canvas = self.query_one("#tree", ListCanvas)
        line = next((one for one in self._lines if one.message.id == canvas.key), None)
        if line is None:
            return
        if not fold:
            self._folded.discard(line.message.id)
        elif line.begins and line.below and not line.hidden:
            self._folded.add(line.message.id)
        else:
            self._to_beginning(line)
        canvas.repaint()

    def _to_beginning(self, line: OutlineLine) -> None:
        """Go to the message that begins the branch of this one; from there to that of the branch around it."""
        depth = len(line.guides) - (1 if line.begins else 0)
        before = self._lines[: [one.message.id for one in self._lines].index(line.message.id)]
        found = [one for one in before if one.begins and len(one.guides) <= depth]
        if found:
            self.query_one("#tree", ListCanvas).choose(found[-1].message.id)

    def action_fold_all(self) -> None:
        """Fold every branch that is not the one that is shown, or show all of them."""
        if self._folded:
            self._folded.clear()
        else:
            lines = self._lines
            self._folded = {one.message.id for one in lines if one.begins and one.message.id not in self._shown}
        self.query_one("#tree", ListCanvas).repaint()

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self.query_one("#tree-preview", Canvas).repaint()

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        if event.action == "open":
            self.action_take()


def first_words(message: Message) -> str:
    """Return the first line of a message, or what stands for it."""
    for line in message.content[:FIRST].splitlines():
        if line.strip():
            return clean_line(line.strip())
    if message.tool_calls:
        return clean_line(f"calls {', '.join(call.name for call in message.tool_calls)}", limit=200)
    if message.finish == "streaming":
        return "is being written"
    if message.error:
        return clean_line(message.error, limit=200)
    if message.reasoning:
        return "thought, without an answer"
    return "empty"
