"""Rows of styled text, and their conversion to Textual's strips.

A row consists of pieces of text at fixed columns. Styles are words, such as `dim` or `ok bold`; the theme defines the
colours of the words. All text of a row is sanitised here, before it can reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from rich.cells import cell_len, set_cell_size, split_graphemes
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.paint.cutting import changes, cut_at
from vllm_studio_tui.tui.paint.glyphs import UNICODE, Glyphs
from vllm_studio_tui.tui.paint.hues import Hues, Styles

#: The attributes among the words of a style; every other word is a colour of the theme.
ATTRIBUTES = frozenset({"bold", "italic", "underline", "reverse", "strike"})
#: Unchanged cells between two changed spans of a row from which two separate updates write less than a joint one.
BETWEEN = 12
#: The number of characters of a text that `wrap` reads.
LONGEST = 8000
#: Attributes that are visible on blanks too.
SOLID = frozenset({"underline", "reverse", "strike"})
#: Begins the word of a style that says where its text leads: `link=ID|ADDRESS`, the address safe (`kit.web_addresses`).
LINK = "link="
#: Characters of an address that a terminal is given at most: it stands in each line of a link anew.
LONGEST_LINK = 1000
#: Colours that become SGR dim where colours are off.
QUIET = frozenset({"dim", "faint", "track", "fill", "comment"})


@dataclass(slots=True)
class Row:
    """A line of a canvas.

    Attributes:
        pieces: Column, sanitised text and style of each piece.
        plane: The background, a colour of the theme; empty for that of the page.
        key: The id of the item it shows; the cursor can be on rows with a key.
        links: For each link: first column, column after the last, and the action that a click runs.
        bar: The colour of the bar at the left edge of a block that needs attention; empty for no bar.
        span: The first column that the cursor covers, where its bar stands, and the one after the last; None: all.
    """

    pieces: list[tuple[int, str, str]] = field(default_factory=list)
    plane: str = ""
    key: str | None = None
    links: list[tuple[int, int, str]] = field(default_factory=list)
    bar: str = ""
    span: tuple[int, int] | None = None
    #: What `_filled` returned last, with the width and the number of pieces then: a row is drawn, then compared.
    _last: tuple[int, int, list[tuple[str, str]]] | None = field(default=None, init=False, repr=False, compare=False)

    def put(self, column: int, text: str, style: str = "fg", width: int | None = None) -> int:
        """Draw text from a column on, cut to `width` cells with an ellipsis; return the column after it."""
        text = _drawable(text)
        if width is not None:
            text = fit(text, width)
        if text:
            self.pieces.append((column, text, style))
        return column + cell_len(text)

    def put_right(self, end: int, text: str, style: str = "fg") -> int:
        """Draw text so that its last cell is before column `end`; return its first column."""
        text = _drawable(text)
        start = end - cell_len(text)
        if text:
            self.pieces.append((start, text, style))
        return start

    def run(self, column: int, parts: Iterable[tuple[str, str]]) -> int:
        """Draw several texts with their styles one after the other; return the column after them."""
        for text, style in parts:
            column = self.put(column, text, style)
        return column

    def picture(self, column: int, parts: Iterable[tuple[str, str]]) -> None:
        """Draw a row of a picture that we made: its cells have signs that text of others must not have."""
        for text, style in parts:
            self.pieces.append((column, text, style))
            column += cell_len(text)

    def link(self, start: int, end: int, action: str) -> None:
        """Make the cells from `start` to before `end` run an action when clicked."""
        self.links.append((start, end, action))

    def text(self, width: int = 400) -> str:
        """Return the text without styles, for tests and for copying."""
        return "".join(text for text, _ in self._filled(width)).rstrip()

    def _filled(self, width: int) -> list[tuple[str, str]]:
        """Return the pieces and the gaps between them, exactly `width` cells; a later piece covers an earlier one."""
        last = self._last
        if last is None or last[0] != width or last[1] != len(self.pieces):
            last = self._last = (width, len(self.pieces), self._fill(width))
        return last[2]

    def _fill(self, width: int) -> list[tuple[str, str]]:
        out: list[tuple[str, str]] = []
        at = 0
        for column, text, style in sorted(self.pieces, key=lambda piece: piece[0]):
            if column < at:
                return self._covered(width)
            if column >= width:
                break
            if column > at:
                out.append((" " * (column - at), ""))
            cells = cell_len(text)
            if column + cells > width:
                text, cells = fit(text, width - column), width - column
                text = set_cell_size(text, cells)
            out.append((text, style))
            at = column + cells
        if at < width:
            out.append((" " * (width - at), ""))
        return out

    def _covered(self, width: int) -> list[tuple[str, str]]:
        """Return the same as `_filled` for pieces that overlap, cell by cell."""
        cells: list[tuple[str, str]] = [(" ", "")] * width
        for column, text, style in self.pieces:
            at = column
            for start, end, size in split_graphemes(text)[0]:
                character = text[start:end]
                if at < 0 or at + size > width:
                    break
                if size == 0:
                    if at > 0 and cells[at - 1][0]:
                        cells[at - 1] = (cells[at - 1][0] + character, cells[at - 1][1])
                    continue
                if cells[at][0] == "" and at > 0:
                    cells[at - 1] = (" ", cells[at - 1][1])  # the left half of a covered wide character
                after = at + size
                if after < width and cells[after][0] == "":
                    cells[after] = (" ", cells[after][1])
                cells[at] = (character, style)
                if size == 2:
                    cells[at + 1] = ("", style)
                at = after
        out: list[tuple[str, str]] = []
        for character, style in cells:
            if out and out[-1][1] == style:
                out[-1] = (out[-1][0] + character, style)
            else:
                out.append((character, style))
        return out

    def changed_spans(self, other: Row, width: int) -> list[tuple[int, int]]:
        """Return the spans that differ from another row: first column and column after the last of each.

        Spans with less than BETWEEN cells between them are joined. Rows with wide characters differ as a whole.
        """
        if self.plane != other.plane or self.bar != other.bar:
            return [(0, width)]
        found = changes(self._filled(width), other._filled(width))
        if found is None:
            return [(0, width)]
        spans: list[tuple[int, int]] = []
        for start, end in found:
            if spans and start - spans[-1][1] < BETWEEN:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return spans

    def same(self, other: Row) -> bool:
        """Return whether the other row looks the same."""
        return self.pieces == other.pieces and self.plane == other.plane and self.bar == other.bar


_ellipsis = UNICODE.ellipsis
#: What stands in texts of ours, such as the dash of an unknown number, and how it is written with ASCII alone.
_ASCII = str.maketrans({"–": "-", "…": ".."})


def in_ascii(text: str) -> str:
    """Return a text with our own dashes and ellipses as the terminal has them."""
    return text if text.isascii() or _ellipsis == UNICODE.ellipsis else text.translate(_ASCII)


def _drawable(text: str) -> str:
    """Return a text of one line without what a terminal would obey, nor the signs that it does not have."""
    return in_ascii(_cleaned(text) if len(text) < 200 else clean_line(text, limit=4000))


@lru_cache(2048)
def _cleaned(text: str) -> str:
    """Return what `clean_line` does: bars and units are the same from second to second."""
    return clean_line(text)


def fit(text: str, width: int, ellipsis: str | None = None) -> str:
    """Return the text cut to `width` cells, with an ellipsis at its end where it does not fit."""
    if width <= 0:
        return ""
    if len(text) <= width and text.isascii():
        return text
    if cell_len(text) <= width:
        return text
    mark = _ellipsis if ellipsis is None else ellipsis
    if width <= len(mark):
        return set_cell_size(text, width)
    room = width - len(mark)
    head = text[: cut_at(text, room)]
    return (head.rstrip() if cell_len(head) <= room else "") + mark


def fit_change(old: str, new: str, room: int) -> tuple[str, str]:
    """Return an old and a new text; of paths too long for the room, what follows the folders that they share."""
    shared = 0
    if cell_len(old) + cell_len(new) > room:
        same = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
        shared = max(0, old.rfind("/", 0, same))
    return (f"{_ellipsis}{old[shared:]}", f"{_ellipsis}{new[shared:]}") if shared else (old, new)


def use_ellipsis(mark: str) -> None:
    """Set the ellipsis of all rows drawn from now on; it depends on the characters that the terminal has."""
    global _ellipsis
    _ellipsis = mark


class Ink:
    """The colours of a theme as Rich styles, and the glyphs.

    Args:
        colours: The colour of each word (`#rrggbb`, an ANSI name, or `default`).
        plain: Use no colours: the words of QUIET become dim, and backgrounds are not drawn.
    """

    def __init__(self, colours: Mapping[str, str], glyphs: Glyphs = UNICODE, *, plain: bool = False) -> None:
        self.glyphs = glyphs
        self.plain = plain
        #: The terminal takes hyperlinks (OSC 8).
        self.links = True
        #: The column of the cursor and of the bars of blocks; negative: they are not drawn.
        self.edge = 0
        self._colours, self._styles = Hues(colours), Styles()
        use_ellipsis(glyphs.ellipsis)

    def colour(self, word: str) -> str | None:
        """Return the colour of a word; None where the theme has none."""
        return self._colours.get(word)

    def style(self, words: str, plane: str = "") -> Style:
        """Return the style of words on a background."""
        key = (words, plane)
        found = self._styles.get(key)
        if found is None:
            found = self._styles[key] = self._make(words, plane)
        return found

    def _make(self, words: str, plane: str) -> Style:
        names = words.split()
        link = next((name for name in names if name.startswith(LINK)), "")
        if link:
            made = self.style(" ".join(name for name in names if name != link), plane)
            name, _, address = link.removeprefix(LINK).partition("|")
            return _leading(made, name, address) if self.links and len(address) <= LONGEST_LINK else made
        attributes: dict[str, Any] = {name: True for name in names if name in ATTRIBUTES}
        named = [name for name in names if name not in ATTRIBUTES and not name.startswith("on-")]
        planes = [name[3:] for name in names if name.startswith("on-")]
        name = named[-1] if named else "fg"
        if self.plain:
            return Style(dim=True if name in QUIET else None, **attributes)
        foreground = _colour(self._colours.of(name) or self._colours.get("fg", "default"))
        if name in QUIET and foreground.is_default:
            attributes["dim"] = True  # the terminal's own text colour, a step back
        background = _colour(self._colours.of(planes[-1] if planes else plane or "bg") or "default")
        return Style(color=foreground, bgcolor=background, **attributes)

    def strip(
        self,
        row: Row,
        width: int,
        *,
        cursor: bool = False,
        focused: bool = True,
        edge: int | None = None,
        lead: bool = True,
    ) -> Strip:
        """Return a row as a Textual strip; with `cursor`, marked as the row under the cursor.

        `lead` tells the first of several rows that are under the cursor together.
        """
        if cursor and row.span is not None:
            start, end = row.span
            plain = self.strip(row, width)
            there = self.strip(replace(row, span=None), width, cursor=True, focused=focused, edge=start or None)
            return Strip.join([plain.crop(0, start), there.crop(start, end), plain.crop(end, width)])
        plane = "sel" if cursor and row.plane not in ("errbg", "warnbg") else row.plane
        segments: list[Segment] = []
        last = ""
        for text, style in row._filled(width):
            # A blank looks the same in every style that only colours letters; fewer style changes are fewer bytes.
            if not style and segments and not SOLID.intersection(last.split()) and "on-" not in last:
                segments[-1] = Segment(segments[-1].text + text, segments[-1].style)
                continue
            segments.append(Segment(text, self.style(style, plane)))
            last = style
        mark = ""
        if cursor:
            mark, style = self.glyphs.cursor, "accent bold" if focused else "faint"
        elif row.bar:
            mark, style = self.glyphs.block, row.bar
        column = self.edge if edge is None else edge
        strip = Strip(segments, width)
        if cursor and column < 0 and width > 1:
            # Small windows have no column for the mark.
            first = strip.crop(0, 1)
            if not first.text.strip():
                column = 0
            elif self.plain or self._colours.get("sel") == self._colours.get("bg"):  # there is no plane to see
                return Strip.join([first.apply_style(Style(reverse=True)), strip.crop(1, width)]) if lead else strip
        if mark and width > 1 and column >= 0:
            return Strip.join(
                [
                    strip.crop(0, column),
                    Strip([Segment(mark, self.style(style, plane))], 1),
                    strip.crop(column + 1, width),
                ]
            )
        return strip


def _leading(style: Style, name: str, address: str) -> Style:
    """Return a style whose text leads to an address; cells of one name are one link, on whichever lines they stand."""
    made = style.update_link(address)
    made._link_id = name
    return made


@lru_cache(512)
def _colour(name: str) -> Color:
    if name.startswith("ansi_"):
        name = name[5:]
        return Color.parse("default" if name == "default" else name)
    return Color.parse(name)


def stack(*parts: Sequence[Row]) -> list[Row]:
    """Return blocks of rows one below the other."""
    return [row for part in parts for row in part]


def wrap(text: str, width: int) -> list[str]:
    """Return sanitised text wrapped at blanks to lines of at most `width` cells; longer words are split.

    For text that is shown in a few lines: only the first LONGEST characters are read.
    """
    width = max(1, width)
    lines: list[str] = []
    for paragraph in text[:LONGEST].split("\n"):
        line, used = "", 0
        for word in in_ascii(clean_line(paragraph)).split(" "):
            cells = cell_len(word)
            if line and used + 1 + cells > width:
                lines.append(line)
                line, used = "", 0
            while cells > width:
                cut = cut_at(word, width)
                lines.append(word[:cut])
                word = word[cut:]
                cells = cell_len(word)
            line = f"{line} {word}" if line else word
            used = cell_len(line)
        lines.append(line)
    return lines


def cut_lines(text: str, width: int, most: int) -> list[str]:
    """Return text wrapped to at most `most` lines; an ellipsis at the end of the last tells that there is more."""
    lines = wrap(text, width)
    if len(lines) <= most:
        return lines
    cut = f"{lines[most - 1]} {lines[most]}"
    if most + 1 < len(lines) and cell_len(cut) <= width:
        cut = f"{cut} {_ellipsis}"
    return [*lines[: most - 1], fit(cut, max(1, width))]
