"""A row of the table of models: a model that is here, one that is coming, or both at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.domain.model import Model
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import charts
from vllm_studio_tui.tui.paint.downloads import name_of, state_mark, state_word
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.table import Column, Parts
from vllm_studio_tui.tui.screens.models.fitting import Fitting
from vllm_studio_tui.tui.screens.models.words import architecture, context, kept_in, parameters

#: What the rows are ordered by until a person orders them by a column, in words.
ORDER_WORDS = "what comes, what runs, then last run"


@dataclass(frozen=True, slots=True)
class Line:
    """A row: either of the two is there.

    Attributes:
        download: That has not ended well.
        runs: The live runs of its recipes.
    """

    model: Model | None = None
    download: Download | None = None
    runs: tuple[RunView, ...] = ()

    @property
    def key(self) -> str:
        """What its recipe would name, which mostly stays the same when a download becomes a model."""
        return self.model.path if self.model is not None else self.download.name if self.download is not None else ""

    @property
    def path(self) -> str:
        """What a recipe names; empty where that is not known yet."""
        return self.model.path if self.model is not None else self.download.path if self.download is not None else ""

    @property
    def name(self) -> str:
        if self.model is not None:
            return self.model.name
        return name_of(self.download) if self.download is not None else ""

    @property
    def going(self) -> bool:
        return self.download is not None and self.download.state.live

    @property
    def recipes(self) -> tuple[str, ...]:
        return self.model.recipes if self.model is not None else ()

    @property
    def live(self) -> bool:
        return bool(self.runs)

    def state(self) -> str:
        """Return how whole it is, in a word or two."""
        if self.download is not None:
            return state_word(self.download)
        assert self.model is not None
        if self.model.complete is False:
            return "not whole"
        return "whole" if self.model.complete else ""

    def words(self) -> str:
        """Return what a filter looks through."""
        one, parts = self.model, [self.name, self.key, self.state()]
        if one is not None:
            parts += [
                one.missing,
                one.kind,
                one.architecture or "",
                one.quantization or "",
                one.source,
                one.origin,
                *one.recipes,
            ]
        if self.download is not None:
            parts += [self.download.repo, "download"]
        return " ".join([*parts, *(str(run.state) for run in self.runs)])


def lines_of(
    models: Sequence[Model], downloads: Sequence[Download], runs: Mapping[str, Sequence[RunView]]
) -> list[Line]:
    """Return a row for each model, and for each download that has not ended and is no model yet.

    Args:
        runs: The live runs of each recipe, by its id.
    """
    coming = {one.id: one for one in downloads if one.state is not DownloadState.DONE}
    of = {key: one for one in reversed(coming.values()) for key in (one.repo, one.name, one.path) if key}
    lines = []
    for model in models:
        download = of.get(model.path) or (of.get(model.name) if model.source == "hub" else None)
        download = coming.pop(download.id, None) if download is not None else None
        live = tuple(run for recipe in model.recipes for run in runs.get(recipe, ()))
        lines.append(Line(model, download, live))
    return [*lines, *(Line(None, one) for one in coming.values())]


def rank(line: Line) -> tuple[int, float, bool, str]:
    """Return what rows are ordered by: what comes, what stopped coming, what runs, then the latest run first."""
    group = 0 if line.going else 1 if line.download is not None else 2 if line.live else 3
    last = line.model.last_run if line.model is not None else None
    return (group, -(last or 0.0), not line.recipes, line.name.lower())


def lead(line: Line, glyphs: Glyphs) -> tuple[str, str]:
    """Return the mark before a row, and its colour."""
    if line.download is not None:
        return state_mark(line.download, glyphs)
    if line.model is not None and line.model.complete is False:
        return glyphs.warning, "warn"
    whole = line.model is not None and line.model.complete
    return (glyphs.passed, "ok") if whole else (glyphs.pending, "faint")


def _bytes(line: Line) -> float | None:
    if line.download is not None and (line.download.bytes_total or line.model is None):
        return line.download.bytes_total
    return line.model.bytes if line.model is not None else None


def columns_of(
    glyphs: Glyphs, now: float, size: Size, fits: Mapping[str, Fitting | None] | None = None
) -> list[Column[Line]]:
    """Return the columns of the table; in smaller windows fewer, and how whole it is stands with its last run.

    Args:
        fits: What fits of each model, by its path, as far as that was asked; None: there is no such column.
    """

    def text(words: str, style: str = "fg") -> Parts:
        return [(words, style)] if words else [(glyphs.unknown, "faint")]

    def weight(line: Line) -> Parts:
        if line.download is not None and line.download.bytes_total:
            done = f"{numbers.gib(line.download.bytes_done)} / "
            return [(done, "fg" if line.going else "dim"), (numbers.gib(line.download.bytes_total), "dim")]
        size_ = _bytes(line)
        words = numbers.gib(size_, "")
        return text("<0.1" if size_ and words == "0.0" else words)

    def state(line: Line) -> Parts:
        words = line.state()
        if size >= Size.FULL and line.download is None and line.model is not None and line.model.complete is False:
            words = line.model.missing or words
        if line.download is not None:
            return [(words, state_mark(line.download, glyphs)[1] + (" bold" if line.going else ""))]
        return text(words, "dim" if words == "whole" else "warn")

    def last(line: Line) -> Parts:
        if line.live:
            return [("now", "fg")]
        run_at = line.model.last_run if line.model is not None else None
        return [(numbers.ago(run_at, now) if run_at is not None else "never", "dim" if run_at else "faint")]

    def last_or_state(line: Line) -> Parts:
        return state(line) if line.download is not None or line.state() not in ("whole", "") else last(line)

    def used(line: Line) -> Parts:
        if line.runs:
            run = line.runs[0]
            more = f" and {len(line.runs) - 1} more" if len(line.runs) > 1 else ""
            mark, colour = glyphs.state(run.state)
            return [(f"{mark} ", colour), (run.name, "fg"), (more, "dim")]
        names = line.recipes
        if not names:
            return [(glyphs.unknown, "faint")]
        return [(names[0] if len(names) == 1 else f"{len(names)} recipes", "dim")]

    def fit(line: Line) -> Parts:
        found = (fits or {}).get(line.path)
        return found.parts(glyphs) if found is not None else [(glyphs.unknown, "faint")]

    def fit_order(line: Line) -> Any:
        found = (fits or {}).get(line.path)
        return found.order if found is not None else None

    def bar(line: Line, width: int) -> Parts:
        one = line.download
        if one is None:
            return last_or_state(line)
        words = f" {state_word(one)}"
        return [*charts.bar(glyphs, one.share, max(0, width - len(words)), state_mark(one, glyphs)[1]),
                (words, "fg")]  # fmt: skip

    name: Column[Line] = Column(
        "name", lambda line: text(line.name, "fg bold" if line.going or line.live else "fg"), 12, grow=1,
        order=lambda line: line.name.lower(),
    )  # fmt: skip
    if size <= Size.STRIP:
        return [name, Column("state", last_or_state, 18, grow=2, draw=bar, order=Line.state)]
    kind: Column[Line] = Column(
        "kind", lambda line: text(_kind(line), "dim"), 8, grow=4, drop=9, order=lambda line: _kind(line) or None
    )
    many: Column[Line] = Column(
        "size", lambda line: text(parameters(line.model.parameters if line.model is not None else None, "")), 6,
        right=True, drop=3,
        order=lambda line: line.model.parameters if line.model is not None else None, falling=True,
    )  # fmt: skip
    form: Column[Line] = Column(
        "numbers", lambda line: text(kept_in(line.model) if line.model is not None else ""), 8, grow=5,
        drop=4, order=lambda line: (kept_in(line.model) or None) if line.model is not None else None,
    )  # fmt: skip
    length: Column[Line] = Column(
        "context", lambda line: text(context(line.model.context if line.model is not None else None, "")), 7,
        right=True, drop=8, order=lambda line: line.model.context if line.model is not None else None, falling=True,
    )  # fmt: skip
    weighs: Column[Line] = Column("GiB", weight, 5, right=True, drop=2, order=_bytes, falling=True)
    ran: Column[Line] = Column(
        "last run", last if size >= Size.WIDE else last_or_state, 9, right=True,
        drop=5 if size >= Size.WIDE else 0, order=lambda line: _ran(line, now), falling=True,
    )  # fmt: skip
    if size <= Size.COMPACT:
        return [name, weighs, Column("state", last_or_state, 9, grow=2, order=Line.state)]
    if size == Size.BASE:
        return [name, many, form, weighs, ran]
    return [
        name, kind, many, form, length, weighs,
        Column("state", state, 8, grow=6, order=Line.state),
        Column("used by", used, 18, grow=3, drop=7, order=lambda line: (not line.live, -len(line.recipes))),
        *([] if fits is None else [Column("fits here", fit, 19, grow=2, drop=6, order=fit_order, falling=True)]),
        ran,
    ]  # fmt: skip


def _kind(line: Line) -> str:
    if line.model is None:
        return "hub"
    one = line.model
    # What no engine loads by itself says so in place of its family.
    return (architecture(one.architecture) if one.runnable else "") or one.kind


def _ran(line: Line, now: float) -> float | None:
    return now if line.live else line.model.last_run if line.model is not None else None
