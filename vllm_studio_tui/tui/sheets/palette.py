"""The palette: everything by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePath
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.sheets.chooser import put_matched
from vllm_studio_tui.tui.sheets.dialogs import TAKE, Sheet
from vllm_studio_tui.tui.sheets.palette_ranking import Entry, Listed, ranked
from vllm_studio_tui.tui.terminal.deferred import deferred, still_there
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: From these widths of the window on the palette is so wide; below the last one it takes the whole window.
WIDTHS = ((100, 72), (76, 64), (50, 56))


class Palette(Sheet):
    """Asks what to do. It is there at once; what has to be read first joins it.

    Args:
        entries: What is known without reading anything.
        used: Reads the ids of what was chosen before, the latest first. Blocking; called in a thread.
        load: Reads the rest; Enter that is pressed before that waits for it.
        later: Reads what is needed least, after that.
        search: Finds more for what was typed, such as chats. Blocking; called in a thread.
    """

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["dialogs.tcss", "palette.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        TAKE,
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
        Binding("tab", "more", show=False, priority=True),
    ]

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        used: Callable[[], Sequence[str]],
        load: Callable[[], Awaitable[Sequence[Entry]]],
        later: Callable[[], Awaitable[Sequence[Entry]]],
        search: Callable[[str], Sequence[Entry]],
    ) -> None:
        super().__init__()
        self._entries = list(entries)
        self._used: Sequence[str] = ()
        self._read_used = used
        self._load, self._later, self._search = load, later, search
        self._searched: Sequence[Entry] = ()
        self._listed: list[Listed] = []
        self._thing = ""
        self._loading = True
        self._enter_waits = False

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="palette"):
            with Horizontal(id="palette-line"):
                yield Input(placeholder="a run, recipe, chat, screen, setting or verb", id="words")
                yield Canvas(self._count, self.ink, plane="panel", id="palette-count")
            yield ListCanvas(self._paint, self.ink, plane="panel", id="choices")
            yield Canvas(self._keys, self.ink, plane="panel", id="palette-keys")

    def on_mount(self) -> None:
        self._choices.can_focus = False
        self._field.focus()
        self._show()
        self.run_worker(self._read(), group="match", exit_on_error=False)

    def fit(self) -> None:
        width, height = self.app.size
        sheet = self.query_one("#sheet")
        sheet.styles.width = next((wide for least, wide in WIDTHS if width >= least), width)
        self.query_one("#palette-keys").display = not self.tiny  # each row is one more to choose from
        sheet.styles.height = height if self.tiny else min(self.rows_free, max(13, height * 3 // 4))

    @property
    def _choices(self) -> ListCanvas:
        return self.query_one("#choices", ListCanvas)

    @property
    def _field(self) -> Input:
        return self.query_one("#words", Input)

    # --- what is listed ---------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            self._used = await asyncio.to_thread(self._read_used)
            self._entries += await self._load()
        finally:
            self._loading = False
            self._show(keep=True)
        if self._enter_waits:
            self.take()
            return
        self._entries += await self._later()
        self._show(keep=True)

    @on(Input.Changed, "#words")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._show()
        self.run_worker(deferred(self._look, event.value), exclusive=True, group="search", exit_on_error=False)

    async def _look(self, typed: str) -> None:
        self._searched = await asyncio.to_thread(self._search, typed) if typed.strip() else ()
        self._show(keep=True)

    def _show(self, *, keep: bool = False) -> None:
        """List what matches; with `keep` the cursor stays on its entry unless it is on the first one."""
        if not still_there(self):
            return
        every = [*self._entries, *self._searched]
        if self._thing:
            every = [entry for entry in every if entry.thing == self._thing]
            self._listed = ranked(every, self._field.value or self._thing.partition(":")[2], self._used)
        else:
            self._listed = ranked(every, self._field.value, self._used)
        canvas = self._choices
        kept = keep and canvas.key != (canvas.keys[0] if canvas.keys else None)
        if not kept or canvas.key not in {one.entry.id for one in self._listed}:
            canvas.top = 0
            canvas.key = self._listed[0].entry.id if self._listed else None
        for one in self.query(Canvas):
            one.repaint()

    @property
    def _current(self) -> Entry | None:
        return next((one.entry for one in self._listed if one.entry.id == self._choices.key), None)

    # --- painting ---------------------------------------------------------------------------------------

    def _count(self, width: int, height: int) -> list[Row]:
        row = Row()
        total = len(self._entries) + len(self._searched)
        row.put_right(width - 2, f"{len(self._listed)} of {total}" if self._field.value else str(total), "faint")
        return [row]

    def _paint(self, width: int, height: int) -> list[Row]:
        rows: list[Row] = []
        words = self._field.value.lower().split()
        group, roomy = "", height >= 6
        for one in self._listed:
            if one.group != group and roomy:
                group = one.group
                head = Row()
                head.put(2, group, "faint")
                rows += [Row(), head]
            rows.append(self._row(one.entry, words, width))
        if not self._listed:
            row = Row()
            typed = " ".join(self._field.value.split())
            row.put(2, "reading" if self._loading else f'Nothing matches "{typed}".', "dim", width - 4)
            rows += [Row(), row] if roomy else [row]
        return rows

    def _row(self, entry: Entry, words: Sequence[str], width: int) -> Row:
        row = Row(key=entry.id)
        end = width - 2
        row.put_right(end, entry.key, "fg bold")
        end -= max(5, len(entry.key) + 2)
        label, note = clean_line(entry.label), clean_line(entry.note)
        room = end - 2
        if note and len(label) + 2 + len(note) > room:
            note = fit(note, max(0, room - len(label) - 2)) if room - len(label) - 2 >= 6 else ""
        row.put_right(end, note, "dim")
        put_matched(row, 2, label, words, room - (len(note) + 2 if note else 0))
        return row

    def _keys(self, width: int, height: int) -> list[Row]:
        current = self._current
        keys = [
            ("enter", current.enter if current is not None else ""),
            ("esc", "all again" if self._thing else "close"),
        ]
        if current is None:
            keys.pop(0)
        if current is not None and current.thing and not self._thing:
            keys.insert(1, ("tab", "more for this one"))
        row, x = Row(), 2
        for key, word in keys:
            if x + len(key) + len(word) + 1 <= width:
                x = row.run(x, [(key, "fg bold"), (f" {word}", "dim")]) + 3
        return [row]

    # --- keys -------------------------------------------------------------------------------------------

    def action_move(self, step: int) -> None:
        self._choices.move(step)
        self.query_one("#palette-keys", Canvas).repaint()

    def action_more(self) -> None:
        """List all that can be done with the run or recipe under the cursor; again: everything."""
        current = self._current
        if self._thing:
            self._thing = ""
        elif current is not None and current.thing:
            self._thing = current.thing
            self._field.value = ""
        self._show()

    def action_close(self) -> None:
        if self._thing:
            self._thing = ""
            self._show()
        else:
            super().action_close()

    @on(Input.Submitted, "#words")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()  # Enter that was pressed before the palette was there
        self.take()

    def take(self) -> None:
        if self._loading:
            self._enter_waits = True
        elif (entry := self._current) is not None:
            self.dismiss(entry.id)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()

    def on_key(self, event: events.Key) -> None:
        if self.focused is None:  # keys that come before the field has the focus are not lost
            if event.key == "enter":
                self._enter_waits = True
            elif event.is_printable and event.character:
                self._field.insert_text_at_cursor(event.character)
