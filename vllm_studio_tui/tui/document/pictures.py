"""Pictures in a document, as half blocks, two points in a cell: characters, which every multiplexer passes on."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable

from vllm_studio_tui.tui.document.drawing import Rows
from vllm_studio_tui.tui.document.line_breaking import Part

#: Cells of a picture at most, and how many pictures are kept.
COLUMNS, ROWS, KEPT = 36, 12, 64
#: A picture, and the cells that it may take at most.
Key = tuple[str, int, int]


class Pictures:
    """Makes pictures small enough to be drawn, in a thread: unpacking one takes a while."""

    def __init__(self) -> None:
        self._made: OrderedDict[Key, Rows | None] = OrderedDict()
        self._waiting: dict[Key, list[Callable[[], None]]] = {}
        self._wanted: queue.SimpleQueue[Key] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def rows(self, url: str, columns: int, ready: Callable[[], None] | None, *, most: int | None = None) -> Rows | None:
        """Return the rows of a picture; None where it is none, or while it is made, see `Drawing`."""
        key = (url, min(columns, COLUMNS) if most is None else columns, ROWS if most is None else most)
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
            if key not in self._waiting:
                self._waiting[key] = []
                self._wanted.put(key)
            if ready is not None:
                self._waiting[key].append(ready)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)
                self._thread.start()
        return None

    def _work(self) -> None:
        while True:
            key = self._wanted.get()
            made = half_blocks(*key)
            with self._lock:
                self._made[key] = made
                while len(self._made) > KEPT:
                    self._made.popitem(last=False)
                waiting = self._waiting.pop(key, [])
            if made is not None:
                for ready in waiting:
                    try:
                        ready()
                    except RuntimeError:  # the screens are gone meanwhile
                        continue


def half_blocks(url: str, columns: int, most: int = ROWS) -> Rows | None:
    """Return a picture as rows of half blocks; None where it cannot be read. Blocking."""
    from vllm_studio_tui.services.chat.attachments import pictures

    raw = pictures.from_url(url)
    if raw is None:
        return None
    try:
        image = pictures.opened(raw)
        image.draft("RGB", (columns * 2, most * 4))
        small = image.convert("RGBA")
        small.thumbnail((columns, most * 2))
        return _rows(small.width, small.height, small.tobytes())
    except (OSError, ValueError, SyntaxError, TypeError, MemoryError, ArithmeticError, LookupError):
        return None


def _rows(width: int, height: int, points: bytes) -> Rows:
    rows = []
    for y in range(0, height, 2):
        parts: list[Part] = []
        for x in range(width):
            style = _colour(points, (y * width + x) * 4)
            if y + 1 < height:
                style += f" on-{_colour(points, ((y + 1) * width + x) * 4)}"
            if parts and parts[-1][1] == style:
                parts[-1] = (f"{parts[-1][0]}▀", style)
            else:
                parts.append(("▀", style))
        rows.append(tuple(parts))
    return rows


def _colour(points: bytes, at: int) -> str:
    """Return a colour, a little coarser, so that neighbours are often alike; what is clear is dark."""
    red, green, blue, solid = points[at : at + 4]
    return "#" + "".join(f"{value * solid // 255 & 0xF8:02x}" for value in (red, green, blue))


PICTURES = Pictures()
