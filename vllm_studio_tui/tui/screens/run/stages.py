"""The stages of a start as a waterfall: a bar begins where the stage began."""

from __future__ import annotations

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import told_why
from vllm_studio_tui.runs.not_ready import waiting_for
from vllm_studio_tui.services.launching.stage_times import PROCESS, Mark, StageTime
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.paint.run_loading import tone
from vllm_studio_tui.tui.paint.run_parts import left
from vllm_studio_tui.tui.paint.run_words import stage_word
from vllm_studio_tui.tui.screens.run.facts import PageFacts

_COLOURS = {Mark.DONE: "ok", Mark.NOW: "accent", Mark.FAILED: "err", Mark.PENDING: "faint"}


def mark_of(glyphs: Glyphs, mark: Mark) -> tuple[str, str]:
    """Return the character of how far a stage has come, and its colour."""
    text = {
        Mark.DONE: glyphs.passed,
        Mark.NOW: glyphs.state(State.LOADING)[0],
        Mark.FAILED: glyphs.failed,
        Mark.PENDING: glyphs.pending,
    }[mark]
    return text, _COLOURS[mark]


def heading(page: PageFacts, x: int, width: int) -> Row:
    """Draw the title: how long the start took or takes, and what is usual."""
    row = Row()
    at = row.put(x, "STAGES", "dim bold") + 2
    row.put(at, _summary(page), "dim", max(0, x + width - at))
    return row


def _summary(page: PageFacts) -> str:
    status = page.run.status
    words = []
    if status.started_at and status.ready_at and status.ready_at >= status.started_at:
        words.append(f"ready after {span(status.ready_at - status.started_at)}")
    elif page.run.state in (State.STARTING, State.LOADING) and status.started_at:
        words.append(f"for {span(page.now - status.started_at)}")
        if (rest := left(page.facts, page.now)) is not None:
            words.append(f"about {numbers.about(rest)} left")
    elif page.run.state is State.FAILED and status.started_at and status.ended_at:
        words.append(f"failed after {span(status.ended_at - status.started_at)}")
    usual = page.story.usual if page.story is not None else None
    if usual is not None:
        runs = "the run before" if usual[1] == 1 else f"mean of {usual[1]} other runs"
        words.append(f"{runs} {span(usual[0])}")
    return ", ".join(words)


def waterfall(page: PageFacts, x: int, width: int) -> list[Row]:
    """Draw a row for each stage: mark, name, time, bar, and a note."""
    stages = page.stages()
    total = max(((one.begin or 0.0) + (one.took or 0.0) for one in stages), default=0.0)
    total = max(total, sum(one.usual or 0.0 for one in stages)) if page.run.status.ready_at is None else total
    bar_x = x + 25
    notes = [_note(page, one) for one in stages]
    bar = max(8, min(32, width - 25 - 1 - min(28, max((len(note) for note in notes), default=0))))
    rows = []
    for one, note in zip(stages, notes, strict=True):
        row = Row()
        mark, colour = mark_of(page.glyphs, one.mark)
        row.put(x, mark, colour)
        pending = one.mark is Mark.PENDING
        row.put(
            x + 2, fit(stage_word(one.name), 13), "faint" if pending else "fg bold" if one.mark is Mark.NOW else "fg"
        )
        took = page.glyphs.unknown if one.took is None else span(one.took)
        row.put_right(x + 22, took, "faint" if one.took is None else "fg")
        row.run(bar_x, _bar(page.glyphs, one, total, bar))
        row.put(bar_x + bar + 1, note, _note_style(page, one), max(0, x + width - bar_x - bar - 1))
        rows.append(row)
    return rows


def times(page: PageFacts, x: int, width: int) -> list[Row]:
    """Draw mark, name and time of each stage one after the other, for where a bar has no room."""
    rows, row, at = [], Row(), x
    for one in page.stages():
        mark, colour = mark_of(page.glyphs, one.mark)
        parts = [(mark, colour), (f" {stage_word(one.name)}", "faint" if one.mark is Mark.PENDING else "dim")]
        if one.took is not None:
            parts.append((f" {span(one.took)}", "fg"))
        needed = sum(len(text) for text, _ in parts)
        if at > x and at + needed > x + width:
            rows.append(row)
            row, at = Row(), x
        at = row.run(at, parts) + 2
    return [*rows, row] if row.pieces else rows


def _bar(glyphs: Glyphs, one: StageTime, total: float, width: int) -> list[tuple[str, str]]:
    """Return a line of `width` cells; the cells of the stage are at its place in the whole start."""
    if one.begin is None or one.took is None or total <= 0:
        return [(glyphs.track * width, "track")]
    first = min(width - 1, int(one.begin / total * width))
    cells = max(1, min(width - first, round(one.took / total * width)))
    colour = {Mark.NOW: "accent", Mark.FAILED: "err"}.get(one.mark, "data")
    return [
        (glyphs.track * first, "track"),
        (glyphs.bar * cells, colour),
        (glyphs.track * (width - first - cells), "track"),
    ]


def _note(page: PageFacts, one: StageTime) -> str:
    status = page.run.status
    if one.mark is Mark.FAILED:
        line = page.diagnosis.line_number if page.diagnosis is not None else None
        return f"line {line}" if line is not None else ""
    if one.mark is Mark.NOW:
        if told_why(page.run):
            return ""  # the part about its system has it whole
        if words := waiting_for(page.run, page.now):
            return words
        if status.progress is not None and one.name == status.stage:
            return numbers.percent(status.progress)
    if one.mark in (Mark.NOW, Mark.PENDING) and one.usual is not None:
        return f"{span(one.usual)} before"
    if one.name == PROCESS and status.pid:
        return f"pid {status.pid}"
    return ""


def _note_style(page: PageFacts, one: StageTime) -> str:
    if one.mark is Mark.FAILED:
        return "err"
    if one.mark is Mark.NOW and waiting_for(page.run, page.now):
        return tone(page.run, page.now)
    return "fg" if one.mark is Mark.NOW else "dim"


def span(seconds: float) -> str:
    """Return seconds with a decimal below ten, then in two units."""
    return f"{seconds:.1f} s" if seconds < 9.95 else numbers.duration(round(seconds))
