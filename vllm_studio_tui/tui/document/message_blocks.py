"""The blocks of a message: question, thinking, tool calls, text, code, tables, and the line below an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.services.chat.calls import CallState, kept
from vllm_studio_tui.tui.document import figures
from vllm_studio_tui.tui.document.blocks import BLANK, Block, Surroundings, estimated
from vllm_studio_tui.tui.document.code import code_lines
from vllm_studio_tui.tui.document.line_breaking import Line, Part, cells, fold
from vllm_studio_tui.tui.document.markdown import parse_table, render, table_lines, table_widths
from vllm_studio_tui.tui.document.question import Question, of_several
from vllm_studio_tui.tui.document.summary_block import is_shortening, shortening_block
from vllm_studio_tui.tui.document.tool_card import ToolCard

#: Lines of a live thought.
LIVE_THOUGHT = 6


class Thought(Block):
    """Thinking of a model: its last lines while it comes, then folded, with its time and tokens."""

    def __init__(
        self,
        message: int,
        text: str = "",
        *,
        seconds: float | None = None,
        tokens: int | None = None,
        live: bool = False,
    ) -> None:
        super().__init__(message)
        self.text = text
        self.seconds = seconds
        self.tokens = tokens
        self.live = live
        #: None until the person opened or folded it.
        self.open: bool | None = None

    def make(self, width: int, around: Surroundings) -> list[Line]:
        glyphs = around.glyphs
        facts = [numbers.latency(self.seconds)] if self.seconds is not None else []
        opened = bool(self.open)
        if self.live:
            head: list[Part] = [(f"{glyphs.state('loading')[0]} ", "accent"), ("thinking", "dim italic")]
        else:
            head = [(f"{glyphs.open if opened else glyphs.folded} ", "dim"), ("thought", "dim italic")]
        text = " ".join(facts)
        head += [(f" {text}" if text and not self.live else f"   {text}" if text else "", "dim")]
        if self.tokens is not None:
            head.append((f"   {numbers.count(self.tokens)} tok", "faint"))
        lines = fold([part for part in head if part[0]], width)[:1]
        if self.live or opened:
            lead: tuple[Part, ...] = ((f"{glyphs.inside} ", "track"),)
            shown = self.text
            if self.live and not opened:
                # The last lines come from the last characters: a long thought costs no more than a short one.
                shown = shown[-(width * (LIVE_THOUGHT + 2)) :]
            body: list[Line] = []
            for row in clean(shown.expandtabs(4)).strip("\n").split("\n"):
                body += fold([(row, "dim italic")], width, lead, lead) if row.strip() else [Line(lead)]
            if self.live and not opened:
                body = body[-LIVE_THOUGHT:]
            if shown.strip():
                lines += body
        return [*lines, BLANK]

    def estimate(self, width: int) -> int:
        return estimated(self.text, width - 2) + 1 if self.open else 2

    def toggle(self) -> bool:
        self.open = not self.open
        self.changed()
        return True

    def source(self) -> str:
        return self.text if self.open else ""


class Text(Block):
    """A complete piece of Markdown.

    Attributes:
        references: Where references lead that are defined in another piece.
    """

    def __init__(self, message: int, text: str) -> None:
        super().__init__(message)
        self.text = text
        self.references: Mapping[str, Any] = {}

    def make(self, width: int, around: Surroundings) -> list[Line]:
        def ready() -> None:
            self.changed()
            if around.ready is not None:
                around.ready()

        glyphs = around.glyphs
        lines = render(
            self.text,
            width,
            bullet=glyphs.bullet,
            rule=glyphs.hairline,
            bar=glyphs.block,
            ready=ready,
            references=self.references,
        )
        return [*lines, BLANK] if lines else []

    def estimate(self, width: int) -> int:
        return estimated(self.text, width)

    def source(self) -> str:
        return self.text


class CodePart(Block):
    """Some lines of a long code fence, finished while the fence is still open."""

    def __init__(self, message: int, text: str, language: str, *, first: bool) -> None:
        super().__init__(message)
        self.text = text
        self._language = language
        self._first = first

    def make(self, width: int, around: Surroundings) -> list[Line]:
        def ready() -> None:
            self.changed()
            if around.ready is not None:
                around.ready()

        return code_lines(self.text, self._language, width, label=self._first, ready=ready)

    def estimate(self, width: int) -> int:
        return self.text.count("\n") + 1

    def source(self) -> str:
        return self.text


class TablePart(Block):
    """Some rows of a long table, finished while the table still grows. The first part settles the columns."""

    def __init__(self, message: int, head: Sequence[str], rows: Sequence[str], first: TablePart | None) -> None:
        super().__init__(message)
        self.text = "".join((*head, *rows) if first is None else rows)
        self._parsed, self._aligns = parse_table((*head, *rows))
        self._first = first
        self.widths: list[int] = []

    def make(self, width: int, around: Surroundings) -> list[Line]:
        if self._first is None:
            self.widths = table_widths(self._parsed, width)
        else:
            self._first.lines(width, around)
            self.widths = self._first.widths
        rows = self._parsed if self._first is None else self._parsed[1:]
        return table_lines(
            rows, self._aligns, width, rule=around.glyphs.hairline, widths=self.widths, head=self._first is None
        )

    def estimate(self, width: int) -> int:
        return self.text.count("\n") + 1

    def source(self) -> str:
        return self.text


class Foot(Block):
    """The line below an answer: how it ended, how fast it was, whether there are others.

    Args:
        calls: It ended in calls that were made: the figures stand below the answer that follows.
    """

    def __init__(
        self,
        message: int,
        answer: Message,
        sibling: tuple[int, int],
        age: str = "",
        *,
        detail: bool = False,
        calls: bool = False,
    ) -> None:
        super().__init__(message)
        self._calls = calls
        self.answer = answer
        self.sibling = sibling
        self.age = age
        self.detail = detail

    def make(self, width: int, around: Surroundings) -> list[Line]:
        glyphs = around.glyphs
        lines: list[Line] = []
        end = _ended(self.answer)
        if end is not None:
            colour, text, keys = end
            lead: tuple[Part, ...] = ((f"{glyphs.block} ", colour),)
            runs: list[Part] = [(f"{glyphs.failed} ", "err")] if colour == "err" else []
            runs.append((clean_line(text), "fg"))
            for key, word in keys:
                way = "" if around.reading else "tab "  # elsewhere the letter alone would be typed
                runs += [("   ", "fg"), (f"{way}{key}", "fg bold"), (f" {word}", "dim")]
            lines += fold(runs, width, lead, lead, "errbg" if colour == "err" else "")
            if self.answer.error and self.answer.error not in text:
                lines += fold([(self.answer.error, "dim")], width, lead, lead)[:4]
        if self.answer.unsaved is not None:
            mark: tuple[Part, ...] = ((f"{glyphs.block} ", "warn"),)
            words = f"not saved yet: {clean_line(self.answer.unsaved)}. It is tried again until it is."
            lines += fold([(f"{glyphs.warning} ", "warn"), (words, "fg")], width, mark, mark)
        for colour, text in figures.remarks(self.answer.details):
            sign = {"ok": glyphs.passed, "warn": glyphs.warning, "err": glyphs.failed}[colour]
            lines += fold([(text, "dim")], width, ((f"{sign} ", colour),), (("  ", "fg"),))[:3]
        stats = [] if self._calls else _stats(self.answer, self.age, detail=self.detail)
        if self.sibling[1] > 1:
            stats.insert(0, of_several(self.sibling, glyphs))
        for row in _rows(stats, width):
            lines += fold([(row, "faint")], width)
        return [*lines, BLANK] if lines else []


def _rows(figures_of: list[str], width: int) -> list[str]:
    """Return the figures in rows; none is broken."""
    rows: list[str] = []
    for one in figures_of:
        if rows and cells(rows[-1]) + 3 + cells(one) <= width:
            rows[-1] += f"   {one}"
        else:
            rows.append(one)
    return rows


def _ended(answer: Message) -> tuple[str, str, list[tuple[str, str]]] | None:
    """Return colour, text and keys for an answer that did not end by itself; None for one that did."""
    if answer.finish == "stopped":
        return "warn", "stopped by you, kept", [("c", "continue"), ("r", "again")]
    if answer.finish == "interrupted":
        return "warn", f"cut off: {answer.error or 'reason unknown'}", [("c", "continue"), ("r", "again")]
    if answer.finish == "length":
        count = answer.usage.completion_tokens
        return (
            "warn",
            f"cut at {count} tokens" if count else "cut at the limit of tokens",
            [("c", "continue"), ("r", "again")],
        )
    if answer.finish == "failed":
        return "err", answer.error or "the engine refused the request", [("r", "again"), ("e", "edit")]
    return None


def _stats(answer: Message, age: str, *, detail: bool) -> list[str]:
    model = [clean_line(answer.model, limit=40)] if detail and answer.model else []
    return [*([age] if age else []), *figures.parts(answer, detail=detail), *model]


def blocks_of(
    index: int,
    message: Message,
    sibling: tuple[int, int],
    calls: Mapping[str, CallState],
    age: str,
    *,
    spacious: bool,
) -> list[Block]:
    """Return the blocks of a complete message.

    Args:
        calls: What became of the calls of tools in it, by their ids.
    """
    if message.role == "user":
        return [Question(index, message.content, message.images, message.files, sibling=sibling, spacious=spacious)]
    if message.role == "tool":
        return []
    if is_shortening(message):
        return [shortening_block(index, message)]
    if message.role != "assistant":
        return [Text(index, message.content)]
    found: list[Block] = []
    if message.reasoning.strip():
        found.append(
            Thought(index, message.reasoning, seconds=message.timings.thinking, tokens=message.usage.reasoning_tokens)
        )
    if message.content.strip():
        found.append(Text(index, message.content))
    found += [ToolCard(index, calls.get(call.id) or kept(call, None)) for call in message.tool_calls]
    made = bool(message.tool_calls) and all(call.id in calls for call in message.tool_calls)
    found.append(Foot(index, message, sibling, age, calls=made))
    return found
