"""The list over the prompt: what something that is begun there may go on to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from textual.message import Message

from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.screens.chat.completion import Begun, Completion, Offer, Offers
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.shell import Shell

#: Rows of the list at most, for a size of the window.
ROWS = {Size.FULL: 10, Size.WIDE: 10, Size.BASE: 8, Size.COMPACT: 4}


class CompletionList(Canvas):
    """Shows what may follow. Up and down choose, enter and tab take, escape closes; typing goes on in the prompt.

    Args:
        completion: Finds it; called in a thread, one at a time, for a folder may not answer.
    """

    class Taken(Message):
        """The person took something.

        Attributes:
            run: By enter: a command without an argument is given at once.
        """

        def __init__(self, begun: Begun, offer: Offer, *, run: bool) -> None:
            super().__init__()
            self.begun, self.offer, self.run = begun, offer, run

    class Turned(Message):
        """The list was opened or closed."""

    def __init__(self, completion: Completion, get_ink: Callable[[], Ink], *, id: str) -> None:  # noqa: A002, RUF100
        super().__init__(self._rows_of, get_ink, id=id)
        self._completion = completion
        self._offers = Offers()
        self._shown: Begun | None = None
        self._at = 0
        #: What is looked for, and whether a thread looks.
        self._sought: Begun | None = None
        self._looking = False
        self._shut: Begun | None = None

    @property
    def is_open(self) -> bool:
        return bool(self._offers.offers)

    @property
    def is_current(self) -> bool:
        """Whether what is listed is for what stands in the prompt now."""
        return self.is_open and self._shown == self._sought

    def look(self, begun: Begun | None) -> None:
        """Find in the background what may follow, and show it; None: nothing is begun."""
        if begun is None or begun == self._shut:
            self._sought = begun
            self._show(None, Offers())
            return
        self._shut = None
        self._sought = begun
        if not self._looking:
            self._looking = True
            self.run_worker(self._look(), group="completion", exit_on_error=False)

    async def _look(self) -> None:
        shell = cast("Shell", self.app)
        done: Begun | None = None
        try:
            while self._sought is not None and self._sought not in (done, self._shut):
                done = self._sought
                found = await shell.in_thread(partial(self._completion.find, done))
                if self._sought == done and self.is_attached:
                    self._show(done, found)
        finally:
            self._looking = False

    def close(self) -> None:
        """Take the list away until something else is written."""
        self._shut = self._sought
        self._show(None, Offers())

    def _show(self, begun: Begun | None, found: Offers) -> None:
        was = self.is_open
        same = self._shown is not None and begun is not None and begun.kind == self._shown.kind
        kept = self._offers.offers[self._at].value if same and was else None
        self._shown, self._offers = begun, found
        values = [one.value for one in found.offers]
        self._at = values.index(kept) if kept in values and begun is not None and not begun.word else 0
        rows = min(len(found.offers), ROWS.get(self._size_class, 2))
        rows += bool(found.foot) and self._size_class >= Size.COMPACT
        self.display = rows > 0
        self.styles.height = max(1, rows)
        self.repaint()
        if was != self.is_open:
            self.post_message(self.Turned())

    @property
    def _size_class(self) -> Size:
        return cast("Shell", self.app).size_class

    def pressed(self, key: str) -> bool:
        """Do what a key does in the list; False where it does nothing there."""
        if not self.is_open:
            return False
        if key in ("up", "down"):
            self._at = (self._at + (1 if key == "down" else -1)) % len(self._offers.offers)
            self.repaint()
        elif key in ("tab", "enter"):
            return self.take(run=key == "enter")
        else:
            return False
        return True

    def take(self, *, run: bool) -> bool:
        """Take what is under the cursor; False where the list is not for what was typed last."""
        if not self.is_current or self._shown is None:
            return False
        begun, offer = self._shown, self._offers.offers[self._at]
        self._show(None, Offers())
        self.post_message(self.Taken(begun, offer, run=run))
        return True

    def take_at(self, index: int) -> None:
        """Take what stands in a row that was clicked."""
        if 0 <= index < len(self._offers.offers):
            self._at = index
            self.take(run=False)

    def _rows_of(self, width: int, height: int) -> list[Row]:
        offers, glyphs = self._offers.offers, self._get_ink().glyphs
        foot = bool(self._offers.foot) and (height > 1 or not offers) and self._size_class >= Size.COMPACT
        lines = max(1, height - foot)
        first = min(max(0, self._at - lines // 2), max(0, len(offers) - lines))
        x = 2 if width >= 50 else 0
        shown = offers[first : first + lines]
        widest = max((cell_len(one.label) for one in shown), default=0)
        commands = self._shown is not None and self._shown.kind in "/#="
        rows = []
        for index, one in enumerate(shown, first):
            here = index == self._at
            row = Row(plane="sel" if here else "")
            if here:
                row.put(0, glyphs.cursor, "accent bold")
            row.link(0, width, f"offer:{index}")
            end = width - 2
            if commands:
                row.put(max(x, 2), one.label, "fg bold" if here else "fg", min(widest, max(8, width // 2)))
                at = max(x, 2) + min(widest, max(8, width // 2)) + 3
                row.put(at, one.note, "dim", max(0, end - at))
            else:
                note = row.put_right(end, one.note, "dim") - 2 if one.note and width > 30 else end
                row.put(max(x, 2), one.label, "fg bold" if here else "fg", max(8, note - x - 2))
            rows.append(row)
        if foot:
            row = Row()
            row.put(max(x, 2), self._offers.foot, "faint", width - x - 2)
            rows.append(row)
        return rows
