"""The first and the last row of a dialog."""

from __future__ import annotations

from rich.cells import cell_len

from vllm_studio_tui.tui.paint.ink import Row


def head_row(title: str, width: int) -> Row:
    """Return the title of a dialog."""
    row = Row()
    row.put(2, title, "fg bold", width - 4)
    return row


def keys_row(width: int, *keys: tuple[str, str], edge: int | None = None) -> Row:
    """Return the last row of a dialog: its keys, and what they do.

    Where they do not fit, those before the last go: the first does what the dialog is for, the last leaves it.
    """
    x = edge if edge is not None else 2 if width > 40 else 0
    shown = list(keys)
    while len(shown) > 2 and x + sum(cell_len(key) + len(words) + 4 for key, words in shown) - 3 > width:
        shown.pop(-2)
    row = Row()
    for key, words in shown:
        x = row.run(x, [(key, "fg bold"), (f" {words}", "dim")]) + 3
    return row
