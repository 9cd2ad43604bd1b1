"""The sheet that shows what goes with a question whole: the text of a file, or a picture as large as there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Region
from textual.strip import Strip

from vllm_studio_tui.domain.chat import Attached
from vllm_studio_tui.services.chat.attachments import words
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.sheets.call import text_rows
from vllm_studio_tui.tui.sheets.dialogs import Pages
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

#: Columns left of a picture, rows above it, and those that the sheet needs besides it.
LEFT, ABOVE, BESIDES = 2, 2, 5
#: Seconds after which is looked whether a message is gone that stood over a picture.
AGAIN = 0.5


class PictureCanvas(ListCanvas):
    """Rows, over which a sixel picture is drawn each time that they were: written text takes its points away."""

    #: Draws it.
    over: Callable[[], None] | None = None

    def render_lines(self, crop: Region) -> list[Strip]:
        if self.over is not None:
            self.call_after_refresh(self.over)
        return super().render_lines(crop)


class AttachmentSheet(Pages):
    """Shows attachments, one below the other."""

    def __init__(self, attached: Sequence[Attached]) -> None:
        super().__init__(self._rows, leave="back")
        self._attached = attached
        self._made: tuple[int, int, list[Row]] = (-1, -1, [])
        #: The sixels of the only picture, for a width and height in cells.
        self._sixels: tuple[int, int, str] = (-1, -1, "")
        self._waits = False

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="pages"):
            yield PictureCanvas(self._paint, self.ink, plane="panel", id="pages")
            yield Canvas(self._foot, self.ink, plane="panel", id="pages-foot")

    @property
    def _as_shell(self) -> Shell:
        return cast("Shell", self.app)

    def _rows(self, ink: Ink, width: int) -> list[Row]:
        high = max(1, self.rows_free - BESIDES)
        if self._made[:2] != (width, high):
            rows: list[Row] = []
            for one in self._attached:
                head = Row()
                x = head.put(2, words.name_of(one.file), "fg bold", width - 4) + 2
                head.put(x, "   ".join(words.facts_of(one.file)), "dim", max(0, width - x - 2))
                rows += [head, Row()]
                if one.image is None:
                    rows += [*text_rows((one.file.text or "").rstrip("\n"), width, "fg"), Row()]
                else:
                    rows += [*self._picture(one.image, width, high), Row()]
            self._made = (width, high, rows[:-1])
        return self._made[2]

    def _picture(self, url: str, width: int, high: int) -> list[Row]:
        """Return the rows of a picture; blank ones where its points are drawn over them."""
        drawing, room = self._as_shell.drawing, max(1, width - 2 * LEFT)
        if drawing is None:
            return []
        pictures = self._as_shell.pictures
        if pictures.can is not None and pictures.can.kind == "sixel" and len(self._attached) == 1:
            if self._sixels[:2] != (room, high):
                self._sixels = (room, high, "")
                self.run_worker(self._encode(url, room, high), group="sixel", exclusive=True, exit_on_error=False)
            return [Row() for _ in range(high)]
        made = []
        for parts in drawing.rows(url, room, self._better, most=high) or ():
            row = Row()
            row.picture(LEFT, parts)
            made.append(row)
        return made

    def _better(self) -> None:
        """There are rows, or better ones. Called in a thread."""
        self.app.call_from_thread(self._again)

    def _again(self) -> None:
        self._made = (-1, -1, [])
        if self.is_attached:
            self.fit()
            self.query_one("#pages", ListCanvas).repaint()

    # --- sixels -----------------------------------------------------------------------------------------

    async def _encode(self, url: str, room: int, high: int) -> None:
        made = await asyncio.to_thread(self._as_shell.pictures.sixels, url, room, high)
        if made is None or self._sixels[:2] != (room, high):
            return
        self._sixels = (room, high, made)
        canvas = self.query_one("#pages", PictureCanvas)
        canvas.over = self._draw
        canvas.refresh()

    def _draw(self) -> None:
        """Draw the points over the rows, where these are seen and nothing stands over them."""
        sixels = self._sixels[2]
        if not sixels or not self.is_attached or self.app.screen is not self:
            return
        canvas = self.query_one("#pages", PictureCanvas)
        if canvas.top or canvas.size.height < ABOVE + self._sixels[1]:
            return
        if self.app._notifications:
            if not self._waits:
                self._waits = True
                self.set_timer(AGAIN, self._look_again)
            return
        where = canvas.region.offset
        self._as_shell.write_terminal(f"\x1b7\x1b[{where.y + ABOVE + 1};{where.x + LEFT + 1}H{sixels}\x1b8")

    def _look_again(self) -> None:
        self._waits = False
        self._draw()
