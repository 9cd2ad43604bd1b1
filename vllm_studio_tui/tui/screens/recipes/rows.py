"""A recipe in detail, as rows: its command, the problems that a check found, and its last runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.screens.recipes.plans import Plan

if TYPE_CHECKING:
    from vllm_studio_tui.backends.base import Problem


def plan_rows(plan: Plan, glyphs: Glyphs, x: int, width: int, size: Size, now: float) -> list[Row]:
    """Draw the details of a recipe: problems, command and last runs; all of them only at FULL size."""
    full = size == Size.FULL
    recipe = plan.recipe
    head = Row()
    at = head.put(x, (recipe.name if recipe else "") or plan.recipe_id, "fg bold", width - x - 2)
    if recipe is not None and recipe.name != recipe.id:
        head.put(at + 2, recipe.id, "faint", max(0, width - at - 4))  # its name on the command line
    rows = [head]
    if recipe is not None:
        sub = Row()
        sub.put(x, mask_text(recipe.model_path or recipe.base_url or recipe.command or ""), "dim", width - x - 2)
        rows.append(sub)
        for line in wrap(recipe.description, width - x - 3)[: 3 if full else 0]:
            row = Row()
            row.put(x, line, "faint")
            rows.append(row)
    rows.append(Row())
    if plan.error:
        for line in wrap(plan.error, width - x - 4)[:4]:
            row = Row()
            row.run(x, [(f"{glyphs.failed} ", "err"), (line, "fg")])
            rows.append(row)
        return rows
    for problem in plan.problems[: 6 if full else 2]:
        rows += _problem(problem, glyphs, x, width)
    if plan.problems:
        rows.append(Row())
    if plan.preview is not None:
        if full:
            title = Row()
            title.put(x, "COMMAND", "dim bold")
            title.put_right(width - 2, "y copy", "faint")
            rows += [title, *command_rows(plan.preview.argv, plan.preview.env, x, width)[:14], Row()]
        else:
            row = Row()
            row.run(x, [("command   ", "dim")])
            row.put(x + 10, plan.preview.shell, "fg", max(0, width - x - 12))
            rows.append(row)
    if plan.past:
        if full:
            title = Row()
            title.put(x, "RUNS", "dim bold")
            rows += [title, *[_past(run, glyphs, x, width, now) for run in plan.past]]
        else:
            row = _past(plan.past[0], glyphs, x + 10, width, now)
            row.put(x, "last run", "dim")
            rows.append(row)
    return rows


def _past(run: RunView, glyphs: Glyphs, x: int, width: int, now: float) -> Row:
    row = Row()
    status = run.status
    row.put(x, numbers.moment(status.started_at, now), "faint")
    mark, colour = glyphs.state(run.state)
    row.put(x + 8, mark, colour)
    if run.live:
        row.put(x + 10, str(run.state), "fg")
        return row
    took = numbers.duration(status.ended_at - status.started_at) if status.ended_at and status.started_at else ""
    word = "failed" if run.state is State.FAILED else "ran"
    after = row.put(x + 10, f"{word} {'after ' if word == 'failed' and took else ''}{took}".rstrip(), "fg")
    row.put(max(after + 2, x + 28), status.title or "", "dim", max(0, width - max(after + 2, x + 28) - 1))
    return row


def _problem(problem: Problem, glyphs: Glyphs, x: int, width: int) -> list[Row]:
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

    lines: list[tuple[str, str]] = [
        (" ".join(f"{name}={shlex.quote(value)}" for name, value in env.items()), "dim")
    ] if env else []  # fmt: skip
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
    for text, style in lines:
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
        rows += _problem(problem, glyphs, x, width)
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
