"""The command of a recipe and the problems that a check found, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Problem


def problem_rows(problem: Problem, glyphs: Glyphs, x: int, width: int) -> list[Row]:
    """Draw what a check found."""
    mark, colour = (glyphs.failed, "err") if problem.severity == "error" else (glyphs.warning, "warn")
    text = f"{problem.field}: {problem.message}" if problem.field else problem.message
    lines = wrap(text, max(8, width - x - 5))[:3]
    rows = []
    for index, line in enumerate(lines):
        row = Row()
        if index == 0:
            row.put(x, mark, colour)
        row.put(x + 2, line, "fg")
        rows.append(row)
    return rows


def command_rows(argv: Sequence[str], env: Mapping[str, str], x: int, width: int) -> list[Row]:
    """Draw a command, with a line for each flag and its value."""
    import shlex

    names = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
    lines = [(part, "dim") for part in wrap(names, max(8, width - x - 4))] if env else []
    line: list[str] = []
    first = True
    for word in argv:
        if word.startswith("-") and line:
            lines.append(((" ".join(line) if first else "  " + " ".join(line)), "fg"))
            line, first = [], False
        line.append(shlex.quote(word))
    if line:
        lines.append(((" ".join(line) if first else "  " + " ".join(line)), "fg"))
    rows = []
    broken = []
    for text, style in lines:
        indent = len(text) - len(text.lstrip())
        parts = wrap(text.lstrip(), max(8, width - x - 6 - indent))
        broken += [(" " * (indent + (2 if index else 0)) + part, style) for index, part in enumerate(parts)]
    for text, style in broken:
        row = Row()
        row.put(x, " " + text, f"{style} on-code", width - x - 2)
        end = max((column + len(piece) for column, piece, _ in row.pieces), default=x)
        if end < width - 2:
            row.put(end, " " * (width - 2 - end), "fg on-code")
        rows.append(row)
    return rows
