"""The list of paths under the field of a model, while one is typed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.message import Message

from vllm_studio_tui.models.path_completion import PathOffer, is_path, paths_from
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.shell import Shell

#: Rows of the list at most, and at least where the form has hardly any.
MOST, LEAST = 8, 2
#: What the keys of the form do while the list is open.
WORDS = {"form.up": "choose", "form.next-section": "take it", "form.leave": "close the list"}


class PathList(Canvas):
    """Shows what a path may go on to. Up and down choose, tab and enter take, escape closes.

    Args:
        indent: Returns the column of the field.
    """

    class Taken(Message):
        """The person took a path."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

    def __init__(self, get_ink: Callable[[], Ink], indent: Callable[[], int]) -> None:
        super().__init__(self._rows_of, get_ink, classes="field-paths")
        self._indent = indent
        self._offers: list[PathOffer] = []
        self._at = 0
        #: What paths are looked for, and whether a thread looks: one at a time, for a folder may not answer.
        self._typed: str | None = None
        self._looking = False

    @property
    def is_open(self) -> bool:
        return bool(self._offers)

    def look(self, typed: str) -> None:
        """Find in the background what a typed text may go on to, and show it."""
        if not is_path(typed):
            self.close()
            return
        self._typed = typed
        if not self._looking:
            self._looking = True
            self.run_worker(self._look(), group="paths", exit_on_error=False)

    async def _look(self) -> None:
        shell = cast("Shell", self.app)
        typed: str | None = None
        try:
            while self._typed is not None and self._typed != typed:
                typed = self._typed
                found = await shell.in_thread(partial(paths_from, typed))
                if self._typed == typed and self.is_attached:
                    self._list(found)
        finally:
            self._looking = False

    def close(self) -> None:
        """Take the list away."""
        self._typed = None
        if self._offers:
            self._list([])

    def _list(self, offers: list[PathOffer]) -> None:
        self._offers, self._at = offers, 0
        room = self.screen.query_one("#form-fields").size.height - 1
        self.styles.height = max(1, min(len(offers), MOST, max(LEAST, room)))
        self.display = bool(offers)
        self.repaint()
        if offers:
            self.call_after_refresh(self.scroll_visible, animate=False)
        cast("Shell", self.app).update_frame()

    def take(self) -> None:
        """Take the path under the cursor."""
        path = self._offers[self._at].path
        self.close()
        self.post_message(self.Taken(path))

    def pressed(self, key: str) -> bool:
        """Do what a key does in the list; False where it does nothing there."""
        if not self._offers:
            return False
        if key in ("up", "down"):
            self._at = (self._at + (1 if key == "down" else -1)) % len(self._offers)
            self.repaint()
        elif key in ("tab", "enter"):
            self.take()
        elif key == "escape":
            self.close()
        else:
            return False
        return True

    def _rows_of(self, width: int, height: int) -> list[Row]:
        height = max(1, height)
        x, first = self._indent(), min(max(0, self._at - height // 2), max(0, len(self._offers) - height))
        rows = []
        for index, one in enumerate(self._offers[first : first + height], first):
            here = index == self._at
            row = Row(plane="sel" if here else "code")
            if here:
                row.put(x, self._get_ink().glyphs.cursor, "accent bold")
            end = width - 1
            if index == first and len(self._offers) > height:
                end = row.put_right(end, f"{self._at + 1} of {len(self._offers)}", "faint") - 2
            note = row.put_right(end, one.note, "dim") - 2 if one.note else end
            row.put(x + 2, one.name, "fg bold" if here else "fg", max(8, note - x - 2))
            rows.append(row)
        return rows
