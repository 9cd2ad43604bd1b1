"""The details of the recipe under the cursor: all of them beside the table or as a sheet, the main ones below it."""

from __future__ import annotations

import shlex
import time

from rich.cells import cell_len

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit, fit_change, wrap
from vllm_studio_tui.tui.paint.memory import memory_parts, said_of, verdict
from vllm_studio_tui.tui.screens.recipes.plans import PastRun, Plan
from vllm_studio_tui.tui.screens.recipes.rows import command_rows, problem_rows
from vllm_studio_tui.tui.screens.recipes.table import Line


def detail_rows(plan: Plan, glyphs: Glyphs, x: int, width: int, now: float) -> list[Row]:
    """Draw all that is known of a recipe."""
    recipe, end = plan.recipe, width - 2
    rows = [_head(plan, x, end), *_texts(mask_text(_model(plan)), x, end, "dim", 2)]
    if place := _place(plan):
        rows += _texts(place, x, end, "fg", 2)
    rows.append(Row())
    if plan.error:
        rows += [_marked(line, glyphs.failed if not index else "", "err", x, end)
                 for index, line in enumerate(wrap(plan.error, end - x - 2)[:6])]  # fmt: skip
        rows.append(Row())
    for problem in plan.problems:
        rows += problem_rows(problem, glyphs, x, width)
        rows += _texts(problem.advice, x + 2, end, "faint", 2)
    if plan.problems:
        rows.append(Row())
    if plan.fit is not None:
        rows += [*memory_parts(plan.fit, glyphs, x, end), Row()]
    if plan.preview is not None:
        title = _title("COMMAND", x)
        title.put_right(end, "y copy", "faint")
        rows += [title, *command_rows(plan.preview.argv, plan.preview.env, x, width)]
        for note in plan.preview.notes if recipe is not None and recipe.elsewhere else ():
            rows += _texts(note, x, end, "faint", 3)
        rows.append(Row())
    if plan.past:
        rows += [_title("RUNS", x), *(_past(run, glyphs, x, end, now) for run in plan.past), Row()]
    if plan.since is not None:
        rows.append(_title("CHANGED", x, f"since it worked, {numbers.moment(plan.since.at, now)}"))
        for change in plan.since.changes[:8]:
            rows += _change(*change, x, end)
        key = Row()
        key.link(x, key.run(x, [("R", "fg bold"), (" brings a revision back", "dim")]), "recipes.revisions")
        rows.append(key)
        rows.append(Row())
    if recipe is not None and recipe.tags:
        rows += [_title("TAGS", x), *_texts("   ".join(recipe.tags), x, end, "fg", 2), Row()]
    if recipe is not None and recipe.description:
        rows += [_title("NOTES", x), *_texts(recipe.description, x, end, "dim", 12)]
    return rows


def reading(line: Line | None, x: int, width: int) -> Row:
    """Draw what stands for the details until they are worked out."""
    row = Row()
    if line is not None:
        row.put(row.put(x, line.name, "fg bold", width - x - 14) + 3, "looking", "faint")
    return row


def few_rows(plan: Plan, glyphs: Glyphs, x: int, width: int, height: int, now: float) -> list[Row]:
    """Draw the main facts of a recipe in a few rows, one below the other."""
    end = width - 2
    head = _head(plan, x, end - 14)
    key = head.put_right(end, "i all of it", "dim")
    head.put(key, "i", "fg bold")
    head.link(key, end, "table.info")
    facts: list[tuple[str, list[tuple[str, str]]]] = []
    if plan.error:
        facts.append(("error", [(plan.error, "err")]))
    for problem in plan.problems[:2]:
        text = f"{problem.field}: {problem.message}" if problem.field else problem.message
        severe = problem.severity == "error"
        facts.append(("check", [(f"{glyphs.failed if severe else glyphs.warning} ", "err" if severe else "warn"),
                                (text, "fg")]))  # fmt: skip
    facts.append(("model", [(mask_text(_model(plan)), "fg")]))
    if place := _place(plan):
        facts.append(("runs on", [(place, "fg")]))
    if plan.fit is not None:
        words, style = verdict(plan.fit)
        sizes = f"{numbers.gib(plan.fit.per_gpu.likely)} of {numbers.gib(plan.fit.limit)} GiB, "
        facts.append(("memory", [(sizes, "fg"), (words, style),
                                 (f"   {', '.join(said_of(plan.fit))}", "dim")]))  # fmt: skip
    if plan.preview is not None:
        facts.append(("command", [(shlex.join(plan.preview.argv), "fg")]))
    if plan.past:
        parts: list[tuple[str, str]] = []
        past = plan.past[:4]
        for run in past:
            mark, colour = glyphs.state(run.state)
            room = 200 if len(past) == 1 else 40 if run.live else 28
            words = f"{numbers.moment(run.at, now)} {fit(_end(run), room)}"
            if parts and x + 10 + sum(cell_len(text) for text, _ in parts) + 2 + cell_len(words) > end:
                break  # a run that is cut off says nothing
            parts += [(f"{mark} ", colour), (f"{words}   ", "fg")]
        facts.append(("runs", parts))
    if plan.since is not None:
        pairs = [(name, *fit_change(old, new, end - x - 16 - len(name))) for name, old, new in plan.since.changes]
        text = ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs)
        facts.append(("changed", [(text, "fg")]))
    if plan.recipe is not None and plan.recipe.description:
        facts.append(("notes", [(plan.recipe.description, "dim")]))
    rows = [head, Row()] if height > len(facts) + 1 else [head]
    for index, (label, parts) in enumerate(facts[: max(0, height - len(rows))]):
        row = Row()
        if not index or facts[index - 1][0] != label:
            row.put(x, label, "dim")
        at = x + 10
        for text, style in parts:
            at = row.put(at, text, style, max(0, end - at))
        rows.append(row)
    return rows


