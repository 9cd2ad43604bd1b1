"""What stands around a log: its head, the cause of a failure, and below it stages and errors."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.paint.run_words import STAGES, stage_word
from vllm_studio_tui.tui.screens.logs.facts import Remark

LEVEL_WORDS = {"all": "all", "warning": "warnings", "error": "errors"}


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is in a log.

    Attributes:
        known: Everything was counted.
        first, last: The times of its first and last line.
    """

    lines: int
    known: bool
    errors: int
    warnings: int
    first: str = ""
    last: str = ""


def head(run: RunView, counts: Counts, right: Sequence[tuple[str, str]], glyphs: Glyphs, width: int, size: Size) -> Row:
    """Draw the run, what its log has, and at the right how it is shown.

    Args:
        right: Pairs of a word and its value; where there is no room the first are left out, never the last.
    """
    row = Row()
    mark, colour = glyphs.state(run.state)
    name = run.name if size > Size.STRIP else run.name[:14]
    at = row.run(margin(size), [(f"{mark} ", colour), (name, "fg bold"), ("   ", "fg"), (str(run.state), colour)])
    moment = run.status.ended_at if run.status.final and run.status.ended_at else run.status.started_at
    if moment is not None:
        since = "" if run.status.final else "since "
        at = row.put(at + 1, f"{since}{numbers.moment(moment, time.time())}", "dim")
    if run.state is State.FAILED and size >= Size.WIDE and (words := ended(run)):
        at = row.put(at, f", {words}", "dim")
    words = numbered(counts.lines, "line") if counts.known else f"~{numbered(counts.lines, 'line')}"
    clock = counts.first and counts.last and not counts.first.startswith("+")
    spans = f", {counts.first} to {counts.last}" if clock and size >= Size.WIDE else ""
    parts = [(words + spans, "dim")]
    if counts.errors and size >= Size.BASE:
        parts.append((numbered(counts.errors, "error"), "err"))
    if counts.warnings and size >= Size.WIDE:
        parts.append((numbered(counts.warnings, "warning"), "warn"))
    shown = list(right)
    least = len(words) + 6 if size > Size.STRIP else 3
    while len(shown) > 1 and _cells(shown) > width - at - least - 2:
        shown.pop(0)
    end = width - 2 - _cells(shown)
    at += 3
    if at + len(words + spans) + 3 > end:
        parts[0] = (words, "dim")
    for text, style in parts:
        if at + len(text) + 3 <= end:
            at = row.put(at, text, style) + 3
    if at <= end:
        for word, value in shown:
            end = row.run(end, [(f"{word} " if word else "", "dim"), (value, "fg" if word else "dim")]) + 3
    return row


def _cells(shown: Sequence[tuple[str, str]]) -> int:
    """Return how many cells words and their values take, three blanks between them."""
    return sum(len(word) + bool(word) + len(value) for word, value in shown) + 3 * max(0, len(shown) - 1)


def cause_box(
    title: str, advice: str, line: str, echoes: Sequence[int], keys: Sequence[tuple[str, str]], width: int, size: Size
) -> list[Row]:
    """Draw why a run failed.

    Args:
        line: The number of the line that tells; empty where that is not known.
        echoes: The numbers of the lines that only repeat it.
        keys: What can be done about it.
    """
    x = 4 if size >= Size.WIDE else 2
    title = headline(title)
    where = f"root cause line {line}" if line and size >= Size.WIDE else f"line {line}" if line else ""
    if size <= Size.STRIP:
        return _boxed(_wrapped(title, 2, width - 1, 2, "fg bold"))
    first = Row()
    room = max(8, width - x - len(where) - 5)
    at = first.put(x, title, "fg bold", room)
    if where:
        first.run(width - 2 - len(where), [(where[: -len(line)], "dim"), (line, "fg")])
    rows = [first]
    if advice and size >= Size.BASE:
        lines = wrap(advice, max(8, width - x - 3))
        if size >= Size.WIDE and len(lines) == 1 and at + len(advice) + 3 < width - len(where) - 4:
            first.put(at + 3, advice, "dim")
        else:
            rows += _wrapped(advice, x, width - 2, 3 if size >= Size.WIDE else 1, "dim")
    said = echo_words(echoes)
    foot = Row()
    at = x
    if said and size >= Size.WIDE:
        row = Row()
        row.put(x, said, "dim", width - x - 2)
        rows.append(row)
        said = ""
    for key, word in keys:
        if at + len(key) + len(word) + 1 > width - 2:
            break
        at = foot.run(at, [(key, "accent bold" if key == "f" else "fg bold"), (f" {word}", "dim")]) + 3
    if said and at + len(said) < width - 2:
        foot.put(at, said, "faint")
    return _boxed([*rows, foot])


def _wrapped(text: str, x: int, end: int, most: int, style: str) -> list[Row]:
    """Draw text in at most so many rows; where that is too few the last one ends with an ellipsis."""
    lines = wrap(text, max(8, end - x - 1))
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    rows = []
    for line in lines:
        row = Row()
        row.put(x, line, style, max(8, end - x))
        rows.append(row)
    return rows


