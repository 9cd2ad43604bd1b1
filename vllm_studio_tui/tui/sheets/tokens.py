"""The tokens of an answer by how likely they were, and what else might have stood in the place of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.widgets.canvas import Canvas

#: Shares from which a token is as expected, and below which it is a surprise.
EXPECTED, SURPRISE = 0.5, 0.1
#: Alternatives that are listed at most.
LISTED = 8


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its text, its share of the likelihood (None: not told), and what else might have stood there."""

    text: str
    share: float | None
    others: tuple[tuple[str, float | None], ...] = ()

    @property
    def style(self) -> str:
        """How it is drawn: without colours a surprise is underlined and what is expected is dim."""
        if self.share is None or self.share >= EXPECTED:
            return "dim"
        return "fg" if self.share >= SURPRISE else "warn underline"


def tokens_of(message: Message) -> list[Token]:
    """Return the tokens that were kept with an answer; what cannot be read is left out."""
    kept = message.details.get("logprobs")
    given = kept.get("tokens") if isinstance(kept, dict) else None
    found = []
    for one in given if isinstance(given, list) else ():
        if isinstance(one, list) and len(one) == 3 and isinstance(one[0], str):
            pairs = (
                [pair for pair in one[2] if isinstance(pair, list) and len(pair) == 2]
                if isinstance(one[2], list)
                else []
            )
            found.append(Token(one[0], _share(one[1]), tuple((str(text), _share(value)) for text, value in pairs)))
    return found


