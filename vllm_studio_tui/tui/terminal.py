"""Three places where Textual 8.2 is corrected: terminals on Linux, slow links, and terminals that are gone."""

from __future__ import annotations

import contextlib
from typing import Any

from rich.console import Console
from rich.control import Control


def install() -> None:
    """Put all in place; where Textual is no longer as it was, it is left alone."""
    alt_digits()
    slim_updates()
    gone_terminals()


def alt_digits() -> None:
    """Have alt and a digit arrive as such.

    Textual reads them as what Apple's option key types (`¡` for alt+1), which no terminal on Linux means.
    """
    from textual import _ansi_sequences

    table: Any = getattr(_ansi_sequences, "ANSI_SEQUENCES_KEYS", {})
    for digit in "0123456789":
        table.pop(f"\x1b{digit}", None)


def slim_updates() -> None:
    """Write only the changed cells of a line.

    Textual's partial updates are cropped at their right end only: a number at the end of a line writes the whole line.
    """
    from textual import _compositor

    update: Any = getattr(_compositor, "ChopsUpdate", None)
    if update is not None and hasattr(update, "render_segments"):
        update.render_segments = _render_segments


def gone_terminals() -> None:
    """Let the screens end when their terminal has gone.

    Textual's writer thread dies of the first write that fails; its queue fills, and whoever says goodbye to the
    terminal waits for ever: the process of a closed window would stay.
    """
    from textual.drivers import _writer_thread

    writer: Any = getattr(_writer_thread, "WriterThread", None)
    if writer is not None and hasattr(writer, "run"):
        writer.run = _write_all


def _write_all(self: Any) -> None:
    """Write what is queued until None comes; what cannot be written any more is taken and dropped."""
    gone = False
    while (text := self._queue.get()) is not None:
        if gone:
            continue
        try:
            self._file.write(text)
            if self._queue.qsize() == 0:
                self._file.flush()
        except (OSError, ValueError):
            gone = True
    with contextlib.suppress(OSError, ValueError):
        self._file.flush()


def _render_segments(self: Any, console: Console) -> str:
    """The changed spans as what is written to the terminal."""
    out: list[str] = []
    for y, x1, x2 in self.spans:
        for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
            if strip is None or x > x2 or end <= x1:
                continue
            start, stop = max(x, x1), min(end, x2)
            if stop <= start:
                continue
            part = strip if (start, stop) == (x, end) else strip.crop(start - x, stop - x)
            out.append(Control.move_to(start, y).segment.text)
            out.append(part.render(console))
    return "".join(out)
