"""Cutting text at cells without taking a character apart."""

from __future__ import annotations

from rich.cells import split_graphemes


def cut_at(text: str, width: int) -> int:
    """Return where a text is to be cut after `width` cells, at least one whole character as people see it.

    Such a character may be many code points (a family emoji, a letter with accents): none is taken apart.
    """
    if text.isascii():
        return max(1, width)
    # A part of a long text is enough, unless its characters are very long.
    for part in (text[: 4 * width + 64], text):
        used = 0
        for start, end, size in split_graphemes(part)[0]:
            used += size
            if used > width:
                return _beside_flag(text, start) or max(1, _beside_flag(text, end))
    return len(text)


def _beside_flag(text: str, at: int) -> int:
    """Return a place to cut, moved before a flag that it would take apart: two letters that count as two for Rich."""
    first = at
    while first > 0 and "\U0001f1e6" <= text[first - 1] <= "\U0001f1ff":
        first -= 1
    inside = (at - first) % 2 and at < len(text) and "\U0001f1e6" <= text[at] <= "\U0001f1ff"
    return at - 1 if inside else at