def _share(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 0:
        return None
    return math.exp(value)


def visible(text: str) -> str:
    """Return the text of a token with what is not seen made visible."""
    return clean_line(text.replace("\n", "\\n").replace("\t", "\\t").replace(" ", "\N{OPEN BOX}"), limit=60)


class TokenSheet(Sheet):
    """Shows the tokens as running text; left and right go from one to the next, `[` and `]` to the next surprise."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, "move(-1)", show=False) for key in ("left", "h")),
        *(Binding(key, "move(1)", show=False) for key in ("right", "l")),
        *(Binding(key, "line(-1)", show=False) for key in ("up", "k")),
        *(Binding(key, "line(1)", show=False) for key in ("down", "j")),
        Binding("pageup", "line(-10)", show=False),
        Binding("pagedown", "line(10)", show=False),
        *(Binding(key, "edge(0)", show=False) for key in ("home", "g")),
        *(Binding(key, "edge(1)", show=False) for key in ("end", "G")),
        Binding("left_square_bracket", "surprise(-1)", show=False),
        Binding("right_square_bracket", "surprise(1)", show=False),
        *(Binding(key, "close", show=False) for key in ("q", "i", "enter")),
    ]

    def __init__(self, message: Message) -> None:
        super().__init__()
        self._tokens = tokens_of(message)
        kept = message.details.get("logprobs")
        self._cut = bool(kept.get("cut")) if isinstance(kept, dict) else False
        self._at = next((at for at, one in enumerate(self._tokens) if one.style.startswith("warn")), 0)
        self._lines: list[list[int]] = []
        self._wide = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="tokens"):
            yield Canvas(self._text, self.ink, plane="panel", id="tokens-text")
            yield Canvas(self._others, self.ink, plane="panel", id="tokens-others")
            yield Canvas(self._foot, self.ink, plane="panel", id="tokens-foot")

    def fit(self) -> None:
        width = self.app.size.width if self.room < Size.BASE else min(100, self.app.size.width - 4)
        self.query_one("#sheet").styles.width = width
        below = 2 if self.tiny else min(LISTED + 2, max(3, self.rows_free // 2))
        above = len(self._broken(width - 4)) + (0 if self.tiny else 2)
        self.query_one("#tokens-others").styles.height = below
        self.query_one("#tokens-text").styles.height = max(1, min(above, self.rows_free - below - 1))
        self._redraw()

    def _redraw(self) -> None:
        for name in ("#tokens-text", "#tokens-others", "#tokens-foot"):
            self.query_one(name, Canvas).repaint()

    def _broken(self, width: int) -> list[list[int]]:
        """Return the numbers of the tokens in each line of running text."""
        if self._wide == width:
            return self._lines
        lines: list[list[int]] = [[]]
        used = 0
        for at, one in enumerate(self._tokens):
            cells = cell_len(self._shown(one))
            if used + cells > width and lines[-1]:
                lines.append([])
                used = 0
            lines[-1].append(at)
            used += cells
            if one.text.endswith("\n"):
                lines.append([])
                used = 0
        self._lines, self._wide = [line for line in lines if line] or [[]], width
        return self._lines

    @staticmethod
    def _shown(one: Token) -> str:
        return clean_line(one.text.replace("\n", "\\n").replace("\t", " "), limit=60)

    def _line_of(self, at: int) -> int:
        return next((number for number, line in enumerate(self._lines) if at in line), 0)

    def _text(self, width: int, height: int) -> list[Row]:
        lines = self._broken(max(8, width - 4))
        rows: list[Row] = []
        if not self.tiny and height > 2:
            head = Row()
            surprises = sum(one.style.startswith("warn") for one in self._tokens)
            head.put(2, f"{len(self._tokens)}{'+' if self._cut else ''} tokens", "fg bold")
            head.put_right(width - 2, f"{surprises} below {SURPRISE:.0%}", "dim")
            rows = [head, Row()]
        room = max(1, height - len(rows))
        here = self._line_of(self._at)
        first = min(max(0, here - room // 2), max(0, len(lines) - room))
        for line in lines[first : first + room]:
            row = Row()
            x = 2
            for at in line:
                one = self._tokens[at]
                x = row.put(x, self._shown(one), "accent bold reverse" if at == self._at else one.style, width - x)
            rows.append(row)
        return rows

    def _others(self, width: int, height: int) -> list[Row]:
        one = self._tokens[self._at]
        glyphs = self.ink().glyphs
        rows = [] if self.tiny else [Row()]
        head = Row()
        x = head.put(2, visible(one.text) or "(nothing)", "fg bold")
        head.put(x + 2, _percent(one.share), "fg" if one.share is None or one.share >= SURPRISE else "warn")
        head.put_right(width - 2, f"token {self._at + 1}", "faint")
        rows.append(head)
        bar = max(4, min(24, width - 40))
        for text, share in one.others[: max(0, height - len(rows))]:
            row = Row()
            taken = text == one.text
            row.put(4, visible(text) or "(nothing)", "accent" if taken else "fg", max(4, width - bar - 18))
            if width >= 50:
                charts.put_bar(row, width - bar - 10, glyphs, share or 0.0, bar)
            row.put_right(width - 2, _percent(share), "fg" if taken else "dim")
            rows.append(row)
        if not one.others:
            row = Row()
            row.put(4, "others were not told", "faint")
            rows.append(row)
        return rows[:height]

    def _foot(self, width: int, height: int) -> list[Row]:
        glyphs = self.ink().glyphs
        around = f"{glyphs.left}{glyphs.right}"
        return [keys_row(width, (around, "token"), ("[ ]", "surprise"), ("esc", "close"), edge=0 if self.tiny else 2)]

    # --- keys -------------------------------------------------------------------------------------------

    def _go(self, at: int) -> None:
        self._at = max(0, min(len(self._tokens) - 1, at))
        self._redraw()

    def action_move(self, step: int) -> None:
        self._go(self._at + step)

    def action_edge(self, last: int) -> None:
        self._go(len(self._tokens) - 1 if last else 0)

    def action_line(self, step: int) -> None:
        here = self._line_of(self._at)
        there = max(0, min(len(self._lines) - 1, here + step))
        line: Sequence[int] = self._lines[there]
        column = self._lines[here].index(self._at)
        self._go(line[min(column, len(line) - 1)])

    def action_surprise(self, step: int) -> None:
        at = self._at + step
        while 0 <= at < len(self._tokens):
            if self._tokens[at].style.startswith("warn"):
                self._go(at)
                return
            at += step
        self._shell.tell("No surprise before this one." if step < 0 else "No surprise behind this one.")


def _percent(share: float | None) -> str:
    return "not told" if share is None else f"{share:.1%}"
