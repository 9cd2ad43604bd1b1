"""Pictures that the terminal itself draws. It is asked whether it can when the first one is shown, never before.

Until it has answered, and where it cannot, half blocks stand there.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import math
import os
import queue
import struct
import sys
import termios
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vllm_studio_tui.probes import graphics, terminal
from vllm_studio_tui.tui.document.drawing import Rows
from vllm_studio_tui.tui.document.pictures import COLUMNS, PICTURES, ROWS, Key
from vllm_studio_tui.tui.terminal.late_answers import GRAPHICS

if TYPE_CHECKING:
    from PIL.Image import Image

    from vllm_studio_tui.tui.terminal.profile import Profile

#: Seconds in which a terminal has answered, over a slow line too.
PATIENCE = 3.0
#: Pictures that the terminal holds at once, and bytes of one.
KEPT, MOST_BYTES = 48, 3_000_000
#: The first of the 256 colours that no theme of a terminal changes.
_FIRST_COLOUR = 16


@dataclass(slots=True)
class _Held:
    """A picture that the terminal holds."""

    number: int
    png: bytes
    columns: int
    rows: int
    cells: Rows
    #: Called when it is no longer held.
    drawn: list[Callable[[], None]] = field(default_factory=list)


class TerminalPictures:
    """Draws pictures with what this terminal has: a `Drawing`.

    Args:
        write: Writes to the terminal, from any thread.

    Attributes:
        can: What it can do; None: it has not said yet.
    """

    def __init__(self, write: Callable[[str], object], profile: Profile, environ: Mapping[str, str]) -> None:
        self._write, self._environ = write, environ
        self._inside = profile.terminal.inside
        self._wanted = profile.pictures
        self._colours = profile.colours
        self.can: graphics.Graphics | None = None
        self._asking: asyncio.Task[None] | None = None
        self._waiting: list[Callable[[], None]] = []
        self._held: OrderedDict[Key, _Held | None] = OrderedDict()
        self._making: dict[Key, list[Callable[[], None]]] = {}
        self._queue: queue.SimpleQueue[Key] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ended = False
        #: Numbers of this process: others may draw on the same terminal.
        self._high = 1 + os.getpid() % (graphics.MOST - 1)
        self._next = _FIRST_COLOUR

    # --- asking -----------------------------------------------------------------------------------------

    def ask(self, then: Callable[[], None] | None = None) -> None:
        """Ask the terminal, once; `then` is called when it is known what it can do."""
        if then is not None and self.can is None:
            self._waiting.append(then)
        if self.can is None and self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask(), name="pictures of the terminal")

    async def _ask(self) -> None:
        found = graphics.Graphics()
        with contextlib.suppress(TimeoutError, OSError):
            found = await self._found()
        if self._wanted in ("kitty", "sixel", "blocks"):
            found = graphics.Graphics(self._wanted, found.cell)
        if self._colours < terminal.INDEXED and found.kind == "kitty":
            found = graphics.Graphics(cell=found.cell)  # its number could not be written
        self.can = found
        waiting, self._waiting = self._waiting, []
        if found.kind != "blocks":
            await asyncio.to_thread(_call, waiting)

    async def _found(self) -> graphics.Graphics:
        if self._wanted == "blocks" or (not terminal.may_ask(self._environ) and not self._wanted):
            return graphics.Graphics()
        if self._inside == "tmux":
            outside = await asyncio.to_thread(graphics.read_tmux, self._environ)
            if outside.kind == "kitty" or self._wanted:
                return outside
        # What tmux would take for a title is not asked in it; sixel it draws itself, and says so.
        question = graphics.QUESTION if not self._inside else "\x1b[c\x1b[5n"
        answer = GRAPHICS.expect()
        self._write(question)
        came = await asyncio.wait_for(answer, PATIENCE)
        return graphics.read_graphics(came, cell_size())

    # --- drawing ----------------------------------------------------------------------------------------

    def rows(self, url: str, columns: int, ready: Callable[[], None] | None, *, most: int | None = None) -> Rows | None:
        """Return the rows of a picture, see `Drawing`."""
        if self.can is None:
            self.ask(ready)
        if self.can is None or self.can.kind != "kitty":
            return PICTURES.rows(url, columns, ready, most=most)
        key = (url, min(columns, COLUMNS) if most is None else columns, ROWS if most is None else most)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                held = self._held[key]
                if held is None:
                    return None
                if ready is not None:
                    held.drawn.append(ready)
                    del held.drawn[:-8]
                return held.cells
            if key not in self._making:
                self._making[key] = []
                self._queue.put(key)
            if ready is not None:
                self._making[key].append(ready)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pictures of the terminal", daemon=True)
                self._thread.start()
        return None

    def _work(self) -> None:
        while True:
            key = self._queue.get()
            held = self._made(key)
            gone: list[_Held] = []
            with self._lock:
                self._held[key] = held
                while len(self._held) > KEPT:
                    old = self._held.popitem(last=False)[1]
                    gone += [old] if old is not None else []
                waiting = self._making.pop(key, [])
                if held is not None and not self._ended:
                    self._write(graphics.sent(held.number, held.png, held.columns, held.rows, self._inside))
                for old in gone:
                    self._write(graphics.deleted(old.number, self._inside))
            if held is not None:
                _call(waiting)
            for old in gone:
                _call(old.drawn)

    def _made(self, key: Key) -> _Held | None:
        """Make a picture ready to be sent; None where it cannot be read."""
        can = self.can
        image = opened_image(key[0])
        if can is None or image is None:
            return None
        try:
            png, columns, rows = fitted(image, min(key[1], graphics.MOST), min(key[2], graphics.MOST), can.cell)
        except (OSError, ValueError, SyntaxError, TypeError, MemoryError, ArithmeticError, LookupError):
            return None
        number = self._high << 24 | self._next
        self._next = self._next + 1
        if self._next > 255:
            self._next, self._high = _FIRST_COLOUR, 1 + self._high % (graphics.MOST - 1)
        style = f"color({graphics.colour_of(number)})"
        cells = [((text, style),) for text in graphics.cells_of(number, columns, rows)]
        return _Held(number, png, columns, rows, cells)

    def sixels(self, url: str, columns: int, rows: int) -> str | None:
        """Return what draws a picture where the cursor is, in so many cells; None where it is none. Blocking."""
        from vllm_studio_tui.tui.terminal.sixel import encoded

        image = opened_image(url)
        if image is None or self.can is None:
            return None
        try:
            return encoded(scaled(image, columns, rows, self.can.cell)[0])
        except (OSError, ValueError, SyntaxError, TypeError, MemoryError, ArithmeticError, LookupError):
            return None

    # --- leaving ----------------------------------------------------------------------------------------

    def end(self) -> None:
        """Take all pictures from the terminal: it is left, or given to another program for a while."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._write("".join(graphics.deleted(one.number, self._inside) for one in self._held.values() if one))

    def go_on(self) -> None:
        """Give the terminal its pictures again."""
        with self._lock:
            self._ended = False
            for one in filter(None, self._held.values()):
                self._write(graphics.sent(one.number, one.png, one.columns, one.rows, self._inside))