def _model(plan: Plan) -> str:
    recipe = plan.recipe
    return "" if recipe is None else recipe.model_path or recipe.base_url or recipe.command or ""


def _place(plan: Plan) -> str:
    """Return where it runs, in words; empty for this machine."""
    if plan.recipe is None or not plan.recipe.elsewhere:
        return ""
    from vllm_studio_tui.domain.recipe_places import place_words  # few recipes need it

    return place_words(plan.recipe)


def _head(plan: Plan, x: int, end: int) -> Row:
    """Draw name, id where that is another, and revision."""
    row, recipe = Row(), plan.recipe
    if plan.revision is not None:
        end = row.put_right(end, f"revision {plan.revision}", "faint") - 2
    at = row.put(x, (recipe.name if recipe else "") or plan.recipe_id, "fg bold", max(0, end - x))
    if recipe is not None and recipe.name != recipe.id:
        row.put(at + 2, recipe.id, "faint", max(0, end - at - 2))  # its name on the command line
    return row


def _title(text: str, x: int, note: str = "") -> Row:
    row = Row()
    row.run(x, [(text, "dim bold"), (f"  {note}" if note else "", "faint")])
    return row


def _texts(text: str, x: int, end: int, style: str, most: int) -> list[Row]:
    """Draw a text in at most so many lines; where it has more, the last one says so."""
    lines = wrap(text, max(8, end - x)) if text else []
    if len(lines) > most:
        lines[most - 1 :] = [" ".join(lines[most - 1 :])]
    rows = []
    for line in lines:
        row = Row()
        row.put(x, line, style, end - x)
        rows.append(row)
    return rows


def _marked(text: str, mark: str, colour: str, x: int, end: int) -> Row:
    row = Row()
    row.put(x, mark, colour)
    row.put(x + 2, text, "fg", end - x - 2)
    return row


def _end(run: PastRun) -> str:
    """Return how a run ended, in a few words."""
    took = numbers.duration(run.took) if run.took is not None else ""
    if run.live:
        return f"{run.state}  {run.address}".rstrip()
    if run.state == "failed":
        return run.title or f"failed {f'after {took}' if took else ''}".strip()
    return took or run.title or run.state


def _past(run: PastRun, glyphs: Glyphs, x: int, end: int, now: float) -> Row:
    row = Row()
    mark, colour = glyphs.state(run.state)
    day = numbers.moment(run.at, now)
    hour = "" if run.at is None or ":" in day else time.strftime("%H:%M", time.localtime(run.at))
    row.put(x, f"{day} {hour}".strip(), "faint")
    row.put(x + 14, mark, colour)
    row.put(x + 16, _end(run), "fg", max(0, end - x - 16))
    row.link(x, end, f"run:{run.run_id}")
    return row


def _change(name: str, old: str, new: str, x: int, end: int) -> list[Row]:
    """Draw a change, in two lines where one is too narrow."""
    row = Row()
    at = row.put(x, name, "fg", end - x) + 2
    rows = [row]
    old, new = fit_change(old, new, end - x - 6)
    if at + cell_len(old) + cell_len(new) + 4 > end:
        row, at = Row(), x + 2
        rows.append(row)
    for text, style in ((old, "err"), (" -> ", "faint"), (new, "ok")):
        at = row.put(at, text, style, max(0, end - at))
    return rows
