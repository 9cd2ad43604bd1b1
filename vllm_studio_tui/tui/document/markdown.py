"""Renders Markdown as lines of styled text, from the tokens of markdown-it; takes any text, and any width from 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit.markdown import markdown_parser
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.kit.web_addresses import safe_address
from vllm_studio_tui.tui.document.code import code_lines
from vllm_studio_tui.tui.document.line_breaking import Line, Part, cells, cut, fold
from vllm_studio_tui.tui.document.links import link_style, linked, target

if TYPE_CHECKING:
    from markdown_it.token import Token

#: Below this width the marks of nested lists alone may be wider than the line.
NARROW = 24
#: Deeper nesting is drawn without further indentation.
DEEPEST = 12


def render(
    source: str,
    width: int,
    *,
    bullet: str = "•",
    rule: str = "─",
    bar: str = "▎",
    ready: Callable[[], None] | None = None,
    references: Mapping[str, Any] | None = None,
) -> list[Line]:
    """Return Markdown as lines of at most `width` cells, without a blank line at either end.

    Args:
        ready: Called, in another thread, when a missing lexer has been loaded.
        references: Where references lead that are defined in another part of the text.
    """
    return _Renderer(max(1, width), bullet, rule, bar, ready).render(clean(source), references)


class _Renderer:
    def __init__(self, width: int, bullet: str, rule: str, bar: str, ready: Callable[[], None] | None) -> None:
        self._width = width
        self._bullet = bullet
        self._rule = rule
        self._bar = bar
        self._ready = ready
        self._lines: list[Line] = []
        self._links: Counter[str] = Counter()

    def render(self, source: str, references: Mapping[str, Any] | None = None) -> list[Line]:
        tokens = markdown_parser().parse(source, {"references": dict(references)} if references else {})
        self._blocks(tokens, 0, len(tokens), (), ())
        while self._lines and not self._lines[-1].parts and not self._lines[-1].plane:
            self._lines.pop()
        room = max(2, self._width)  # a wide character has nowhere else to go
        if room >= NARROW:
            return self._lines
        return [line if _wide(line.parts) <= room else self._cut(line, room) for line in self._lines]

    def _cut(self, line: Line, room: int) -> Line:
        """Return what fits of a line that is wider than the room there is."""
        kept: list[Part] = []
        for text, style in line.parts:
            if cells(text) > room:
                break
            kept.append((text, style))
            room -= cells(text)
        return line._replace(parts=tuple(kept))

    # --- blocks -----------------------------------------------------------------------------------------

    def _blocks(
        self, tokens: Sequence[Token], start: int, end: int, first: Sequence[Part], later: Sequence[Part]
    ) -> None:
        """Render the blocks between two tokens, with `first` before their first line and `later` before every other."""
        at = start
        while at < end:
            token = tokens[at]
            close = _partner(tokens, at)
            before = len(self._lines)
            kind = token.type
            if kind == "paragraph_open":
                self._put(self._inline(tokens[at + 1]), first, later)
                if not token.hidden:
                    self._gap(later)
            elif kind == "heading_open":
                runs = [(text, _with(style, "bold")) for text, style in self._inline(tokens[at + 1])]
                if token.tag == "h1":
                    runs = [(text, _with(style, "accent" if style == "fg" else "")) for text, style in runs]
                self._put(runs, first, later)
                self._gap(later)
            elif kind in ("bullet_list_open", "ordered_list_open"):
                self._list(tokens, at, close, first, later)
            elif kind == "blockquote_open":
                quote = ((f"{self._bar} ", "track"),)
                inner = [*later, *quote] if len(later) < DEEPEST else list(later)
                self._blocks(tokens, at + 1, close, [*first, *quote], inner)
                self._strip_gap()
                self._gap(later)
            elif kind in ("fence", "code_block"):
                self._code(token, first, later)
                self._gap(later)
            elif kind == "table_open":
                rows, aligns = self._table_rows(tokens, at, close)
                indent = sum(cells(text) for text, _ in later)
                for line in table_lines(rows, aligns, max(1, self._width - indent), rule=self._rule):
                    self._lines.append(Line((*later, *line.parts), line.plane))
                self._gap(later)
            elif kind == "hr":
                self._lines.append(Line((*later, (self._rule * max(1, self._width - _wide(later)), "track"))))
                self._gap(later)
            elif kind == "inline":
                self._put(self._inline(token), first, later)
            elif kind == "html_block":
                self._put([(token.content, "dim")], first, later)
                self._gap(later)
            if len(self._lines) > before:
                first = later
            at = close + 1

    def _put(self, runs: Sequence[Part], first: Sequence[Part], later: Sequence[Part]) -> None:
        self._lines += fold(runs, self._width, first, later)

    def _gap(self, later: Sequence[Part]) -> None:
        bars = tuple(part for part in later if part[0].startswith(self._bar))
        self._lines.append(Line(bars))

    def _strip_gap(self) -> None:
        if self._lines and not any(text.strip(f" {self._bar}") for text, _ in self._lines[-1].parts):
            self._lines.pop()

    def _list(
        self, tokens: Sequence[Token], start: int, end: int, first: Sequence[Part], later: Sequence[Part]
    ) -> None:
        ordered = tokens[start].type == "ordered_list_open"
        number = int(tokens[start].attrGet("start") or 1) if ordered else 0
        at = start + 1
        deep = _wide(later) > self._width // 2 or len(later) >= DEEPEST
        while at < end:
            close = _partner(tokens, at)
            mark = f"{number}. " if ordered else f"{self._bullet} "
            lead: list[Part] = [*first, (mark, "dim")]
            hang = later if deep else [*later, (" " * len(mark), "fg")]
            before = len(self._lines)
            self._blocks(tokens, at + 1, close, lead, hang)
            if len(self._lines) == before:
                self._lines.append(Line(tuple(lead)))
            first = later
            number += 1
            at = close + 1
        self._strip_gap()
        if not (later or first):
            self._gap(later)  # a list within a list is followed by its next item at once

    def _code(self, token: Token, first: Sequence[Part], later: Sequence[Part]) -> None:
        language = clean_line(token.info or "").strip().split(" ")[0][:30]
        indent = _wide(later)
        source = token.content
        for index, line in enumerate(code_lines(source, language, max(1, self._width - indent), ready=self._ready)):
            lead = tuple(first if index == 0 else later)
            self._lines.append(Line((*lead, *line.parts), line.plane, line.right))

    def _table_rows(self, tokens: Sequence[Token], start: int, end: int) -> tuple[list[list[list[Part]]], list[str]]:
        rows: list[list[list[Part]]] = []
        aligns: list[str] = []
        for index in range(start, end):
            token = tokens[index]
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                rows[-1].append(self._inline(tokens[index + 1]))
                if len(rows) == 1:
                    style = str(token.attrGet("style") or "")
                    aligns.append("right" if "right" in style else "center" if "center" in style else "left")
        return rows, aligns

    # --- inline -----------------------------------------------------------------------------------------

    def _inline(self, token: Token) -> list[Part]:
        runs: list[Part] = []
        styles: list[str] = []
        link, address = "", None
        inside: list[str] = []
        for child in token.children or ():
            kind = child.type
            style = " ".join(dict.fromkeys(styles))
            if kind in ("text", "text_special", "html_inline"):
                style = f"fg {style}".strip()
                runs += [(child.content, self._to(address, style))] if link else linked(child.content, style)
                inside.append(child.content)
            elif kind == "code_inline":
                runs.append((child.content, self._to(address, f"accent {style}".strip())))
                inside.append(child.content)
            elif kind == "softbreak":
                runs.append((" ", self._to(address, "fg underline") if address else "fg"))
                inside.append(" ")
            elif kind == "hardbreak":
                runs.append(("\n", "fg"))
            elif kind in _OPEN:
                styles.append(_OPEN[kind])
            elif kind in _CLOSE and _CLOSE[kind] in styles:
                styles.remove(_CLOSE[kind])
            elif kind == "link_open":
                link = str(child.attrGet("href") or "")
                address = safe_address(link)
                self._links[address or link] += 1
                inside = []
                styles.append("underline")
            elif kind == "link_close":
                if "underline" in styles:
                    styles.remove("underline")
                # Where a link leads is always shown: its text may say something else.
                shown = "".join(inside)
                if address is not None:
                    runs += target(shown, address, self._links[address])
                elif link and link != shown:
                    runs.append((f" ({link})", "faint"))
                link, address = "", None
            elif kind == "image":
                runs += self._image(child)
        return runs or [(token.content, "fg")] if not token.children else runs

    def _to(self, address: str | None, style: str) -> str:
        return style if address is None else link_style(style, address, self._links[address])

    def _image(self, token: Token) -> list[Part]:
        source = str(token.attrGet("src") or "")
        address = safe_address(source)
        words = f"[image: {token.content or source}]"
        if address is None:
            return [(words, "dim")]
        self._links[address] += 1
        number = self._links[address]
        behind = target(token.content, address, number) if token.content else []
        return [(words, link_style("dim", address, number)), *behind]


_OPEN = {"strong_open": "bold", "em_open": "italic", "s_open": "strike"}
_CLOSE = {"strong_close": "bold", "em_close": "italic", "s_close": "strike"}


def _with(style: str, word: str) -> str:
    if word == "accent":
        return " ".join("accent" if name == "fg" else name for name in style.split())
    return f"{style} {word}".strip()


def _wide(parts: Sequence[Part]) -> int:
    return sum(cells(text) for text, _ in parts)


def _partner(tokens: Sequence[Token], at: int) -> int:
    """Return the index of the token that closes the one at `at`; `at` itself where none is needed."""
    if tokens[at].nesting != 1:
        return at
    depth = 0
    for index in range(at, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index
    return len(tokens) - 1


# --- tables ---------------------------------------------------------------------------------------------


def table_widths(rows: Sequence[Sequence[Sequence[Part]]], width: int) -> list[int]:
    """Return the width of each column, in cells: what it needs; the widest ones get less where there is not enough."""
    count = max((len(row) for row in rows), default=0)
    if not count:
        return []
    needs = [1] * count
    for row in rows:
        for index, cell in enumerate(row):
            needs[index] = max(needs[index], sum(cells(clean_line(text)) for text, _ in cell))
    room = width - 3 * (count - 1)
    if room < count:
        return [1] * count
    while sum(needs) > room:
        widest = max(range(count), key=lambda index: needs[index])
        others = sorted(needs, reverse=True)
        over = sum(needs) - room
        down = min(over, max(1, needs[widest] - (others[1] if count > 1 else 1)))
        needs[widest] = max(1, needs[widest] - down)
    return needs


def table_lines(
    rows: Sequence[Sequence[Sequence[Part]]],
    aligns: Sequence[str],
    width: int,
    *,
    rule: str = "─",
    widths: Sequence[int] | None = None,
    head: bool = True,
) -> list[Line]:
    """Return a table as lines: bold heads, a rule, aligned columns; long cells wrap."""
    sizes = list(widths) if widths is not None else table_widths(rows, width)
    if not sizes:
        return []
    lines: list[Line] = []
    for number, row in enumerate(rows):
        heading = head and number == 0
        folded = []
        for index, size in enumerate(sizes):
            cell = list(row[index]) if index < len(row) else []
            if heading:
                cell = [(text, _with(style, "bold")) for text, style in cell]
            folded.append(fold(cell, size) if cell else [Line(())])
        for line in range(max(len(cell) for cell in folded)):
            parts: list[Part] = []
            for index, size in enumerate(sizes):
                piece = folded[index][line].parts if line < len(folded[index]) else ()
                gap = size - sum(cells(text) for text, _ in piece)
                align = aligns[index] if index < len(aligns) else "left"
                before = gap if align == "right" else gap // 2 if align == "center" else 0
                parts += [(" " * before, "fg"), *piece, (" " * (gap - before), "fg")]
                if index < len(sizes) - 1:
                    parts.append(("   ", "fg"))
            lines.append(_clipped(parts, width))
        if heading:
            total = min(width, sum(sizes) + 3 * (len(sizes) - 1))
            lines.append(Line(((rule * total, "track"),)))
    return lines


def _clipped(parts: Sequence[Part], width: int) -> Line:
    """Return a line cut to `width`: a table with more columns than that loses its last ones."""
    out: list[Part] = []
    used = 0
    for text, style in parts:
        if not text:
            continue
        size = cells(text)
        if used + size > width:
            head, _ = cut(text, width - used) if width > used else ("", "")
            if head and used + cells(head) <= width:
                out.append((head, style))
            break
        out.append((text, style))
        used += size
    return Line(tuple(out))


def parse_table(lines: Sequence[str]) -> tuple[list[list[list[Part]]], list[str]]:
    """Return the rows of a table's source, each a list of cells, and the alignment of each column."""
    renderer: Any = _Renderer(80, "•", "─", "▎", None)
    tokens = markdown_parser().parse(clean("".join(lines)))
    for index, token in enumerate(tokens):
        if token.type == "table_open":
            found: tuple[list[list[list[Part]]], list[str]] = renderer._table_rows(
                tokens, index, _partner(tokens, index)
            )
            return found
    return [], []
