"""A streaming answer: complete chunks become blocks, and only the open end is rendered at each frame."""

from __future__ import annotations

import time

from vllm_studio_tui.domain.chat import Delta, Relabel
from vllm_studio_tui.kit.markdown import references_of
from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.tui.document.blocks import BLANK, Block, Surroundings
from vllm_studio_tui.tui.document.code import code_lines
from vllm_studio_tui.tui.document.line_breaking import Line
from vllm_studio_tui.tui.document.markdown import parse_table, render, table_lines
from vllm_studio_tui.tui.document.message_blocks import CodePart, TablePart, Text, Thought
from vllm_studio_tui.tui.document.scanner import Scanner

#: Lines of an open fence, and rows of an open table, after which they become a finished part.
PART = 48
#: A fence of more parts is left in them when it closes; a shorter one is coloured anew as a whole.
FEW = 6


class Tail(Block):
    """The open end of the answer, which changes at every frame."""

    def __init__(self, message: int, scanner: Scanner) -> None:
        super().__init__(message)
        self._scanner = scanner
        self.done = 0  # lines of the open fence or table that are blocks already
        self.table_head: TablePart | None = None

    def make(self, width: int, around: Surroundings) -> list[Line]:
        scanner, glyphs = self._scanner, around.glyphs
        if scanner.fence is not None:
            lines = [*scanner.lines[1 + self.done :], scanner.rest]
            language = scanner.fence.info.split(" ")[0][:30]
            made = code_lines("".join(lines), language, width, label=not self.done)
            return [*made, BLANK]
        if self.table_head is not None:
            rows, aligns = parse_table([*scanner.lines[:2], *scanner.lines[2 + self.done :], scanner.rest])
            made = table_lines(rows[1:], aligns, width, rule=glyphs.hairline, widths=self.table_head.widths, head=False)
            return [*made, BLANK]
        made = render(scanner.tail, width, bullet=glyphs.bullet, rule=glyphs.hairline, bar=glyphs.block)
        return [*made, BLANK] if made else []

    def estimate(self, width: int) -> int:
        return 2

    def source(self) -> str:
        return self._scanner.tail


class Live:
    """Builds the blocks of one answer.

    Attributes:
        blocks: The blocks so far, the tail last.
    """

    def __init__(self, message: int) -> None:
        self.message = message
        self.content: list[str] = []
        self.thought: Thought | None = None
        self._scanner = Scanner()
        self._tail = Tail(message, self._scanner)
        self._parts: list[Block] = []
        self._thinking_began: float | None = None
        self._pending: list[Delta | Relabel] = []
        self.blocks: list[Block] = [self._tail]

    @property
    def waiting(self) -> bool:
        """Whether there are pieces that have not been drawn."""
        return bool(self._pending)

    def feed(self, event: Delta | Relabel) -> None:
        """Take a piece; it is drawn with the next frame."""
        self._pending.append(event)

    def advance(self) -> bool:
        """Bring the blocks up to date; return whether anything changed."""
        if not self._pending:
            return False
        pending, self._pending = self._pending, []
        content: list[str] = []
        for event in pending:
            if isinstance(event, Relabel):
                self._add(content)
                content = []
                self._relabel()
                continue
            if event.reasoning:
                self._think(event.reasoning)
            if event.content:
                content.append(event.content)
        self._add(content)
        return True

    def end(self) -> None:
        """End the answer: what was open is complete."""
        self.advance()
        self._end_thought()
        self._settle(self._scanner.close())
        self.blocks.remove(self._tail)
        self._refer()

    def _refer(self) -> None:
        """Tell the pieces where references lead that are defined in another one: most stand at the end."""
        references = references_of(clean("".join(self.content)))
        for block in self.blocks if references else ():
            if isinstance(block, Text) and "[" in block.text:
                block.references = references
                block.changed()

    # --- thinking ---------------------------------------------------------------------------------------

    def _think(self, text: str) -> None:
        if self.thought is None:
            self._thinking_began = time.monotonic()
            self.thought = Thought(self.message, live=True)
            self.blocks.insert(0, self.thought)
        self.thought.text += text
        self.thought.seconds = time.monotonic() - (self._thinking_began or time.monotonic())
        self.thought.changed()

    def _end_thought(self) -> None:
        if self.thought is not None and self.thought.live:
            self.thought.live = False
            self.thought.changed()

    def _relabel(self) -> None:
        """Turn all content so far into thinking."""
        text = "".join(self.content)
        self.content.clear()
        self._scanner = Scanner()
        self._tail = Tail(self.message, self._scanner)
        self._parts = []
        self.blocks = [self._tail]
        thought, self.thought = self.thought, None
        self._think((thought.text if thought is not None else "") + text)

    # --- content ----------------------------------------------------------------------------------------

    def _add(self, pieces: list[str]) -> None:
        if not pieces:
            return
        text = "".join(pieces)
        if text.strip():
            self._end_thought()
        self.content.append(text)
        self._settle(self._scanner.feed(text))
        self._grow()
        self._tail.changed()

    def _settle(self, closed: list[str]) -> None:
        """Put complete chunks before the tail."""
        for chunk in closed:
            at = len(self.blocks) - 1
            if self._parts and len(self._parts) <= FEW:
                at -= len(self._parts)
                del self.blocks[at:-1]
                self.blocks.insert(at, Text(self.message, chunk))
            elif self._parts:
                rest = self._rest_of(chunk)
                if rest is not None:
                    self.blocks.insert(at, rest)
                    at += 1
                self.blocks.insert(at, Gap(self.message))
            else:
                self.blocks.insert(at, Text(self.message, chunk))
            self._parts = []
            self._tail.done = 0
            self._tail.table_head = None

    def _rest_of(self, chunk: str) -> Block | None:
        """Return the last part of a long fence or table that is complete."""
        lines = chunk.splitlines(keepends=True)
        if self._tail.table_head is not None:
            rows = lines[2 + self._tail.done :]
            return TablePart(self.message, lines[:2], rows, self._tail.table_head) if rows else None
        body = lines[1 + self._tail.done :]
        if body and body[-1].strip().startswith(("```", "~~~")):
            body.pop()
        info = lines[0].strip().lstrip("`~").strip().split(" ")[0]
        return CodePart(self.message, "".join(body), info, first=False) if body else None

    def _grow(self) -> None:
        """Cut finished parts off an open fence or table that has become long."""
        scanner, tail = self._scanner, self._tail
        if scanner.fence is not None:
            info = scanner.fence.info.split(" ")[0][:30]
            while len(scanner.fence.lines) - tail.done >= PART * 2:
                rows = scanner.fence.lines[tail.done : tail.done + PART]
                self._part(CodePart(self.message, "".join(rows), info, first=not tail.done))
        elif scanner.table:
            while len(scanner.lines) - 2 - tail.done >= PART * 2:
                head, rows = scanner.lines[:2], scanner.lines[2 + tail.done : 2 + tail.done + PART]
                part = TablePart(self.message, head, rows, tail.table_head)
                tail.table_head = tail.table_head or part
                self._part(part)

    def _part(self, part: Block) -> None:
        self.blocks.insert(len(self.blocks) - 1, part)
        self._parts.append(part)
        self._tail.done += PART


class Gap(Block):
    """A blank line."""

    def make(self, width: int, around: Surroundings) -> list[Line]:
        return [BLANK]

    def estimate(self, width: int) -> int:
        return 1
