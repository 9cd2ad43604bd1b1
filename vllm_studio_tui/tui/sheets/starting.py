""" "What do you want to run?": a box and one list that filters as one types. An empty home shows it; `n` opens it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.widgets import Input

from vllm_studio_tui.tui.flows.machine import look_around
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.ink import Row, in_ascii
from vllm_studio_tui.tui.paint.starting import Entry, Here, entries_of, list_rows, title_rows
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.terminal.deferred import deferred, still_there
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.domain.model import Model
    from vllm_studio_tui.services.recipes.starting import Typed
    from vllm_studio_tui.tui.shell import Shell

#: Seconds without a key before a typed text is looked up on the disk.
REST = 0.12
HINT = "a name, a folder, a pasted command or page:   qwen3   /srv/models/…   vllm serve …   https://…"


class Box(Input):
    """The box; a paste of several lines is taken whole."""

    class Pasted(Message):
        """Several lines were pasted."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def _on_paste(self, event: events.Paste) -> None:
        lines = event.text.strip().splitlines()
        if len(lines) < 2:
            super()._on_paste(event)
            return
        event.stop()
        event.prevent_default()
        self.post_message(self.Pasted(event.text))


class WhatToRun(Container):
    """The box and the list.

    Args:
        new: It was opened to make something new: an empty recipe comes first, and the box has the focus.
    """

    SCOPE = "start"
    SCOPED_CSS = False
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("start")]
    DEFAULT_CSS = """
    WhatToRun { height: 1fr; width: 1fr; }
    WhatToRun #start-title { height: 1; }
    WhatToRun #start-words { margin: 0 1; }
    WhatToRun #start-list { margin-top: 1; }
    Screen.-wide WhatToRun #start-title, Screen.-full WhatToRun #start-title { height: 3; }
    Screen.-compact WhatToRun #start-list, Screen.-tiny WhatToRun #start-list { margin-top: 0; }
    Screen.-tiny WhatToRun #start-words { margin: 0; }
    Screen.-line WhatToRun #start-title { display: none; }
    """

    class Taken(Message):
        """The person took an entry; see `flows.starting.take`."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, new: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._new = new
        self._here = Here()
        self._typed: list[Typed] = []
        self._inside: list[Model] = []
        self._entries: list[Entry] = []

    @property
    def shell(self) -> Shell:
        return cast("Shell", self.app)

    def compose(self) -> ComposeResult:
        plane = "panel" if self._new else ""
        ink = lambda: self.shell.ink  # noqa: E731, RUF100
        yield Canvas(self._paint_title, ink, plane=plane, id="start-title")
        hint = HINT if self._new else f"/ {HINT}"
        yield Box(placeholder=in_ascii(hint), id="start-words", select_on_focus=False)
        yield ListCanvas(self._paint_list, ink, plane=plane, id="start-list")

    def on_mount(self) -> None:
        self.look()
        self.focus_first()

    def focus_first(self) -> None:
        """Focus the box of a sheet; on an empty screen the list, so that every key works."""
        self.query_one("#start-words" if self._new else "#start-list").focus()

    def look(self) -> None:
        """Look at this machine again."""
        self.shell.spawn(look_around(self.shell, self._show), group="recipes")

    def _show(self, here: Here) -> None:
        self._here = here
        if not still_there(self):
            return
        canvas = self.query_one("#start-list", ListCanvas)
        if self._entries and canvas.key == self._entries[0].key:
            canvas.key = None  # nobody has moved it: it goes to what comes first now
        self.repaint()

    def repaint(self) -> None:
        for canvas in self.query(Canvas):
            canvas.repaint()

    # --- painting ---------------------------------------------------------------------------------------

    @property
    def _size_class(self) -> Size:
        size = self.shell.size_class
        return min(size, Size.BASE) if self._new and self.size.width < 116 else size

    def _paint_title(self, width: int, height: int) -> list[Row]:
        return title_rows(self._here, self._size_class, width, height)

    def _paint_list(self, width: int, height: int) -> list[Row]:
        text = self.query_one("#start-words", Input).value.strip()
        self._entries = entries_of(
            self._here, self._typed, self._inside, text, new=self._new, small=self._size_class < Size.BASE
        )
        find = "typing" if self.query_one("#start-words").has_focus else "/"
        return list_rows(
            self._entries, self._here, self.shell.ink.glyphs, self._size_class, width, text=text, find=find
        )

    # --- typing -----------------------------------------------------------------------------------------

    @on(Input.Changed, "#start-words")
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._typed, self._inside = [], []
        canvas = self.query_one("#start-list", ListCanvas)
        canvas.key, canvas.top = None, 0
        canvas.repaint()
        self.run_worker(deferred(self._read, event.value), group="match", exclusive=True, exit_on_error=False)

    async def _read(self, text: str) -> None:
        from asyncio import sleep

        if not text.strip():
            return
        await sleep(REST)
        typed, inside = await self.shell.in_thread(partial(_meaning, text))
        if still_there(self) and self.query_one("#start-words", Input).value == text:
            self._typed, self._inside = typed, inside
            canvas = self.query_one("#start-list", ListCanvas)
            canvas.key = None
            canvas.repaint()

    @on(Input.Submitted, "#start-words")
    async def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value
        if text.strip() and not self._typed:  # enter was faster than the look at the disk
            self._typed, self._inside = await self.shell.in_thread(partial(_meaning, text))
            self.query_one("#start-list", ListCanvas).repaint()
        self.action_take()

    def on_box_pasted(self, event: Box.Pasted) -> None:
        event.stop()
        self.post_message(self.Taken(f"text:{event.text}"))

    def on_key(self, event: events.Key) -> None:
        box = self.query_one("#start-words", Input)
        steps = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}
        if box.has_focus and event.key in steps:
            event.stop()
            self.query_one("#start-list", ListCanvas).move(steps[event.key])
        elif box.has_focus and event.key == "escape" and (box.value or not self._new):
            event.stop()
            box.value = ""
            self.query_one("#start-list").focus()

    def escape(self) -> bool:
        """Clear the box; False where it is empty."""
        box = self.query_one("#start-words", Input)
        had = bool(box.value)
        box.value = ""
        self.query_one("#start-list").focus()
        return had

    # --- actions ----------------------------------------------------------------------------------------

    def action_take(self) -> None:
        key = self.query_one("#start-list", ListCanvas).key
        if key is not None:
            self.post_message(self.Taken(key))

    def action_filter(self) -> None:
        self.query_one("#start-words").focus()

    def action_import(self) -> None:
        self.post_message(self.Taken("do:paste"))

    def action_next_part(self) -> None:
        self._turn(1)

    def action_previous_part(self) -> None:
        self._turn(-1)

    def _turn(self, step: int) -> None:
        """Move the cursor to the first entry of the next or the last group; from the box, to the list."""
        canvas = self.query_one("#start-list", ListCanvas)
        if not canvas.has_focus:
            canvas.focus()
            return
        groups = list(dict.fromkeys(entry.group for entry in self._entries))
        now = next((entry.group for entry in self._entries if entry.key == canvas.key), None)
        if not groups:
            return
        group = groups[(groups.index(now) + step) % len(groups)] if now in groups else groups[0]
        canvas.choose(next(entry.key for entry in self._entries if entry.group == group))

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        if event.action == "open":
            event.stop()
            self.action_take()


def _meaning(text: str) -> tuple[list[Typed], list[Model]]:
    """Return what a text may mean, and the models of the folder that it names. Blocking."""
    from vllm_studio_tui.services.recipes.starting import models_in, read_typed

    typed = read_typed(text)
    folders: Sequence[str] = [one.value for one in typed if one.kind == "folder"]
    return typed, [model for folder in folders for model in models_in(folder)]


class StartSheet(Sheet):
    """Asks what to run; returns the key of the entry, see `flows.starting.take`."""

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["dialogs.tcss", "starting.tcss"]

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="start"):
            yield WhatToRun(new=True)
            yield Canvas(self._keys, self.ink, plane="panel", id="start-keys")

    def _keys(self, width: int, height: int) -> list[Row]:
        return [keys_row(width, ("enter", "take it"), ("tab", "next part"), ("esc", "leave it"))]

    def on_what_to_run_taken(self, event: WhatToRun.Taken) -> None:
        event.stop()
        self.dismiss(event.key)
