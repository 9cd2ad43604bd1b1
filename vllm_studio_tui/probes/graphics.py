"""Pictures of the terminal itself: what it can do, and what is written to it (kitty's graphics protocol, sixel).

A picture is sent once. Where it stands is said by cells of text, each a sign with its row and column as accents, and
the picture's number as its colour: they scroll, are cut and covered as any other text (kitty: "Unicode placeholders").
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from vllm_studio_tui.probes.terminal import wrapped

#: Its name and version, whether it takes pictures, the size of a cell, device attributes; then a status report, which
#: every terminal answers, as the end.
QUESTION = "\x1b[>q\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[c\x1b[5n"
#: Any of the answers, the one that ends them, and the beginning of one whose end has not come.
REPLY = re.compile(
    r"\x1bP>\|[^\x1b\x07]{0,100}\x1b\\|\x1b_G[^\x1b\x07]{0,200}\x1b\\|\x1b\[6;\d{1,5};\d{1,5}t|\x1b\[\?[\d;]{1,60}c|\x1b\[0n"
)
END = "\x1b[0n"
REPLY_BEGINNING = re.compile(
    r"\x1b(?:P(?:>(?:\|[^\x1b\x07]{0,100}\x1b?)?)?|_(?:G[^\x1b\x07]{0,200}\x1b?)?"
    r"|\[(?:\?[\d;]{0,60}|6(?:;\d{0,5}){0,2}|0)?)?\Z"
)
_NAME = re.compile(r"\x1bP>\|(\w+)[ (]v?(\d+)\.(\d+)")
_TAKEN = re.compile(r"\x1b_G[^\x1b]*i=31[^\x1b]*;OK\x1b\\")
_CELL = re.compile(r"\x1b\[6;(\d+);(\d+)t")
_ATTRIBUTES = re.compile(r"\x1b\[\?([\d;]+)c")
#: From which version on a terminal draws pictures where cells of text say so. Others that take pictures do not.
_WITH_CELLS = {"kitty": (0, 28), "ghostty": (1, 0)}
#: The sign, and the accents that count rows and columns (kitty: rowcolumn-diacritics.txt), as far as they are used.
SIGN = "\U0010eeee"
_COUNTING = (
    "305 30d-30e 310 312 33d-33f 346 34a-34c 350-352 357 35b 363-36f 483-487 592-595 597-599 59c-5a1 5a8-5a9 5ab-5ac "
    "5af 5c4 610-617 657-65b 65d-65e 6d6-6dc 6df-6e2 6e4 6e7-6e8 6eb-6ec 730 732-733 735-736 73a 73d 73f-741 743 745 "
    "747 749-74a 7eb-7f1 7f3 816-819 81b-823 825-827 829-82d"
)
#: Bytes of base64 in one sequence.
_CHUNK = 4096
#: A cell of a terminal that does not say: width and height in points.
CELL = (10, 20)


@dataclass(frozen=True, slots=True)
class Graphics:
    """What a terminal can do.

    Attributes:
        kind: `kitty`, `sixel` or `blocks`: characters alone.
        cell: Width and height of a cell in points.
    """

    kind: str = "blocks"
    cell: tuple[int, int] = CELL


def read_graphics(came: str, cell: tuple[int, int] | None = None) -> Graphics:
    """Return what a terminal can do by its answers.

    Args:
        cell: The size of a cell, as the system knows it; None: it does not.
    """
    if cell is None and (found := _CELL.search(came)):
        cell = _sane(int(found[2]), int(found[1]))
    name = _NAME.search(came)
    least = _WITH_CELLS.get(name[1].lower()) if name is not None else None
    if name is not None and least is not None and _TAKEN.search(came) and (int(name[2]), int(name[3])) >= least:
        return Graphics("kitty", cell or CELL)
    attributes = _ATTRIBUTES.search(came)
    if attributes is not None and "4" in attributes[1].split(";")[1:]:
        return Graphics("sixel", cell or CELL)
    return Graphics(cell=cell or CELL)


def _sane(width: int, height: int) -> tuple[int, int] | None:
    return (width, height) if 2 <= width <= 200 and 2 <= height <= 400 else None


def cell_of(columns: int, rows: int, width: int, height: int) -> tuple[int, int] | None:
    """Return the size of a cell of a window with so many of them, and so many points; None: it is not known."""
    return _sane(width // columns, height // rows) if columns > 0 and rows > 0 else None


def read_tmux(environ: Mapping[str, str]) -> Graphics:
    """Return what the terminal outside of tmux can be given through it. Blocking.

    tmux keeps what it does not know to itself unless `allow-passthrough` is on. It is asked, for an answer of the
    terminal outside would come as keys.
    """
    program = shutil.which("tmux", path=environ.get("PATH"))
    if program is None:
        return Graphics()
    told = "#{client_termname} #{allow-passthrough} #{client_cell_width} #{client_cell_height}"
    try:
        done = subprocess.run(
            [program, "display-message", "-p", told],
            capture_output=True,
            timeout=1.0,
            env=dict(environ),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Graphics()
    name, passed, width, height, *_ = [*done.stdout.decode("utf-8", "replace").split(), "", "", "", ""]
    cell = _sane(int(width), int(height)) if width.isdecimal() and height.isdecimal() else None
    known = any(one in name for one in _WITH_CELLS)
    return Graphics("kitty" if known and passed in ("on", "all", "1") else "blocks", cell or CELL)


# --- kitty ----------------------------------------------------------------------------------------------


def _counting() -> tuple[str, ...]:
    found = []
    for part in _COUNTING.split():
        first, _, last = part.partition("-")
        found += [chr(number) for number in range(int(first, 16), int(last or first, 16) + 1)]
    return tuple(found)


COUNTING = _counting()
#: Columns and rows of a picture at most.
MOST = len(COUNTING)


def cells_of(number: int, columns: int, rows: int) -> list[str]:
    """Return the rows of text that stand for a picture; their colour has to be that of `colour_of`."""
    high = COUNTING[number >> 24]
    return [
        "".join(f"{SIGN}{COUNTING[row]}{COUNTING[column]}{high}" for column in range(columns)) for row in range(rows)
    ]


def colour_of(number: int) -> int:
    """Return which of 256 colours says a picture's number: the lowest eight bits. The highest are an accent."""
    return number & 0xFF


def sent(number: int, png: bytes, columns: int, rows: int, inside: str = "") -> str:
    """Return what gives a terminal a picture, to be drawn where cells say so."""
    data = base64.b64encode(png).decode()
    chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)] or [""]
    out = []
    for index, chunk in enumerate(chunks):
        head = f"a=T,U=1,q=2,f=100,t=d,i={number},c={columns},r={rows}," if not index else "q=2,"
        more = int(index + 1 < len(chunks))
        out.append(wrapped(f"\x1b_G{head}m={more};{chunk}\x1b\\", inside))
    return "".join(out)


def deleted(number: int, inside: str = "") -> str:
    """Return what takes a picture and its data away again."""
    return wrapped(f"\x1b_Ga=d,d=I,q=2,i={number}\x1b\\", inside)
