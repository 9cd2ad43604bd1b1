"""Five places where Textual 8.2 is corrected: keys (two), slow links, terminals that are gone, and garbage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from rich.color import ColorSystem
from rich.console import Console
from textual.strip import Strip


def install() -> None:
    """Put all in place; where Textual is no longer as it was, it is left alone."""
    alt_digits()
    alt_enter()
    slim_updates()
    gone_terminals()
    whole_strips()


def alt_digits() -> None:
    """Have alt and a digit arrive as such.

    Textual reads them as what Apple's option key types (`¡` for alt+1), which no terminal on Linux means.
    """
    from textual import _ansi_sequences

    table: Any = getattr(_ansi_sequences, "ANSI_SEQUENCES_KEYS", {})
    for digit in "0123456789":
        table.pop(f"\x1b{digit}", None)


class _Key(Enum):
    """A key that Textual's own list of keys lacks, in the form that its table has."""

    ALT_ENTER = "alt+enter"


def alt_enter() -> None:
    """Have alt and Enter arrive as such.

    Most terminals, and tmux, send ESC and a carriage return, of which Textual makes a plain Enter.
    """
    from textual import _ansi_sequences

    table: Any = getattr(_ansi_sequences, "ANSI_SEQUENCES_KEYS", {})
    table["\x1b\r"] = (_Key.ALT_ENTER,)


def slim_updates() -> None:
    """Write only the changed cells of a line, and of their style what is not so already.

    Textual's partial updates are cropped at their right end only: a number at the end of a line writes the whole line.
    And each span begins from nothing and ends in a reset: of a pane that changes a digit here and there four bytes of
    five are colours that the terminal has.
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


def whole_strips() -> None:
    """Have a line that was drawn be freed when it is dropped.

    A strip that is divided into itself keeps itself in its own cache. Each line of a streamed answer is one: 25 000
    objects within seconds that only the garbage collector ends, in pauses of 50 to 100 ms.
    """
    theirs: Any = getattr(Strip, "divide", None)

    def divide(self: Strip, cuts: Iterable[int]) -> Sequence[Strip]:
        cuts = list(cuts)
        return [self] if cuts == [self.cell_length] else theirs(self, cuts)

    if theirs is not None:
        Strip.divide = divide  # type: ignore[method-assign]


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
    return written(_changed(self), console._color_system or ColorSystem.TRUECOLOR)


def _changed(update: Any) -> Iterator[tuple[int, int, Strip]]:
    """Column, line and cells of what has changed."""
    for y, x1, x2 in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x > x2 or end <= x1:
                continue
            start, stop = max(x, x1), min(end, x2)
            if stop > start:
                yield start, y, strip if (start, stop) == (x, end) else strip.crop(start - x, stop - x)


def written(spans: Iterable[tuple[int, int, Strip]], colours: ColorSystem) -> str:
    """Spans, each from a column and a line on, as bytes for a terminal that is in no style, and is left so."""
    out: list[str] = []
    now = ""
    for x, y, strip in spans:
        out.append(f"\x1b[{y + 1};{x + 1}H")
        for text, style, _ in strip._segments:
            if not text:
                continue
            wanted = "" if style is None else style._ansi or Strip.render_ansi(style, colours)
            if wanted != now:
                out.append(_change(now, wanted))
                now = wanted
            if style is not None and style._link:
                text = f"\x1b]8;id={style._link_id};{style._link}\x1b\\{text}\x1b]8;;\x1b\\"
            out.append(text)
    if now:
        out.append("\x1b[0m")
    return "".join(out)


@lru_cache(maxsize=4096)
def _change(now: str, wanted: str) -> str:
    """From one style to another, both as parameters of SGR."""
    if not wanted:
        return "\x1b[0m"
    attributes, colour, ground = _parts(now)
    others, new_colour, new_ground = _parts(wanted)
    lost = (colour and not new_colour) or (ground and not new_ground)
    if attributes != others or lost:
        return f"\x1b[0;{wanted}m" if now else f"\x1b[{wanted}m"
    changed = [new for old, new in ((colour, new_colour), (ground, new_ground)) if new != old]
    return f"\x1b[{';'.join(changed)}m"


def _parts(style: str) -> tuple[str, str, str]:
    """Attributes, colour of the text and of the ground of a style."""
    attributes, colour, ground = [], "", ""
    codes = iter(style.split(";") if style else ())
    for code in codes:
        if code in ("38", "48"):
            kind = next(codes, "")
            value = ";".join((code, kind, *(next(codes, "") for _ in range(3 if kind == "2" else 1))))
        else:
            value = code
        number = int(code or 0)
        if number in (38, 39) or 30 <= number <= 37 or 90 <= number <= 97:
            colour = value
        elif number in (48, 49) or 40 <= number <= 47 or 100 <= number <= 107:
            ground = value
        else:
            attributes.append(value)
    return ";".join(attributes), colour, ground