def _boxed(rows: list[Row]) -> list[Row]:
    for row in rows:
        row.plane, row.bar = "errbg", "err"
    return rows


def headline(title: str) -> str:
    """Return a title as it begins a line; the name of a field stays as it is."""
    return title if "_" in title.split(" ", 1)[0] else title[:1].upper() + title[1:]


def echo_words(echoes: Sequence[int]) -> str:
    """Return which lines only repeat the cause: `406, 411 and 412 are echoes of it`."""
    if not echoes:
        return ""
    shown = [str(one) for one in echoes[:4]]
    if len(echoes) > len(shown):
        return f"{', '.join(shown)} and {len(echoes) - len(shown)} more are echoes of it"
    if len(shown) == 1:
        return f"{shown[0]} is an echo of it"
    return f"{', '.join(shown[:-1])} and {shown[-1]} are echoes of it"


def numbered(count: int, word: str) -> str:
    """Return a count with its word: `1 line`, `18.4k lines`."""
    return f"{count} {word}" if count == 1 else f"{numbers.count(count) if count > 99_999 else count} {word}s"


def ended(run: RunView) -> str:
    """Return how a run ended: `exit 1 after 1m52s`."""
    status = run.status
    parts = []
    if status.exit_signal is not None:
        parts.append(f"signal {status.exit_signal}")
    elif status.exit_code is not None:
        parts.append(f"exit {status.exit_code}")
    if status.ended_at and status.started_at:
        parts.append(f"after {numbers.duration(status.ended_at - status.started_at)}")
    return " ".join(parts)


def stages(
    run: RunView, starts: Sequence[tuple[str, int | None, int]], glyphs: Glyphs, width: int, size: Size
) -> list[Row]:
    """Draw the stages of the start, each with the number of its first line.

    Args:
        starts: Name, number and offset of each stage that was reached.
    """
    if not starts:
        return []
    x = margin(size)
    row = Row()
    full = size >= Size.WIDE
    at = row.run(x, [("STAGES" if full else "stages", "dim bold" if full else "dim"), ("   ", "fg")])
    last = len(starts) - 1
    for index, (name, number, offset) in enumerate(starts):
        broken = index == last and run.state is State.FAILED
        going = index == last and run.state in (State.STARTING, State.LOADING)
        mark, colour = (glyphs.failed, "err") if broken else (glyphs.passed, "ok")
        if going:
            mark, colour = glyphs.state(State.LOADING)
        parts = [(f"{mark} ", colour), (stage_word(name), "fg bold" if broken else "dim")]
        if number is not None and (full or broken):
            parts.append((f" {number}", "fg" if broken else "faint"))
        if at + sum(len(text) for text, _ in parts) > width - 12:
            break
        after = row.run(at, parts)
        row.link(at, after, f"log:{offset}")
        at = after + 3
    reached = {name for name, _, _ in starts}
    spec = run.spec
    names = {stage.name for stage in spec.stages} if spec is not None else set()
    order = list(STAGES)
    here = order.index(starts[-1][0]) if starts[-1][0] in order else len(order)
    pending = [name for name in order[here + 1 :] if name in names]
    for name in pending if full and not run.status.ready_at else ():
        if name in reached or at + len(stage_word(name)) + 2 > width - 12:
            continue
        at = row.run(at, [(f"{glyphs.pending} ", "faint"), (stage_word(name), "faint")]) + 3
    row.put_right(width - 2, f"{glyphs.left_right} jump", "dim")
    return [row]


def remarks(found: Sequence[Remark], glyphs: Glyphs, width: int, most: int) -> list[Row]:
    """Draw errors and warnings of the log, in its order."""
    if not found:
        return []
    title = Row()
    title.run(3, [("ERRORS AND WARNINGS", "dim bold"), ("  of this run", "dim")])
    rows = [title]
    for one in found[:most]:
        row = Row()
        row.put_right(9, str(one.number), "fg" if one.level == "error" else "dim")
        row.put(11, *((glyphs.failed, "err") if one.level == "error" else (glyphs.warning, "warn")))
        note = f"   {one.note}" if one.note else ""
        at = row.put(13, one.text, "fg" if one.level == "error" else "dim", max(8, width - 15 - len(note)))
        row.put(at, note, "dim")
        row.link(3, width - 2, f"log:{one.offset}")
        rows.append(row)
    return rows


def folded_prefix(text: str, size: int, source: str, width: int) -> list[Row]:
    """Draw what was left out before the message of the line under the cursor."""
    prefix = re.sub(r"\s+", " ", text[:size]).strip()
    if not prefix:
        return []
    row = Row()
    shown = f"  is shown as  {source or 'its time'};  "
    at = row.run(3, [("FOLDED PREFIX", "dim bold"), ("  ", "fg")])
    at = row.put(at, prefix, "dim", max(8, width - at - len(shown) - 20))
    row.run(at, [(shown, "faint"), ("i", "fg bold"), ("  shows it whole", "faint")])
    return [row]
