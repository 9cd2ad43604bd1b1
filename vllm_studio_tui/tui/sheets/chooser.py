"""A dialog with a search field and a list: command palette, quick launch, pickers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.sheets.dialogs import TAKE, Option, Sheet
from vllm_studio_tui.tui.terminal.deferred import deferred
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: The most columns of the list for a size of the window, the fewest, and the most rows.
WIDTHS = {Size.FULL: 88, Size.WIDE: 88, Size.BASE: 64, Size.COMPACT: 56}
NARROWEST = 40
MOST_ROWS = 24


@dataclass(frozen=True, slots=True)
class Choice:
    """An entry of the list.

    Attributes:
        value: What the dialog returns for it.
        label: Its text. The search looks in it, in `words` and in `group`.
        note: Its state, in the second column. Two blanks part what is left out from what stays where room is short.
        key: The key that does the same outside of the dialog.
        group: The heading that it is listed under.
        mark: A glyph and its colour before the label.
    """

    value: str
    label: str
    note: str = ""
    key: str = ""
    group: str = ""
    words: str = ""
    mark: tuple[str, str] | None = None


class Chooser(Sheet):
    """Asks for one entry of a list, with a search field above it.

    Args:
        free: Return the typed text where no entry matches it.
        preview: Called with the value under the cursor whenever that changes, to show a theme at once, for example.
        load: Loads the entries in the background. The dialog opens at once; Enter pressed before they are there takes
            the first match.
        keys: The keys of `extra`, each with its word, as they are named below the list.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        TAKE,
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
    ]

    def __init__(
        self,
        choices: Sequence[Choice] | Callable[[str], Sequence[Choice]],
        *,
        title: str = "",
        empty: str = "Nothing here.",
        free: bool = False,
        preview: Callable[[str], None] | None = None,
        extra: Sequence[Option] = (),
        initial: str = "",
        load: Callable[[], Awaitable[Sequence[Choice]]] | None = None,
        keys: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__()
        self._load = load
        self._keys = tuple(keys)
        self._enter_waits = False
        self._given = choices
        self._title = title
        self._empty = empty
        self._free = free
        self._preview = preview
        self._extra = tuple(extra)
        self._initial = initial
        self._matches: list[Choice] = []
        self._total = 0
        self._tallest = self._widest = self._labels = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="chooser"):
            yield Input(value=self._initial, placeholder=clean_line(self._title), id="words", select_on_focus=False)
            yield ListCanvas(self._paint, self.ink, plane="panel", id="choices")
            yield Canvas(self._foot, self.ink, plane="panel", id="chooser-foot")

    def on_mount(self) -> None:
        self.query_one("#choices", ListCanvas).can_focus = False
        self.set_class(self._preview is not None, "-clear")  # what is shown beforehand is to be seen
        self.query_one("#words", Input).focus()
        if self._load is not None:
            self.run_worker(self._loaded(self._load), group="match", exit_on_error=False)
        else:
            self._match(self._initial)

    def fit(self) -> None:
        """As tall as its entries and as wide as the longest one: measured once for all that can be chosen from."""
        every = self._measured
        groups = len({choice.group for choice in every if choice.group})
        self._tallest = max(self._tallest, len(every) + groups, 2 if self._free else 1)
        if not every and self._load is None:
            self._tallest = max(self._tallest, len(wrap(self._empty, NARROWEST - 6)))
        wanted = self._tallest + (0 if self.tiny else 1)  # a line above them
        choices = self.query_one("#choices", ListCanvas)
        choices.styles.height = max(1, min(wanted, MOST_ROWS, self.rows_free - 2))  # the field, and the keys
        most = self.app.size.width if self.tiny else min(WIDTHS[self.room], self.app.size.width)
        self._widest = max(self._widest, self._width_of(every), NARROWEST)
        self.query_one("#sheet").styles.width = most if self.tiny else min(most, self._widest)
        self.query_one("#chooser-foot", Canvas).repaint()

    @property
    def _measured(self) -> Sequence[Choice]:
        return self._matches if callable(self._given) else self._given

    def _width_of(self, every: Sequence[Choice]) -> int:
        """Return the cells that the longest entry takes."""
        self._labels = max((cell_len(one.label) + 2 * (one.mark is not None) for one in every), default=0)
        notes = max((cell_len(one.note) + 2 for one in every if one.note), default=0)
        keys = max((cell_len(one.key) + 2 for one in every if one.key), default=0)
        foot = 2 + sum(
            cell_len(key) + len(words) + 4 for key, words in (("enter", "take it"), *self._keys, ("esc", "close"))
        )
        return max(4 + self._labels + notes + keys + 3, cell_len(self._title) + 6, foot if self._keys else 0)

    def _foot(self, width: int, height: int) -> list[Row]:
        row = keys_row(width, ("enter", "take it"), *self._keys, ("esc", "close"), edge=0 if self.tiny else 2)
        if self.tiny:
            row.put_right(width, self._count(), "faint")
        return [row]

    def _count(self) -> str:
        typed = self.query_one("#words", Input).value.strip()
        return f"{len(self._matches)} of {self._total}" if typed else f"{self._total}"

    async def _loaded(self, load: Callable[[], Awaitable[Sequence[Choice]]]) -> None:
        self._given = await load()
        self._load = None
        self._match(self.query_one("#words", Input).value)
        if self._enter_waits and (choice := self._current()) is not None:
            self.dismiss(choice.value)

    @on(Input.Changed, "#words")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._load is None:
            self._match(event.value)

    def _match(self, typed: str) -> None:
        if callable(self._given):
            # It may query a database; a newer query cancels the one before.
            self.run_worker(
                deferred(self._ask_for, self._given, typed), exclusive=True, group="match", exit_on_error=False
            )
        else:
            self._show_matches(typed, self._given)

    async def _ask_for(self, given: Callable[[str], Sequence[Choice]], typed: str) -> None:
        self._show_matches(typed, await asyncio.to_thread(given, typed))

    def _show_matches(self, typed: str, every: Sequence[Choice]) -> None:
        words = typed.lower().split()
        self._total = len(every)
        found = []
        for choice in every:
            inside = f"{choice.label} {choice.words} {choice.group}".lower()
            if callable(self._given) or all(word in inside for word in words):
                # Labels that begin with the words come before those that only contain them; groups stay together.
                found.append((0 if choice.label.lower().startswith(typed.lower().strip()) else 1, choice))
        groups = list(dict.fromkeys(choice.group for _, choice in found))
        found.sort(key=lambda one: (groups.index(one[1].group), one[0]) if words else (groups.index(one[1].group), 0))
        self._matches = [choice for _, choice in found[:400]]
        canvas = self.query_one("#choices", ListCanvas)
        canvas.top = 0
        canvas.key = self._key(0) if self._matches else None
        self.fit()
        canvas.repaint()
        self._previewed()

    @staticmethod
    def _key(index: int) -> str:
        return str(index)

    def _paint(self, width: int, height: int) -> list[Row]:
        glyphs = self.ink().glyphs
        rows: list[Row] = []
        typed = self.query_one("#words", Input).value.lower().split()
        if not self.tiny:
            line = Row()
            line.put(2, glyphs.hairline * max(0, width - 4), "track")
            line.put_right(width - 2, f" {self._count()}", "faint")
            rows.append(line)
        group = ""
        keys = max((cell_len(choice.key) for choice in self._matches), default=0)
        notes = max((cell_len(choice.note) for choice in self._matches), default=0)
        # Notes stand beside the longest label; where both do not fit, they get no less than their half.
        middle = min(4 + self._labels + 2, max(width // 2, width - notes - keys - 4))
        for index, choice in enumerate(self._matches):
            if choice.group != group:
                group = choice.group
                head = Row()
                head.put(2, group, "faint")
                rows.append(head)
            row = Row(key=self._key(index))
            x = 4
            if choice.mark is not None:
                row.put(4, *choice.mark)
                x = 6
            room = (middle if choice.note else width - 6 - len(choice.key)) - x - 1
            put_matched(row, x, clean_line(choice.label), typed, room)
            if choice.note:
                room = max(0, width - middle - 3 - len(choice.key))
                row.put(middle, whole_parts(choice.note, room), "dim", room)
            row.put_right(width - 2, choice.key, "fg bold")
            rows.append(row)
        if not self._matches:
            words = " ".join(typed)
            empty = self._empty if not words else f'Nothing matches "{words}".'
            for text in wrap("reading" if self._load is not None else empty, max(1, width - 6)):
                row = Row()
                row.put(4, text, "dim", width - 6)
                rows.append(row)
            if self._free and words:
                row = Row()
                row.run(4, [("enter", "fg bold"), (" takes it as it is", "dim")])
                rows.append(row)
        return rows

    def action_move(self, step: int) -> None:
        canvas = self.query_one("#choices", ListCanvas)
        canvas.move(step)
        self._previewed()

    def _previewed(self) -> None:
        if self._preview is not None and (choice := self._current()) is not None:
            self._preview(choice.value)

    def _current(self) -> Choice | None:
        key = self.query_one("#choices", ListCanvas).key
        index = int(key) if key is not None else -1
        return self._matches[index] if 0 <= index < len(self._matches) else None

    @on(Input.Submitted, "#words")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()  # Enter that was pressed before the dialog was there
        self.take()

    def take(self) -> None:
        choice = self._current()
        typed = self.query_one("#words", Input).value
        if self._load is not None:
            self._enter_waits = True
        elif choice is not None:
            self.dismiss(choice.value)
        elif self._free and typed.strip():
            self.dismiss(typed)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()

    def on_key(self, event: events.Key) -> None:
        for option in self._extra:
            if event.key == option.key and (choice := self._current()) is not None:
                event.stop()
                self.dismiss(f"{option.key}:{choice.value}")
                return
        if self.focused is None:
            # Keys that arrive before the field has the focus are not lost.
            if event.key == "enter":
                self._enter_waits = True
            elif event.is_printable and event.character:
                self.query_one("#words", Input).insert_text_at_cursor(event.character)


def whole_parts(text: str, room: int) -> str:
    """Leave out the last parts of a note, which two blanks part, until the rest fits; the first is never left out."""
    while cell_len(text) > room and "  " in text.strip():
        text = text.rstrip().rpartition("  ")[0].rstrip()
    return text


def put_matched(row: Row, x: int, label: str, words: Sequence[str], room: int) -> None:
    """Draw a label with the matching letters in the accent colour."""
    lower = label.lower()
    marks = [False] * len(label)
    for word in words:
        at = lower.find(word)
        if at >= 0 and len(lower) == len(label):
            marks[at : at + len(word)] = [True] * len(word)
    if len(label) > room or not any(marks):
        row.put(x, label, "fg", room)
        return
    parts: list[tuple[str, str]] = []
    for character, marked in zip(label, marks, strict=True):
        style = "accent bold" if marked else "fg"
        if parts and parts[-1][1] == style:
            parts[-1] = (parts[-1][0] + character, style)
        else:
            parts.append((character, style))
    row.run(x, parts)
