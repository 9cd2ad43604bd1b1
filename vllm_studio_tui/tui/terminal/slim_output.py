"""Text for the terminal that shows the changed cells of a frame, in as few bytes as that takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from textual.strip import Strip

#: Pieces of a frame that are sorted by style at most: what changes as a whole is written as it stands.
MOST_SORTED = 400
#: Column, line and cells of a changed span.
Span = tuple[int, int, Strip | Sequence[Segment]]


def as_text(spans: Iterable[Span], console: Console) -> str:
    """Return changed spans as text for the terminal of a console."""
    return written(spans, console._color_system or ColorSystem.TRUECOLOR)


def written(spans: Iterable[Span], colours: ColorSystem) -> str:
    """Return spans, each with its first column and line, as terminal output that begins and ends without a style.

    Moving the cursor takes 4 to 8 bytes, another colour 17 to 36: where some cells of many lines change, those of one
    style are written one after the other.
    """
    pieces = list(_pieces(spans, colours))
    straight = _joined(pieces)
    if len(pieces) > MOST_SORTED or len({piece[0] for piece in pieces}) < 2:
        return straight
    order = {style: at for at, style in enumerate(dict.fromkeys(piece[0] for piece in pieces))}
    by_style = _joined(sorted(pieces, key=lambda piece: order[piece[0]]))
    return min(straight, by_style, key=len)


#: A text with the SGR parameters of its style, its line and first column, and its cells.
_Piece = tuple[str, int, int, str, int]


def _pieces(spans: Iterable[Span], colours: ColorSystem) -> Iterator[_Piece]:
    for x, y, cells_of_it in spans:
        for segment in cells_of_it._segments if isinstance(cells_of_it, Strip) else cells_of_it:
            text, style, _ = segment
            if not text:
                continue
            wanted = "" if style is None else style._ansi or Strip.render_ansi(style, colours)
            cells = len(text) if text.isascii() else segment.cell_length
            if style is not None and style._link:
                text = f"\x1b]8;id={style._link_id};{style._link}\x1b\\{text}\x1b]8;;\x1b\\"
            yield wanted, y, x, text, cells
            x += cells


def _joined(pieces: Iterable[_Piece]) -> str:
    """Return pieces as terminal output, in the order given."""
    out: list[str] = []
    now, line, column, sure = "", -1, -1, False
    for wanted, y, x, text, cells in pieces:
        if y != line or x < column or (x > column and not sure):
            out.append(f"\x1b[{y + 1};{x + 1}H")
        elif x > column:
            # A step is relative: only after text whose width every terminal agrees on.
            out.append("\x1b[C" if x == column + 1 else f"\x1b[{x - column}C")
        if wanted != now:
            out.append(_change(now, wanted))
            now = wanted
        out.append(text)
        line, column, sure = y, x + cells, text.isascii()
    if now:
        out.append("\x1b[0m")
    return "".join(out)


@lru_cache(maxsize=4096)
def _change(now: str, wanted: str) -> str:
    """Return the sequence that changes one style to another, both given as SGR parameters."""
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
    """Return the attributes, the text colour and the background of a style, as SGR parameters."""
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
