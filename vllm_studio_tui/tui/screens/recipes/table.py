"""The table of recipes: which of them a search finds, and its columns. A new column is one more entry of `COLUMNS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import columns
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.run_words import backend_word, takes_first_gpus


def words_of(recipe_id: str, data: Mapping[str, Any]) -> str:
    """Return the text of a recipe that a search looks through, in lower case."""
    parts = [recipe_id, *(str(data.get(name, "")) for name in ("name", "model_path", "description", "backend", "tags"))]
    return " ".join(parts).lower()


def title(x: int, found: int, stored: int | None) -> Row:
    """Draw the title with the number of recipes found; of those stored, None while they are not read yet."""
    row = Row()
    count = "" if stored is None else f"  {found}" if found == stored else f"  {found} of {stored}"
    row.run(x, [("RECIPES", "dim bold"), (count, "faint")])
    return row


def no_match(x: int, words: str) -> Row:
    """Say that a search finds nothing."""
    row = Row()
    row.run(x, [(f'Nothing matches "{words}".   ', "dim"), ("esc", "fg bold"), (" clears", "dim")])
    return row


def nothing(x: int, *, read_only: bool) -> list[Row]:
    """Say that there are no recipes, and name the keys that add one."""
    row = Row()
    row.put(x, "No recipes yet.", "fg bold")
    keys = Row()
    if not read_only:
        at = x
        for key, word, action in (
            ("n", "new", "recipes.new"),
            ("S", "take a starter", "recipes.starter"),
            ("i", "import from vLLM, llama-swap, compose or a shell command", "recipes.import"),
        ):
            end = keys.run(at, [(key, "accent bold" if key == "n" else "fg bold"), (f" {word}", "dim")])
            keys.link(at, end, action)
            at = end + 3
    return [row, Row(), keys]


@dataclass(frozen=True, slots=True)
class _Line:
    """A recipe as the columns need it.

    Attributes:
        data: The recipe as it is stored.
        last: Its latest run.
    """

    recipe_id: str
    data: Mapping[str, Any]
    last: RunView | None
    glyphs: Glyphs


def _name(line: _Line) -> columns.Parts:
    return [(str(line.data.get("name") or line.recipe_id), "fg")]


def _engine(line: _Line) -> columns.Parts:
    return [(backend_word(str(line.data.get("backend", ""))), "dim")]


def _gpus(line: _Line) -> columns.Parts:
    data = line.data
    gpus = data.get("gpus") or ()
    if gpus:
        return [(str(len(gpus)), "fg")]
    if takes_first_gpus(str(data.get("backend"))):
        count = int(data.get("tensor_parallel_size") or 1) * int(data.get("pipeline_parallel_size") or 1)
        return [(str(count), "fg")]
    return []


def _context(line: _Line) -> columns.Parts:
    length = line.data.get("max_model_len")
    return [(str(length), "fg")] if length else [(line.glyphs.unknown, "faint")]


def _state(line: _Line) -> columns.Parts:
    run = line.last
    if run is None or (run.dismissed and run.status.final):
        return [(line.glyphs.unknown, "faint")]
    mark, colour = line.glyphs.state(run.state)
    return [(f"{mark} ", colour), (str(run.state), "dim" if run.state is State.EXITED else colour)]


#: The layouts of the table.
WIDE, BASE, COMPACT = "wide", "base", "compact"
LAST_RUN = "last run"

COLUMNS: tuple[columns.Column[_Line], ...] = (
    columns.Column("name", _name, {WIDE: (5, 23), BASE: (4, 20), COMPACT: (2, 19)}),
    columns.Column("engine", _engine, {WIDE: (1, 12), BASE: (1, 11), COMPACT: (1, 10)}),
    columns.Column("gpus", _gpus, {WIDE: (1, 4), BASE: (1, 4), COMPACT: (1, 4)}, right=True),
    columns.Column("context", _context, {WIDE: (2, 7), BASE: (3, 7), COMPACT: (3, 7)}, right=True),
    columns.Column("state", _state, {WIDE: (4, 13), BASE: (4, 12), COMPACT: (2, 12)}),
    # Drawn by `table`: it takes the rest of the row.
    columns.Column(LAST_RUN, lambda line: [], {WIDE: (1, 0), BASE: (1, 0)}),
)


def table(
    found: Sequence[tuple[str, Mapping[str, Any]]],
    last: Mapping[str, RunView],
    glyphs: Glyphs,
    width: int,
    size: Size,
    now: float,
) -> list[Row]:
    """Draw the heads and a row for each recipe.

    Args:
        found: The recipes as they are stored, by id.
        last: The latest run of each recipe, by the recipe's id.
        width: The cells of a row.
        now: Seconds since the epoch.
    """
    layout = WIDE if size >= Size.WIDE else BASE if size >= Size.BASE else COMPACT
    rows = [columns.heads(COLUMNS, layout, 0, Row())]
    for recipe_id, data in found:
        run = last.get(recipe_id)
        row = columns.fill(COLUMNS, layout, 0, Row(key=recipe_id), _Line(recipe_id, data, run, glyphs))
        if layout != COMPACT:
            start = columns.start_of(COLUMNS, LAST_RUN, layout, 0)
            when = "never" if run is None else "now" if run.live else numbers.ago(run.status.started_at, now)
            row.put(start, when, "faint" if run is None else "dim", max(0, width - start - 1))
        rows.append(row)
    return rows
