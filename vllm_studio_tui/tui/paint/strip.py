"""Runs and GPUs in a few small rows, or on a single line: trouble first, and nothing hidden without a number."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.cells import cell_len

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.runs.alert_line import worst_alert
from vllm_studio_tui.runs.elsewhere import shown_state
from vllm_studio_tui.runs.gpu_words import ROOMY, gpu_words, lost_words
from vllm_studio_tui.runs.one_line import NEEDS, OF_A_KIND, Parts, counts, happened_at, one_line
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import gpus
from vllm_studio_tui.tui.paint.glyphs import TROUBLE, Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit
from vllm_studio_tui.tui.paint.run_parts import RunFacts, stalls
from vllm_studio_tui.tui.paint.run_strip import strip_row


def strip(
    snapshot: Snapshot, facts: Sequence[RunFacts], glyphs: Glyphs, width: int, height: int, now: float
) -> list[Row]:
    """Draw runs and GPUs in `height` rows.

    Args:
        facts: The runs, trouble first and the newest of a kind before the others.
    """
    if snapshot.replay is not None and height > 1:
        return [
            *strip(replace(snapshot, replay=None), facts, glyphs, width, height - 1, now),
            _replayed(snapshot, width),
        ]
    rows = gpus.table(snapshot.tick.gpus, snapshot.runs, glyphs, width, Size.STRIP) if snapshot.tick.gpus.gpus else []
    if not facts:
        none = [] if rows else [gpus.none_row(snapshot.tick.gpus, 0, width)]
        shown = [*_nothing(), *none, *rows][: max(1, height - 1)]
        return [*_filled(shown, height), _totals(snapshot, glyphs, width)][:height]
    said = alert_rows(snapshot, glyphs, width, now)
    if len(facts) + len(said) + len(rows) + 1 <= height:
        shown = [*_with_alerts(facts, said, glyphs, width, now), *rows]
        return [*_filled(shown, height), _totals(snapshot, glyphs, width)]
    below = [*([_gpu_line(snapshot, glyphs, width)] if rows else []), _newest(snapshot, glyphs, width, now)]
    below = below[: max(0, height - 2)]
    room = max(1, height - len(below))
    said = said[: max(0, min(len(said), room - 2))][:1]  # the first one stands for all, and says how many there are
    if len(facts) + len(said) <= room:
        return [*_with_alerts(facts, said, glyphs, width, now), *below]
    named, rest = some_named(facts, max(1, room - 1 - len(said)))
    counted = [_rest(snapshot, rest, glyphs, width)] if room > 1 else []
    return [*_with_alerts(named, said, glyphs, width, now), *counted, *below]


def _with_alerts(facts: Sequence[RunFacts], said: list[Row], glyphs: Glyphs, width: int, now: float) -> list[Row]:
    """Draw runs, and what alerts say behind those in trouble."""
    needs = [one for one in facts if shown_state(one.run) in NEEDS or stalls(one)]
    others = [one for one in facts if one not in needs]
    return [*_each(needs, glyphs, width, now), *said, *_each(others, glyphs, width, now)]


def alert_rows(snapshot: Snapshot, glyphs: Glyphs, width: int, now: float, *, left: int = 0) -> list[Row]:
    """Draw what alerts say of anything but runs that have a row for their trouble, the worst first.

    Args:
        left: The first column that is used, and how many are left free at the right.
    """
    troubled = {run.run_id for run in snapshot.runs if run.state in NEEDS}
    found = [one for one in snapshot.alerts if one.run_id is None or one.run_id not in troubled]
    rows = []
    for number, one in enumerate(sorted(found, key=lambda one: (one.severity != "trouble", -one.since))):
        row = Row()
        colour = "err" if one.severity == "trouble" else "warn"
        row.put(left, glyphs.failed if one.severity == "trouble" else glyphs.warning, colour)
        more = f"+{len(found) - 1}  " if number == 0 and len(found) > 1 else ""
        end = row.put_right(width - left, f"{more}{numbers.short_age(now - one.since)}", "dim")
        x = row.put(left + 2, one.subject, "fg bold", max(4, width // 3)) + 1
        row.put(x, one.words or one.rule, colour, max(0, end - x - 1))
        rows.append(row)
    return rows


def _each(facts: Iterable[RunFacts], glyphs: Glyphs, width: int, now: float) -> list[Row]:
    return [strip_row(one, glyphs, width, now) for one in facts]


def _filled(rows: list[Row], height: int) -> list[Row]:
    """Put empty rows below, so that the last row of the window is left for the totals and the keys."""
    return [*rows, *(Row() for _ in range(max(0, height - 1 - len(rows))))]


def some_named(facts: Sequence[RunFacts], room: int) -> tuple[list[RunFacts], list[RunFacts]]:
    """Choose the runs that have a row: the newest two of a kind, then of the next kind, so that each has a name.

    Returns:
        Those, and the others, which are to be counted.
    """
    kinds: dict[State, list[RunFacts]] = {}
    for one in facts:
        kinds.setdefault(shown_state(one.run), []).append(one)
    chosen: list[RunFacts] = []
    for at in range(len(facts)):
        for kind in kinds.values():
            chosen += kind[at * OF_A_KIND : (at + 1) * OF_A_KIND]
    kept = chosen[:room]
    return [one for one in facts if one in kept], [one for one in facts if one not in kept]


def count_row(rest: Sequence[RunFacts], glyphs: Glyphs, x: int, width: int) -> Row:
    """Count runs that have no row, by state."""
    row = Row()
    x = row.put(x, f"{glyphs.ellipsis} {len(rest)} more", "fg") + 3
    for parts in _counts((one.run for one in rest), glyphs).values():
        if x + sum(cell_len(text) for text, _ in parts) <= width:
            x = row.run(x, parts) + 2
    return row


def _nothing() -> list[Row]:
    row = Row()
    row.put(0, "Nothing runs yet.", "dim")
    return [row]


def _counts(runs: Iterable[RunView], glyphs: Glyphs) -> dict[State, Parts]:
    """Return mark and number of each state, the most urgent first; of a single start how far it is."""
    return counts(runs, TROUBLE, glyphs.state)


def _rest(snapshot: Snapshot, rest: Sequence[RunFacts], glyphs: Glyphs, width: int) -> Row:
    """Count the runs that have no row, by state, with the speed of all."""
    row, x = Row(key="more"), 0
    speed = _speed(snapshot)
    end = width
    if speed is not None:
        end = row.put_right(width, f"{numbers.rate(speed)} tok/s", "fg") - 2
    more = True
    for state, parts in _counts((one.run for one in rest), glyphs).items():
        if more and state in NEEDS:
            parts, more = [*parts, (" more", "dim")], False
        if x + sum(cell_len(text) for text, _ in parts) > end:
            break
        x = row.run(x, parts) + 2
    return row


def _gpu_line(snapshot: Snapshot, glyphs: Glyphs, width: int) -> Row:
    """Draw all GPUs in a row: a column for each, their mean, memory, power and the highest temperature."""
    row, x = Row(), 0
    x = row.put(0, "gpu", "dim") + 1
    uses = [gpu.utilization for gpu in snapshot.tick.gpus.gpus]
    if len(uses) <= 16:
        levels = glyphs.spark
        marks = "".join(
            glyphs.unknown if use is None else levels[min(len(levels) - 1, round(use / 100 * (len(levels) - 1)))]
            for use in uses
        )
        x = row.put(x, marks, "data") + 1
    for part in _gpu_words(snapshot, glyphs):
        if x + len(part) > width:
            break
        x = row.put(x, part, "fg") + 2
    return row


def _gpu_words(snapshot: Snapshot, glyphs: Glyphs) -> list[str]:
    return gpu_words(snapshot.tick.gpus.gpus, glyphs.degree)


def _newest(snapshot: Snapshot, glyphs: Glyphs, width: int, now: float) -> Row:
    """Name what happened last, and the key that opens it."""
    row = Row()
    end = row.put_right(width, "open", "dim") - 1
    start = row.put_right(end, "enter", "fg bold")
    last = max(
        (run for run in snapshot.runs if run.state in NEEDS),
        key=happened_at,
        default=None,
    )
    if last is not None:
        at = last.status.ended_at or last.status.heard_at
        when = f" {numbers.moment(at, now)}" if at is not None else ""
        x = row.put(0, "newest: ", "dim")
        row.run(x, [(fit(last.name, max(4, start - x - len(when) - 2)), "fg"), (when, "dim")])
    return row


def _totals(snapshot: Snapshot, glyphs: Glyphs, width: int) -> Row:
    row = Row()
    end = row.put_right(width, "q quit", "dim")
    end = row.put_right(end - 2, "? help", "dim") - 2
    x = 0
    for part in _gpu_words(snapshot, glyphs)[1:]:
        if x + len(part) > end:
            break
        x = row.put(x, part, "dim") + 2
    return row


def _speed(snapshot: Snapshot) -> float | None:
    speeds = [
        engine.generation_tokens_per_second
        for engine in snapshot.of_runs
        if engine.generation_tokens_per_second is not None
    ]
    return sum(speeds) if speeds else None


def _alert(snapshot: Snapshot) -> tuple[str, str]:
    words, colour = worst_alert(snapshot.alerts)
    return clean_line(words, limit=60), colour


# --- one line -------------------------------------------------------------------------------------------------


def _replayed(snapshot: Snapshot, width: int) -> Row:
    """Say that this is a recording, and of when."""
    row, replay = Row(), snapshot.replay
    assert replay is not None
    at = time.strftime("%H:%M:%S", time.localtime(replay.at))
    pace = f"{replay.speed:g}x" if replay.speed else "held"
    end = row.put_right(width, f"{at}  {pace}", "warn")
    row.put(0, f"replay {replay.name}", "warn", max(0, end - 1))
    return row


def lines(
    snapshot: Snapshot, facts: Sequence[RunFacts], glyphs: Glyphs, width: int, height: int, now: float
) -> list[Row]:
    """Draw all on one line, and below it, in the rows that a window of two or three has, the most urgent runs."""
    return [line(snapshot, glyphs, width), *_each(some_named(facts, height - 1)[0], glyphs, width, now)]


def line(snapshot: Snapshot, glyphs: Glyphs, width: int) -> Row:
    """Draw all on one line: every state with its number, then as much more as there is room for."""
    if not snapshot.runs and not snapshot.tick.gpus.gpus and not snapshot.alerts:
        return _nothing()[0]
    used = [(snapshot.engine(run.run_id) or EngineMetrics()).kv_cache_usage for run in snapshot.runs]
    found = snapshot.tick.gpus.gpus
    row = Row()
    if snapshot.replay is not None and width > 20:
        width = row.put_right(width, "replay", "warn") - 1
    parts = one_line(
        snapshot.runs,
        gpu_words(found, glyphs.degree, tight=width < ROOMY),
        width,
        TROUBLE,
        glyphs.state,
        speed=_speed(snapshot),
        cache=max((one for one in used if one is not None), default=None),
        lost=lost_words(found),
        alert=_alert(snapshot),
        ellipsis=glyphs.ellipsis,
    )
    row.run(0, parts)
    return row