def _call(functions: list[Callable[[], None]]) -> None:
    """Call functions, from a thread that is not the app's."""
    for function in functions:
        try:
            function()
        except RuntimeError:  # the screens are gone meanwhile
            continue


def cell_size() -> tuple[int, int] | None:
    """Return the size of a cell in points, as the system knows it; None: it does not."""
    try:
        raw = fcntl.ioctl(sys.__stdout__.fileno() if sys.__stdout__ else 1, termios.TIOCGWINSZ, bytes(8))
    except (OSError, ValueError):
        return None
    rows, columns, width, height = struct.unpack("4H", raw)
    return graphics.cell_of(columns, rows, width, height)


def opened_image(url: str) -> Image | None:
    """Return the picture of a data URL, of which the head was read; None where it is none. Blocking."""
    from vllm_studio_tui.services.chat.attachments import pictures

    raw = pictures.from_url(url)
    try:
        return pictures.opened(raw) if raw is not None else None
    except ValueError:
        return None


def fitted(image: Image, columns: int, rows: int, cell: tuple[int, int]) -> tuple[bytes, int, int]:
    """Return a picture as PNG, as large as the cells that it takes, and how many these are. Blocking."""
    small, wide, high = scaled(image, columns, rows, cell)
    from PIL import Image

    ground = Image.new("RGBA", (wide * cell[0], high * cell[1]))
    ground.paste(small, (0, 0))
    out = io.BytesIO()
    ground.save(out, "PNG")
    if out.tell() > MOST_BYTES:  # a photograph on a dense screen: fewer points do, the terminal stretches them
        out = io.BytesIO()
        ground.reduce(2).save(out, "PNG")
    return out.getvalue(), wide, high


def scaled(image: Image, columns: int, rows: int, cell: tuple[int, int]) -> tuple[Image, int, int]:
    """Return a picture that fits so many cells, with those that it takes. Never enlarged. Blocking."""
    room = (columns * cell[0], rows * cell[1])
    image.draft("RGB", room)
    share = min(1.0, room[0] / image.width, room[1] / image.height)
    size = (max(1, int(image.width * share)), max(1, int(image.height * share)))
    small = image.convert("RGBA").resize(size)
    return small, min(columns, math.ceil(size[0] / cell[0])), min(rows, math.ceil(size[1] / cell[1]))
