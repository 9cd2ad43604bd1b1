"""All runs and GPUs on one line: trouble first, then as much more as there is room for.

The strip of the screens and `status --line` draw the same. Light: `status --line` is asked every few seconds by a
status bar, and answers before anything large is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from vllm_studio_tui.domain.field_checks import number
from vllm_studio_tui.domain.run import ANSWERING, State
from vllm_studio_tui.keeper.files import LEDGER, backwards, ledger_line
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.elsewhere import shown_state
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.runs.state_marks import STATES

#: Texts with their styles, one after the other.
Parts = list[tuple[str, str]]
#: States that need a person; each kind of them has a name on the line.
NEEDS = (State.FAILED, State.UNHEALTHY, State.BACKOFF)
#: Runs of the same kind of trouble that are named before the next kind is.
OF_A_KIND = 2
#: What takes one cell each, beside ASCII.
_OURS = frozenset([*map(chr, range(32, 127)), "…", "–", "°", *(marks[0] for marks in STATES.values())])
#: Cells of a name.
NAME = 20
#: Seconds without a new reading of the counters after which an engine is idle, where it is read each `count_every`.
IDLE = 2.5


def cells(text: str) -> int:
    """Return the cells that a text takes."""
    if text.isascii() or _OURS.issuperset(text):
        return len(text)
    import unicodedata  # not for what has no wide characters

    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return len(text) + wide - sum(unicodedata.category(one) in ("Mn", "Me", "Cf") for one in text)


def fit(text: str, width: int, ellipsis: str) -> str:
    """Return a text cut to some cells, with an ellipsis where it does not fit."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - len(ellipsis):
        text = text[:-1]
    return text.rstrip() + ellipsis


def happened_at(run: RunView) -> float:
    """Return when the trouble of a run began, as far as is known."""
    return run.status.ended_at or run.status.heard_at or 0.0


def counts(
    runs: Iterable[RunView], order: Iterable[State], mark: Callable[[State], tuple[str, str]]
) -> dict[State, Parts]:
    """Return mark and number of each state that there is, in an order; of a single start how far it is."""
    found: dict[State, Parts] = {}
    every = list(runs)
    for state in order:
        of = [run for run in every if shown_state(run) is state]
        if not of:
            continue
        progress = of[0].status.progress if len(of) == 1 and state is State.LOADING else None
        found[state] = [mark(state), (f" {numbers.percent(progress) if progress is not None else len(of)}", "fg")]
    return found


def one_line(
    runs: Sequence[RunView],
    gpus: Sequence[str],
    width: int,
    order: Iterable[State],
    mark: Callable[[State], tuple[str, str]],
    *,
    speed: float | None = None,
    cache: float | None = None,
    lost: str = "",
    alert: tuple[str, str] = ("", ""),
    ellipsis: str = "…",
) -> Parts:
    """Return everything on one line of `width` cells: every state with its number, then names, then figures.

    Args:
        runs: Those that are shown: live ones, and failed ones that wait for a person.
        gpus: What `gpu_words` returns.
        order: The states, the most urgent first.
        mark: Returns the character of a state and its colour.
        speed: Tokens per second of all engines.
        cache: The share of the fullest KV cache.
        lost: What `lost_words` returns.
        alert: What `worst_alert` returns.
    """
    found = counts(runs, order, mark)
    spare = width - _cells(list(found.values()), 1)
    while found and spare < 0:
        found.popitem()  # the healthiest goes first
        spare = width - _cells(list(found.values()), 1)
    tail: list[Parts] = []

    def add(part: Parts, gap: int = 2) -> bool:
        nonlocal spare
        needed = sum(cells(text) for text, _ in part) + gap
        if not part or needed > spare:
            return False
        spare -= needed
        return True

    if lost and add([(lost, "err")]):
        tail.append([(lost, "err")])
    if alert[0] and add([alert]):
        tail.append([alert])
    words = list(gpus)
    short: Parts = [(f"{numbers.rate(speed)}t/s", "fg")] if speed is not None else []
    at_speed = len(tail)
    if add(short):
        tail.append(short)
    if words and "%" in words[0]:
        use: Parts = [("gpu ", "dim"), (words.pop(0), "fg")]
        if add(use):
            tail.append(use)
    trouble = _name_runs(found, runs, add, ellipsis)
    if short and len(tail) > at_speed and tail[at_speed] is short and add([("    ", "")], 0):
        tail[at_speed] = [(numbers.rate(speed), "fg"), (" tok/s", "dim")]
    if trouble and State.READY in found and len(found) > 1 and add([(f" of {len(runs)}", "")], 0):
        found[State.READY] = [*found[State.READY], (f" of {len(runs)}", "dim")]
    kv: Parts = [("KV ", "dim"), (numbers.percent(cache), "fg")] if cache is not None else []
    if add(kv):
        tail.insert(min(len(tail), at_speed + 1) if short else at_speed, kv)
    for word in words:
        more: Parts = [(word, "dim")]
        if add(more):
            tail.append(more)
    line: Parts = []
    for gap, part in (*((" ", part) for part in found.values()), *(("  ", part) for part in tail)):
        line += [(gap, ""), *part] if line else part
    return line


def _name_runs(
    found: dict[State, Parts], runs: Sequence[RunView], add: Callable[[Parts, int], bool], ellipsis: str
) -> bool:
    """Put names behind the counts, as many as have room: of those in trouble, else of those that answer."""
    needed = [state for state in NEEDS if any(shown_state(run) is state for run in runs)]
    wanted = []
    for state in needed or [State.READY]:
        here = sorted((run for run in runs if shown_state(run) is state), key=happened_at, reverse=True)
        wanted += [(state, run, len(here)) for run in here[:OF_A_KIND]]
    for state, run, of in wanted:
        name = fit(run.name, NAME, ellipsis)
        if state not in found or not add([(f" {name}", "")], 0):
            break  # a name never stands where a more urgent one has no room
        kept = found[state][:1] if of == 1 and needed else found[state]  # one that is named needs no number
        found[state] = [*kept, (f" {name}", "fg bold")]
    return bool(needed)


def _cells(parts: Sequence[Parts], gap: int) -> int:
    return sum(cells(text) for part in parts for text, _ in part) + gap * max(0, len(parts) - 1)


def ledger_speed(runs: Iterable[RunView], now: float | None = None) -> float | None:
    """Return the tokens per second that engines wrote between the last two readings that their keepers took.

    No engine is asked. One whose counters have not changed since has no new reading: it is idle.
    """
    now = time.time() if now is None else now
    known = [speed for run in runs if run.state in ANSWERING and (speed := _speed(run, now)) is not None]
    return sum(known) if known else None


def _speed(run: RunView, now: float) -> float | None:
    every = run.count_every
    if every is None or not run.keeper_alive:
        return None
    newer: tuple[float, float] | None = None
    for seen, raw in enumerate(backwards(run.folder / LEDGER)):
        if seen > 64:
            return None
        if b'"kind":"counters"' not in raw or (line := ledger_line(raw)) is None:
            continue
        values, at = line.get("values"), float(line["t"])
        tokens = values.get("generation_tokens") if isinstance(values, dict) else None
        if line.get("attempt") != run.status.attempt or tokens is None or not number(tokens):
            return None
        if newer is None:
            if now - at > IDLE * every:
                return 0.0
            newer = (at, float(tokens))
            continue
        took, written = newer[0] - at, newer[1] - float(tokens)
        return written / took if took > 0 and written >= 0 else None
    return None
