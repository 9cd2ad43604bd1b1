"""Code with its colours. Lexers are loaded in a thread: code is plain until they are there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.tui.document.line_breaking import Line, Part, cells, cut

#: A longer block is shown without colours: nobody reads it, and lexing it would hold up the screen.
LONGEST = 200_000
_STYLES = (
    ("Token.Comment", "comment italic"),
    ("Token.Keyword", "kw"),
    ("Token.Operator.Word", "kw"),
    ("Token.Name.Function", "fn"),
    ("Token.Name.Class", "fn"),
    ("Token.Name.Decorator", "fn"),
    ("Token.Name.Tag", "kw"),
    ("Token.Name.Attribute", "fn"),
    ("Token.Literal.String", "str"),
    ("Token.Literal.Number", "num"),
    ("Token.Generic.Deleted", "err"),
    ("Token.Generic.Inserted", "ok"),
    ("Token.Generic.Heading", "fg bold"),
)


class Lexers:
    """Pygments lexers by language, once they are loaded."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._asked: set[str] = set()
        self._styles: dict[Any, str] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def get(self, language: str, ready: Callable[[], None] | None = None) -> Any | None:
        """Return a lexer; None where there is none, or while it loads (then `ready` is called, in another thread)."""
        language = language.lower()
        if language in self._known:
            return self._known[language]
        if not language or len(self._asked) >= 200:
            return None
        if ready is not None:
            self._waiting.setdefault(language, []).append(ready)
        if language not in self._asked:
            self._asked.add(language)
            threading.Thread(target=self._load, args=(language,), daemon=True).start()
        elif language in self._known:  # it came while we asked
            self._notify(language)
        return None

    def _load(self, language: str) -> None:
        lexer = None
        try:
            from pygments.lexers import get_lexer_by_name

            lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)  # type: ignore[no-untyped-call]
        except Exception:  # noqa: BLE001, RUF100
            lexer = None
        self._known[language] = lexer
        self._notify(language)

    def _notify(self, language: str) -> None:
        """Call everyone who waits for a language."""
        for ready in self._waiting.pop(language, ()):
            if self._known.get(language) is not None:
                ready()

    def style(self, token: Any) -> str:
        """Return the style of a token type."""
        found = self._styles.get(token)
        if found is None:
            name = str(token)
            found = next((style for prefix, style in _STYLES if name.startswith(prefix)), "fg")
            self._styles[token] = found
        return found


LEXERS = Lexers()


def code_lines(
    source: str, language: str, width: int, *, label: bool = True, ready: Callable[[], None] | None = None
) -> list[Line]:
    """Return code as lines on a background of its own, indented by two cells; long lines wrap."""
    source = clean(source.expandtabs(4))
    width = max(1, width)
    indent = 2 if width > 8 else 0
    room = max(1, width - indent - (1 if width > 8 else 0))
    lines: list[Line] = []
    for parts in _coloured(source, language, ready):
        for index, row in enumerate(_hard(parts, room)):
            lead: tuple[Part, ...] = ((" " * indent, "fg"),) if indent else ()
            right = language if label and not lines and index == 0 else ""
            lines.append(Line(lead + tuple(row), "code", right))
    return lines or [Line((), "code", language if label else "")]


def _coloured(source: str, language: str, ready: Callable[[], None] | None) -> list[list[Part]]:
    text = source.removesuffix("\n")
    lexer = LEXERS.get(language.split(" ")[0], ready) if language and len(text) < LONGEST else None
    if lexer is None:
        return [[(line, "fg")] if line else [] for line in text.split("\n")]
    rows: list[list[Part]] = [[]]
    try:
        for token, value in lexer.get_tokens(text):
            style = LEXERS.style(token)
            for index, piece in enumerate(value.split("\n")):
                if index:
                    rows.append([])
                if piece:
                    rows[-1].append((piece, style))
    except Exception:  # noqa: BLE001, RUF100
        return [[(line, "fg")] if line else [] for line in text.split("\n")]
    wanted = text.count("\n") + 1
    return rows[:wanted] + [[] for _ in range(wanted - len(rows))]


def _hard(parts: list[Part], width: int) -> list[list[Part]]:
    """Cut a line of code into pieces of at most `width` cells."""
    rows: list[list[Part]] = [[]]
    used = 0
    for text, style in parts:
        while text:
            size = cells(text)
            if used + size <= width:
                rows[-1].append((text, style))
                used += size
                break
            if used >= width:
                rows.append([])
                used = 0
                continue
            head, rest = cut(text, width - used)
            if cells(head) > width - used and used:
                rows.append([])
                used = 0
                continue
            rows[-1].append((head, style))
            text = rest
            rows.append([])
            used = 0
    return rows
