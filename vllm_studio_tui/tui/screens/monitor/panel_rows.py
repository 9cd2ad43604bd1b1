"""Rows of the monitor: panels of other packages, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from vllm_studio_tui.services.watching.panels import Cell, Panel
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row

#: The beginning of the keys of their rows, which the cursor goes to where not all of them are in sight.
PANEL = "panel:"
#: Blank cells between two columns.
GAP = 2
#: Cells that a column of text may take where others stand beside it.
MOST = 40


def panel_rows(panels: Sequence[Panel], width: int, size: Size) -> list[Row]:
    """Draw each panel: its name and who brings it, and its rows with their cells in columns."""
    x = margin(size)
    rows: list[Row] = []
    for panel in panels:
        if rows and size >= Size.BASE:
            rows.append(Row())
        head = Row()
        after = head.put(x, panel.title.upper(), "dim bold", max(1, width - x - 1))
        head.put(after + GAP, panel.package, "faint", max(0, width - after - GAP - 1))
        rows.append(head)
        if panel.fault:
            rows.append(_line(x, panel.fault, "err", width))
        elif panel.rows is None:
            rows.append(_line(x, "reading", "faint", width))
        elif not panel.rows:
            rows.append(_line(x, "nothing to show", "faint", width))
        else:
            rows += _cells(panel.rows, x, width)
    for number, row in enumerate(rows):
        row.key = f"{PANEL}{number}" if row.pieces else None
    return rows


def _line(x: int, text: str, style: str, width: int) -> Row:
    row = Row()
    row.put(x, text, style, max(1, width - x - 1))
    return row


def _cells(given: Sequence[Sequence[Cell]], x: int, width: int) -> list[Row]:
    # A row of one cell is a sentence over all columns, and makes none of them wider.
    tables = [row for row in given if len(row) > 1]
    widths = [
        min(MOST, max(cell_len(row[at].text) for row in tables if at < len(row)))
        for at in range(max(map(len, tables), default=0))
    ]
    # A heading stands over its numbers as they stand.
    numeric = [all(row[at].right for row in tables[1:] if at < len(row)) for at in range(len(widths))]
    made = []
    for cells in given:
        if len(cells) == 1:
            made.append(_line(x, cells[0].text, cells[0].style, width))
            continue
        row = Row()
        start = x
        for at, cell in enumerate(cells):
            room = min(widths[at], width - start - 1)
            if room < min(widths[at], 4) or (cell.right and room < cell_len(cell.text)):
                break  # a number that is cut would read as another one
            if cell.right or (numeric[at] and len(tables) > 1 and room >= cell_len(cell.text)):
                row.put_right(start + room, cell.text, cell.style)
            else:
                row.put(start, cell.text, cell.style, room)
            start += widths[at] + GAP
        made.append(row)
    return made
