"""The command of a recipe and the problems that a check found, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.screens.recipes.plans import Plan

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


def error_rows(errors: Mapping[str, str], glyphs: Glyphs, x: int) -> list[Row]:
    """Draw the errors of a form."""
    title = Row()
    title.put(x, "NOT YET A RECIPE", "dim bold")
    rows = [Row(), title, Row()]
    for name, message in errors.items():
        row = Row()
        row.run(x, [(f"{glyphs.pending} ", "faint"), (f"{name}  ", "fg"), (message, "dim")])
        rows.append(row)
    return rows


def check_rows(plan: Plan, glyphs: Glyphs, x: int, width: int) -> list[Row]:
    """Draw the checks and the command of the recipe in a form."""
    title = Row()
    title.put(x, "CHECK", "dim bold")
    rows = [Row(), title, Row()]
    if plan.error:
        for line in wrap(plan.error, width - x - 4)[:4]:
            row = Row()
            row.run(x, [(f"{glyphs.failed} ", "err"), (line, "fg")])
            rows.append(row)
    if not plan.problems and not plan.error:
        row = Row()
        row.run(x, [(f"{glyphs.passed} ", "ok"), ("nothing stands against it", "dim")])
        rows.append(row)
    for problem in plan.problems[:8]:
        rows += problem_rows(problem, glyphs, x, width)
        if problem.advice:
            for line in wrap(problem.advice, max(8, width - x - 6))[:2]:
                row = Row()
                row.put(x + 2, line, "faint")
                rows.append(row)
    if plan.preview is not None:
        head = Row()
        head.put(x, "COMMAND", "dim bold")
        rows += [Row(), Row(), head, *command_rows(plan.preview.argv, plan.preview.env, x, width)]
        for note in plan.preview.notes:
            for line in wrap(note, max(8, width - x - 4))[:2]:
                row = Row()
                row.put(x, line, "faint")
                rows.append(row)
    return rows
