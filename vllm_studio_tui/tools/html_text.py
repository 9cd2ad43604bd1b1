"""The text of a page of the web. Linear in its length: Python's own parser is not, and cannot be stopped."""

from __future__ import annotations

import html
import re

#: Letters of one tag; a `<` with no end within is text.
MAX_TAG = 4096
_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]{0,20})")
_LINK = re.compile(r"""\shref\s{0,9}=\s{0,9}(?:"([^"]{1,2000})"|'([^']{1,2000})'|([^\s"'>]{1,2000}))""", re.I)
#: What is no text up to its end.
_SILENT = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "textarea"})
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "section", "article", "header", "footer",
     "ul", "ol", "table", "blockquote", "hr", "dt", "dd", "main", "nav", "title", "option", "figcaption"}
)  # fmt: skip


def text_of_html(page: str) -> str:
    """Return the text of a page: no scripts and styles, a line for each block, links with their address."""
    parts: list[str] = []
    links: list[str] = []
    lower = page.lower()
    if len(lower) != len(page):  # a letter whose small form is two: places must agree
        lower = page
    place = 0
    while place < len(page):
        start = page.find("<", place)
        if start < 0:
            start = len(page)
        if start > place:
            parts.append(_unescaped(page[place:start]))
        if start == len(page):
            break
        place = _after(page, lower, start, parts, links)
    lines = (" ".join(line.split()) for line in "".join(parts).split("\n"))
    kept: list[str] = []
    for line in lines:
        if line not in ("", "-") or (not line and kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()


def _after(page: str, lower: str, start: int, parts: list[str], links: list[str]) -> int:
    """Take the tag, comment or lone `<` at a place; return where the text goes on."""
    if page.startswith("<!--", start):
        return _past(page, "-->", start + 4)
    end = page.find(">", start, start + MAX_TAG)
    if page.startswith(("<!", "<?"), start):
        return end + 1 if end >= 0 else start + 2
    found = _NAME.match(page, start + 1)
    if found is None or end < 0:
        parts.append("<")
        return start + 1
    name, closing = found[1].lower(), page[start + 1] == "/"
    if name in _SILENT and not closing:
        return _past(page, ">", _past(lower, f"</{name}", end + 1))
    if name in _BLOCKS:
        parts.append("\n- " if name == "li" and not closing else "\n")
    if name == "a" and closing and links:
        link = links.pop()
        parts.append(f" <{link}>" if link else "")
    elif name == "a" and not closing and len(links) < 100:
        href = _LINK.search(page, start, end)
        link = _unescaped(next(one for one in href.groups() if one)) if href is not None else ""
        links.append(link if link.startswith(("http://", "https://", "/")) else "")
    return end + 1


def _past(text: str, what: str, place: int) -> int:
    """Return the place behind the next such text; the end of all where there is none."""
    found = text.find(what, place)
    return len(text) if found < 0 else found + len(what)


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a number of more digits than Python reads
        return text
