"""A block of a log: a line in columns, or several that are folded to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm_studio_tui.runs.log_folding import Entry
from vllm_studio_tui.runs.log_lines import Prefix, parse
from vllm_studio_tui.runs.log_text import LogLine
from vllm_studio_tui.tui.document.blocks import Block, Surroundings
from vllm_studio_tui.tui.document.line_breaking import Line, Part, fold
from vllm_studio_tui.tui.paint.glyphs import Glyphs

#: Sources that are named; of more workers the first and the last are.
NAMED = 3


@dataclass(slots=True)
class Columns:
    """The columns of a log, the same for all of its lines; a width of 0 leaves one out.

    Attributes:
        plain: The style of a line that is neither a warning nor an error.
    """

    number: int = 4
    time: int = 8
    source: int = 6
    note: int = 0
    plain: str = "dim"


class LogBlock(Block):
    """An entry of a log in columns.

    Attributes:
        role: `cause`, `echo` or `same` (the words of the cause), or nothing.
        note: What stands at the right: the stage, or of which line it is an echo.
        open: All lines of the entry are shown.
        whole: Lines are shown with what stands before their message.
        numbered: Whether all numbers of its lines were known when it was drawn.
    """

    def __init__(self, entry: Entry, columns: Columns, number: Callable[[int], int | None]) -> None:
        super().__init__(0)
        self.entry = entry
        self._columns, self._number = columns, number
        self.role = self.note = ""
        self.open = self.whole = False
        self.numbered = True

    @property
    def start(self) -> int:
        """Where it begins in the file, in bytes."""
        return self.entry.lines[0].offset

    @property
    def end(self) -> int:
        """Where it ends in the file, in bytes."""
        return self.entry.lines[-1].end

    @property
    def folded(self) -> bool:
        """Whether it can be folded and opened."""
        return self.entry.folds

    def dress(self, role: str, note: str) -> None:
        """Set what it is to the cause of a failure, and what stands at its right."""
        if (role, note) != (self.role, self.note):
            self.role, self.note = role, note
            self.changed()

    def show_whole(self, whole: bool) -> None:
        """Show, or hide again, what stands before the message."""
        if whole != self.whole:
            self.whole = whole
            self.changed()

    def toggle(self) -> bool:
        if not self.folded:
            return False
        self.open = not self.open
        self.changed()
        return True

    def source(self) -> str:
        return "\n".join(line.text for line in self.entry.lines)

    # --- drawing ----------------------------------------------------------------------------------------

    def make(self, width: int, around: Surroundings) -> list[Line]:
        entry, glyphs = self.entry, around.glyphs
        self.numbered = True
        room = width - self._columns.note
        if not self.folded or not self.open:
            text, note = entry.text, self.note
            if self.folded and entry.note:
                if not self._columns.note:
                    text = f"{text}   {entry.note}"
                note = note if self.role else entry.note
            if self.whole and not self.folded:
                text = next((line.text for line in entry.lines if line.text.strip()), "")
            style = self._columns.plain if self.folded and entry.kind != "workers" else self._style(entry.level)
            level = "" if entry.kind == "traceback" else entry.level
            lead = self._lead(entry.lines[0], entry.prefix, _sources(entry.sources), level, glyphs)
            if self.folded and entry.kind != "workers":
                return self._wrapped(lead, text, style, room, note, mark=glyphs.folded)
            return self._wrapped(lead, text, style, room, note)
        out: list[Line] = []
        for line in entry.lines:
            parts = parse(line.text)
            if not parts.text.strip():
                continue
            first = not out
            text = line.text if self.whole else parts.text
            level = "" if entry.kind == "traceback" else parts.level
            lead = self._lead(line, parts.prefix, parts.prefix.source, level, glyphs)
            note, mark = (self.note, glyphs.open) if first else ("", " ")
            out += self._wrapped(lead, text, self._style(parts.level), room, note, mark=mark)
        return out

    def _style(self, level: str) -> str:
        if self.role == "cause":
            return "fg bold"
        if self.role:
            return "dim"
        return "fg" if level in ("error", "warning") else self._columns.plain

    def _lead(self, line: LogLine, prefix: Prefix, source: str, level: str, glyphs: Glyphs) -> list[Part]:
        columns, parts = self._columns, []
        if columns.number:
            number = self._number(line.offset)
            self.numbered = self.numbered and number is not None
            parts += [(f"{'~' if number is None else number:>{columns.number}}", "faint"), ("  ", "fg")]
        if columns.time:
            parts += [(f"{prefix.time[: columns.time]:<{columns.time}}", "faint"), (" ", "fg")]
        mark = {"error": (glyphs.failed, "err"), "warning": (glyphs.warning, "warn")}.get(level, (" ", "fg"))
        parts += [mark, (" ", "fg")]
        if columns.source:
            parts += [(f"{source[: columns.source]:<{columns.source}}", "dim"), (" ", "fg")]
        return parts

    def _wrapped(self, lead: list[Part], text: str, style: str, room: int, note: str, *, mark: str = "") -> list[Line]:
        if mark:
            lead = [*lead, (f"{mark} ", "dim")]
        plane = "sel" if self.role == "cause" else ""
        indent: Part = (" " * sum(len(part) for part, _ in lead), "fg")
        made = fold([(text.expandtabs(4), style)], max(8, room), lead, (indent,), plane)
        made = made or [Line(tuple(lead), plane)]
        if note and self._columns.note:
            made[0] = made[0]._replace(right=note, right_style="accent" if self.role == "cause" else "faint")
        return made

    def estimate(self, width: int) -> int:
        if self.folded:
            return len(self.entry.lines) if self.open else 1
        room = width - self._columns.note - self._columns.number - self._columns.time - self._columns.source - 6
        return max(1, len(self.entry.text) // max(8, room) + 1)


class Notice(Block):
    """What is shown where there is no line to show."""

    def __init__(self, text: str) -> None:
        super().__init__(0)
        self.text = text

    def make(self, width: int, around: Surroundings) -> list[Line]:
        return [Line(()), *fold([(self.text, "fg")], width)]

    def source(self) -> str:
        return ""


def _sources(names: tuple[str, ...]) -> str:
    if len(names) > NAMED:
        return f"{names[0]}-{names[-1]}"
    return " ".join(names)
