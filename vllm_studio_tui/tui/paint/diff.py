"""A change of a recipe as rows: `-` old, `+` new, field by field. For the sheet, and for pages that draw it in line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.ink import Row, fit, wrap

if TYPE_CHECKING:
    from vllm_studio_tui.services.recipes.changes import FieldChange
    from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Planes and signs of what goes and of what comes. The signs alone tell it where there are no colours.
GONE, COME = ("-", "err", "errbg"), ("+", "ok", "code")
#: Lines of one value that are shown.
LINES = 12
#: The widest column of names.
NAMES = 36


def diff_rows(fields: Sequence[FieldChange], x: int, width: int, *, most: int | None = None) -> list[Row]:
    """Draw changed fields from column `x` on, `width` cells wide.

    Args:
        most: Rows there is room for; the last of them says how many fields are left out.
    """
    values = [text for one in fields for lines in one.texts() for text in lines]
    # A name that is wider than its column pushes its value on, or under it.
    names = min(NAMES, width * 45 // 100, max((cell_len(one.field) for one in fields), default=0))
    room = width - names - 5
    short = max((cell_len(clean_line(one)) for one in values), default=0)
    # Numbers stand under each other by their last digit.
    column = short if short <= min(room, 24) else 0
    rows: list[Row] = []
    for index, one in enumerate(fields):
        drawn = list(_field(one, x, width, names, column))
        left = len(fields) - index
        if most is not None and len(rows) + len(drawn) > most - (1 if left > 1 else 0) and rows:
            rows[most - 1 :] = []
            more = Row()
            more.put(x, f"{left} more {'field' if left == 1 else 'fields'}", "dim", width)
            return [*rows, more]
        rows += drawn
    return rows if most is None else rows[:most]


def _field(one: FieldChange, x: int, width: int, names: int, column: int) -> Iterator[Row]:
    old, new = one.texts()
    for (sign, colour, plane), lines in ((GONE, old), (COME, new)):
        for index, text in enumerate(lines[:LINES]):
            name = one.field if index == 0 else ""
            yield from _line(sign, colour, plane, name, text, x, width, names, column)
        if len(lines) > LINES:
            more = Row(plane=plane)
            more.put(x + 2 + names + 2, f"{len(lines) - LINES} more lines", "dim", max(0, width - names - 4))
            yield more


def _line(
    sign: str, colour: str, plane: str, name: str, text: str, x: int, width: int, names: int, column: int
) -> Iterator[Row]:
    text = clean_line(text)
    row = Row(plane=plane)
    row.put(x, sign, colour)
    row.put(x + 2, fit(name, width - 2), "fg")
    start = x + 2 + names + 2
    room = width - (start - x) - 1
    if name and cell_len(name) > names:
        start = x + 2 + cell_len(fit(name, width - 2)) + 2
        room = width - (start - x) - 1
    if column and cell_len(text) <= column <= room:
        row.put_right(start + column, text, "fg bold")
        yield row
        return
    if room < 12 and cell_len(text) > room:
        # Name and value have no room beside each other.
        yield row
        row, start = Row(plane=plane), x + 4
        row.put(x, sign, colour)
        room = max(4, width - 5)
    parts = wrap(text, room)[:4] or [""]
    row.put(start, parts[0], "fg bold")
    yield row
    for part in parts[1:]:
        further = Row(plane=plane)
        further.put(start, part, "fg bold")
        yield further


def note_rows(notes: Sequence[str], glyphs: Glyphs, x: int, width: int) -> list[Row]:
    """Draw what follows from a change; a sentence that begins with `!` is a warning."""
    rows: list[Row] = []
    for one in notes:
        warns = one.startswith("!")
        indent = 2 if warns else 0
        for index, part in enumerate(wrap(one.removeprefix("!").strip(), max(8, width - indent))[:4]):
            row = Row()
            if warns and index == 0:
                row.put(x, glyphs.warning, "warn")
            row.put(x + indent, part, "dim")
            rows.append(row)
    return rows
