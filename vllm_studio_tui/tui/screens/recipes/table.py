"""The table of recipes: its lines, its columns and their order. A new column is one more entry of `COLUMNS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import TROUBLE, Glyphs
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.paint.run_words import backend_word, how_far, takes_first_gpus
from vllm_studio_tui.tui.paint.table import Column, Parts
from vllm_studio_tui.tui.widgets.table import Table

#: What the rows are ordered by until a person orders them by a column, in words.
ORDER_WORDS = "live, pinned, then last run"
_URGENCY = {state: index for index, state in enumerate(TROUBLE)}


@dataclass(frozen=True, slots=True)
class Here:
    """What the lines of all recipes need.

    Attributes:
        gpus: The number of GPUs of this host; None where that is not known.
        engines_missing: The kinds of engine that are not installed here.
        pins: The ids of the pinned recipes.
        now: Seconds since the epoch.
    """

    glyphs: Glyphs
    gpus: int | None
    engines_missing: frozenset[str]
    pins: frozenset[str]
    now: float


@dataclass(frozen=True, slots=True)
class Line:
    """A recipe as the table needs it.

    Attributes:
        data: The recipe as it is stored.
        last: Its latest run.
    """

    recipe_id: str
    data: Mapping[str, Any]
    last: RunView | None
    here: Here

    @property
    def glyphs(self) -> Glyphs:
        return self.here.glyphs

    @property
    def now(self) -> float:
        return self.here.now

    @property
    def name(self) -> str:
        return str(self.data.get("name") or self.recipe_id)

    @property
    def pinned(self) -> bool:
        return self.recipe_id in self.here.pins

    @property
    def shown_run(self) -> RunView | None:
        """The latest run, if it is live or failed and was not dismissed."""
        run = self.last
        if run is None or run.state is State.EXITED or (run.dismissed and run.status.final):
            return None
        return run

    @property
    def elsewhere(self) -> bool:
        """Whether it runs on other machines: what is here says nothing of it."""
        handover = self.data.get("handover")
        system = handover.get("to", "none") if isinstance(handover, Mapping) else "none"
        return bool(self.data.get("nodes")) or system != "none"

    @property
    def gpus(self) -> int | None:
        """The number of GPUs that it needs; None where the engine decides."""
        given = self.data.get("gpus") or ()
        if given:
            return len(given)
        if takes_first_gpus(str(self.data.get("backend"))):
            return _number(self.data.get("tensor_parallel_size")) * _number(self.data.get("pipeline_parallel_size"))
        return None


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def words_of(line: Line) -> str:
    """Return the text of a recipe that a filter looks through."""
    data = line.data
    parts = [str(data.get(name, "")) for name in ("name", "model_path", "description", "backend", "tags")]
    return " ".join([line.recipe_id, *parts, backend_word(str(data.get("backend", ""))), _state_word(line)])


def rank(line: Line) -> tuple[int, bool, float, str]:
    """Return what the rows are ordered by: what is live or failed by urgency, what is pinned, then by the last run."""
    run = line.shown_run
    started = line.last.status.started_at or 0.0 if line.last is not None else 0.0
    return (_URGENCY.get(run.state, 90) if run is not None else 99, not line.pinned, -started, line.name.lower())


def lead(line: Line) -> tuple[str, str]:
    """Return the mark of a recipe's state."""
    run = line.shown_run
    return line.glyphs.state(run.state) if run is not None else ("", "fg")


def _name(line: Line) -> Parts:
    parts = [(line.name, "fg bold" if line.shown_run is not None else "fg")]
    return [*parts, (" pinned", "faint")] if line.pinned else parts


def _engine(line: Line) -> Parts:
    parts = [(_engine_word(line), "dim")]
    named = any(line.data.get(name) for name in ("executable", "python_path", "command"))
    if line.data.get("backend") in line.here.engines_missing and not named and not line.elsewhere:
        parts.append((f" {line.glyphs.warning}", "warn"))
    return parts


def _engine_word(line: Line) -> str:
    return backend_word(str(line.data.get("backend", "")))


