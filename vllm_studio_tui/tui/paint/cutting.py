"""Cutting text at cells without taking a character apart, and finding the cells in which two lines differ."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, split_graphemes

#: What takes one cell for certain, and stands in charts and tables: Latin; boxes, blocks and shapes; braille.
_NARROW = frozenset(
    map(chr, (*range(0x20, 0x7F), *range(0xAE, 0x300), *range(0x2500, 0x25FD), *range(0x2800, 0x2900), 0x2013, 0x2026))
)


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


def one_cell_each(text: str) -> bool:
    """Return whether each character of a text takes one cell."""
    if text.isascii():
        return text.isprintable()
    # The widths of a wide character and of an accent without one of its own cancel out.
    return _NARROW.issuperset(text) or all(cell_len(character) == 1 for character in text)


def changes(now: Sequence[tuple[str, str]], before: Sequence[tuple[str, str]]) -> list[tuple[int, int]] | None:
    """Return the cells in which two lines of the same width differ: first, and one after the last, of each change.

    None where they cannot be told apart by cells: a character does not take just one.

    Args:
        now: Texts with their styles, one after the other.
    """
    if not one_cell_each("".join([text for text, _ in now])):
        return None
    if not one_cell_each("".join([text for text, _ in before])):
        return None
    found: list[tuple[int, int]] = []
    others = iter(before)
    was, looked = "", ""  # what is left of a text of the other line
    at = 0
    for piece in now:
        if not was:
            other = next(others, None)
            if other is None:
                return None  # it is shorter
            if other == piece:
                at += len(piece[0])
                continue
            was, looked = other
        text, style = piece
        while text:
            if not was:
                other = next(others, None)
                if other is None:
                    return None
                was, looked = other
                continue
            length = min(len(text), len(was))
            if style != looked:
                found.append((at, at + length))
            elif text[:length] != was[:length]:
                found += [(at + n, at + n + 1) for n in range(length) if text[n] != was[n]]
            at, text, was = at + length, text[length:], was[length:]
    return found
