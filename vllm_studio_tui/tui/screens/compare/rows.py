"""Rows of the comparison: its head, the question, the head of each answer, what differs, how all stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from vllm_studio_tui.domain.compare import LABELS, Score
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.text_diff import diff_texts
from vllm_studio_tui.tui.document import figures
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row, fit, wrap
from vllm_studio_tui.tui.paint.text_diff import text_diff_rows

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.glyphs import Glyphs
    from vllm_studio_tui.tui.screens.compare.lanes import Lane, Lanes

#: Cells of a name and its value among the figures.
PAIR = 28


def edge_of(width: int) -> int:
    """Return the first column of text, which is that of an answer of this width."""
    return 2 if width >= 50 else 1 if width >= 20 else 0


def head_rows(state: Lanes, width: int) -> list[Row]:
    """Return the title: how many answer, and whether their names are hidden."""
    row, x = Row(), edge_of(width)
    x = row.put(x, "Side by side", "fg bold") + 3
    count = len(state.lanes)
    words = f"one question, {count} answer it" if count else "they are being asked"
    if state.hidden:
        words += ", names hidden until you choose"
    row.put(x, words, "dim", max(0, width - x - 1))
    return [row]


def question_rows(text: str, glyphs: Glyphs, size: Size, width: int) -> list[Row]:
    """Return the question, in as many lines as there is room for."""
    edge = edge_of(width)
    lines = wrap(text.strip(), max(8, width - edge - 2))
    most = 4 if size >= Size.WIDE else 2 if size >= Size.BASE else 1
    if len(lines) > most:
        lines = [*lines[: most - 1], fit(f"{lines[most - 1]} {glyphs.ellipsis}", max(8, width - edge - 2))]
    around = [""] if size >= Size.FULL else []
    rows = []
    for line in (*around, *lines, *around):
        row = Row(plane="surf")
        row.put(0, glyphs.block, "data")
        row.put(edge, line, "fg")
        rows.append(row)
    return rows


def answer_head(state: Lanes, place: int, glyphs: Glyphs, size: Size, width: int, *, beside: bool) -> list[Row]:
    """Return the row above an answer: who, what it does, how much and how fast."""
    if place >= len(state.lanes):
        return []
    lane, here = state.lanes[place], place == state.at
    row = Row(plane="sel" if here else "")
    if here:
        row.put(0, glyphs.cursor, "accent")
    x, end = max(1, edge_of(width)), width - 2
    right = _so_far(lane)
    if state.better(place):
        right = f"better   {right}" if right else "better"
    if not beside and size <= Size.STRIP:
        right = f"{place + 1} of {len(state.lanes)}"
    mark, colour = _mark(lane, glyphs)
    name, word = state.name(place), lane.state
    # A name is not cut while a word or a figure, which stand below the answer too, could make room for it.
    needed = x + cell_len(name) + 5 + (cell_len(right) + 3 if right else 0)
    if needed + len(word) > end:
        word = ""
    if needed > end and size > Size.STRIP:
        right = ""
    if right:
        end = row.put_right(end, right, "fg" if here else "dim") - 3
    x = row.put(x, name, "fg bold", max(1, end - x - 4)) + 3
    row.put(row.put(x, mark, colour) + 1, word, "dim", max(0, end - x - 2))
    row.link(0, width, f"column:{place}")
    return [row]


def _mark(lane: Lane, glyphs: Glyphs) -> tuple[str, str]:
    if lane.message is None:
        return glyphs.state("loading")
    if lane.message.finish in ("failed", "interrupted"):
        return glyphs.failed, "err"
    return (glyphs.passed, "ok") if lane.message.finish == "stop" else (glyphs.warning, "warn")


def _so_far(lane: Lane) -> str:
    """Return tokens and speed: as they were counted, else about."""
    if lane.message is not None:
        parts = [figures.generated_tokens(lane.message), figures.speed(lane.message)]
    else:
        tokens, speed = lane.answer.tokens, lane.answer.speed
        parts = [f"~{tokens}" if tokens else "", f"~{numbers.rate(speed)}" if speed is not None else ""]
    return "   ".join(f"{part} {unit}" for part, unit in zip(parts, ("tok", "tok/s"), strict=True) if part)


def figure_rows(state: Lanes, width: int) -> list[Row]:
    """Return the same figures of each answer in the same rows, below its column."""
    count = len(state.lanes)
    if not count:
        return []
    head = Row()
    head.put(edge_of(width), "WHAT DIFFERS", "dim bold")
    rows = [head]
    for name, values in _figures(state.lanes):
        row = Row()
        for place, value in enumerate(values):
            left = place * width // count
            edge = left + edge_of(width // count)
            row.put(edge, name, "dim")
            room = min(PAIR, (place + 1) * width // count - edge - 2)
            row.put_right(edge + room, value, "fg" if value != "–" else "faint")
        rows.append(row)
    return rows


def _figures(lanes: Sequence[Lane]) -> list[tuple[str, list[str]]]:
    def of(lane: Lane) -> tuple[str, ...]:
        one = lane.message
        if one is None:
            return ("–", "–", "–", f"~{lane.answer.tokens} so far" if lane.answer.tokens else "–", "–")
        timings = one.timings
        return (
            numbers.latency(timings.ttft),
            figures.speed(one) or "–",
            numbers.latency(timings.thinking),
            figures.generated_tokens(one) or "–",
            numbers.latency(timings.total),
        )

    names = ("TTFT", "tok/s", "thinking", "tokens", "done after")
    columns = [of(lane) for lane in lanes]
    return [(name, [column[at] for column in columns]) for at, name in enumerate(names)]


def score_line(state: Lanes, scores: Sequence[Score], votes: int, width: int) -> list[Row]:
    """Return the row of scores, which are shown after the vote."""
    row, x = Row(), edge_of(width)
    x = row.put(x, "SCORES", "dim bold") + 2
    x = row.put(x, f"{votes} blind {'vote' if votes == 1 else 'votes'}", "dim") + 3
    if state.hidden:
        row.put(x, "shown after the vote", "faint", max(0, width - x - 1))
        return [row]
    for one in (score for score in scores if any(score.name == lane.side.name for lane in state.lanes)):
        text, games = f"{one.rating:.0f} ", f"{one.games} {'game' if one.games == 1 else 'games'}"
        needed = len(one.name) + len(text) + len(games) + 3
        if x + needed > width:
            break
        x = row.run(x, [(f"{one.name} ", "fg"), (text, "fg bold"), (games, "faint")]) + 3
    return [row]


def score_rows(state: Lanes, scores: Sequence[Score], width: int) -> list[Row]:
    """Return how all stand after the blind votes, those that answer now marked."""
    edge = edge_of(width)
    head = Row()
    head.put(edge, "SCORES", "dim bold")
    head.put(edge + 8, "blind votes alone; 400 points more win ten times as often", "faint", max(0, width - edge - 9))
    if state.hidden or not scores:
        words = "They are shown after the vote." if state.hidden else "No blind vote yet."
        row = Row()
        row.put(edge, words, "dim")
        return [Row(), head, Row(), row]
    end = min(width - 2, edge + 88)
    columns = (("tied", 6), ("lost", 6), ("won", 6), ("games", 7), ("score", 8))
    titles = Row()
    x = end
    for title, room in columns:
        titles.put_right(x, title, "faint")
        x -= room
    rows = [Row(), head, Row(), titles]
    for one in scores:
        row = Row()
        x = end
        values = (one.ties, one.losses, one.wins, one.games, f"{one.rating:.0f}")
        for value, (title, room) in zip(values, columns, strict=True):
            row.put_right(x, str(value), "fg bold" if title == "score" else "dim")
            x -= room
        mine = any(one.name == lane.side.name for lane in state.lanes)
        row.put(edge, one.name, "fg bold" if mine else "fg", max(4, x - edge))
        rows.append(row)
    return rows


def difference_rows(state: Lanes, width: int) -> list[Row]:
    """Return what differs between the answer under the cursor and the one that is better, else the one before it."""
    if len(state.lanes) < 2:
        return []
    other = next((place for place in range(len(state.lanes)) if state.better(place) and place != state.at), None)
    other = (0 if state.at else 1) if other is None else other
    edge = edge_of(width)
    head = Row()
    x = head.put(edge, "WHAT DIFFERS", "dim bold") + 2
    head.run(x, [("- ", "err"), (_called(state, other), "fg"), ("   + ", "ok"), (_called(state, state.at), "fg")])
    pieces = diff_texts(state.lanes[other].text, state.lanes[state.at].text)
    rows = text_diff_rows(pieces, edge, width - 2 * edge)
    if all(kind == " " for kind, _ in pieces):
        same = Row()
        same.put(edge, "Both say the same." if pieces else "Nothing was said yet.", "dim")
        rows = [same, *rows]
    return [Row(), head, Row(), *rows]


def _called(state: Lanes, place: int) -> str:
    return LABELS[place] if state.hidden else state.lanes[place].side.name