def _gpus(line: Line) -> Parts:
    count = line.gpus
    if count is None:
        return []
    too_many = line.here.gpus is not None and count > line.here.gpus and not line.elsewhere
    # Red alone would say nothing without colours.
    return [(f"{line.glyphs.warning} " if too_many else "", "err"), (str(count), "err" if too_many else "fg")]


def _context(line: Line) -> Parts:
    length = line.data.get("max_model_len")
    if length and length > 0:
        return [(str(length), "fg")]
    if not line.data.get("model_path"):  # an external server, which does not say
        return [(line.glyphs.unknown, "faint")]
    return [("auto" if length else "model's", "faint")]  # -1: what there is memory for; none: the model's own


def _state_word(line: Line) -> str:
    run = line.shown_run
    if run is None:
        return ""
    if run.state is State.LOADING:
        far = how_far(run)
        return f"{run.state} {far}" if far[:1].isdigit() else far or str(run.state)
    if run.state is State.FAILED and run.status.ended_at is not None:
        return f"{run.state} {numbers.moment(run.status.ended_at, line.now)}"
    return str(run.state)


def _state(line: Line) -> Parts:
    run = line.shown_run
    return [(_state_word(line), line.glyphs.state(run.state)[1])] if run is not None else []


def _state_in(line: Line, width: int) -> Parts:
    """Return the state; without its time or share where both have no room."""
    return [(text if len(text) <= width else text.partition(" ")[0], style) for text, style in _state(line)]


def _last_run(line: Line) -> Parts:
    run = line.last
    if run is None:
        return [("never", "faint")]
    return [("now" if run.live else numbers.ago(run.status.ended_at or run.status.started_at, line.now), "dim")]


def _when(line: Line) -> float | None:
    run = line.last
    return None if run is None else line.now if run.live else run.status.ended_at or run.status.started_at


COLUMNS: tuple[Column[Line], ...] = (
    Column("name", _name, 12, grow=1, order=lambda line: line.name.lower()),
    Column("engine", _engine, 9, grow=2, drop=3, order=_engine_word),
    Column("GPUs", _gpus, 4, right=True, drop=2, order=lambda line: line.gpus, falling=True),
    Column("context", _context, 7, right=True, drop=4, order=lambda line: line.data.get("max_model_len"), falling=True),
    Column("state", _state, 9, grow=1, order=lambda line: _state_word(line) or None, draw=_state_in),
    Column("last run", _last_run, 8, right=True, drop=5, order=_when, falling=True),
)


def lines(stored: Sequence[tuple[str, Mapping[str, Any]]], last: Mapping[str, RunView], here: Here) -> list[Line]:
    """Return the recipes as the table needs them.

    Args:
        stored: The recipes as they are stored, by id.
        last: The latest run of each recipe, by the recipe's id.
    """
    return [Line(recipe_id, data, last.get(recipe_id), here) for recipe_id, data in stored]


def recipes_table(
    get_ink: Callable[[], Ink], get_size: Callable[[], Size], is_read_only: Callable[[], bool]
) -> Table[Line]:
    """Return the table of recipes, empty."""
    return Table(
        COLUMNS,
        get_ink,
        get_size,
        title="RECIPES",
        key=lambda line: line.recipe_id,
        words=words_of,
        rank=rank,
        rank_words=ORDER_WORDS,
        lead=lead,
        nothing=lambda x, width: nothing(x, read_only=is_read_only()),
        can_mark=True,
        id="recipes-table",
    )


def nothing(x: int, *, read_only: bool) -> list[Row]:
    """Say that there are no recipes, and name the keys that add one."""
    row = Row()
    row.put(x, "No recipes yet.", "fg bold")
    keys = Row()
    if not read_only:
        at = x
        for key, word, action in (
            ("n", "what to run", "recipes.new"),
            ("I", "import from vLLM, llama-swap, compose or a shell command", "recipes.import"),
        ):
            end = keys.run(at, [(key, "accent bold" if key == "n" else "fg bold"), (f" {word}", "dim")])
            keys.link(at, end, action)
            at = end + 3
    return [row, Row(), keys]
