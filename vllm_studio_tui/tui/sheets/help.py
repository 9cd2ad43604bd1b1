"""The help dialog, generated from the list of actions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap
from vllm_studio_tui.tui.screens.registry import BY_NAME, SCREENS
from vllm_studio_tui.tui.sheets.dialogs import Pages

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

WORDS = {
    State.STARTING: "its process is up, nothing said yet",
    State.LOADING: "loading; the stage comes from its log",
    State.READY: "answers",
    State.UNHEALTHY: "does not answer, still running",
    State.BACKOFF: "ended, will be started again",
    State.FAILED: "ended, will not be started again",
    State.STOPPING: "was told to stop",
    State.EXITED: "stopped",
}

#: Screens with the speeds of answers.
_SPEEDS = ("dashboard", "monitor", "usage", "chat", "run", "bench", "measure")
#: Short words of figures in full, and the screens that use them.
FIGURES = (
    ("TTFT", "time to first token: until the first word of an answer", _SPEEDS),
    ("ITL", "inter-token latency: between one token and the next", ("dashboard", "monitor", "run", "bench")),
    ("tok/s", "tokens per second: a token is three quarters of a word", _SPEEDS),
    ("KV", "the memory that holds the contexts of all requests", ("dashboard", "monitor", "run", "bench")),
    ("p95", "95 of 100 were at most so slow", ("dashboard", "monitor", "usage", "run", "bench")),
    ("J/1k", "energy of the GPUs for a thousand written tokens", ("usage", "run", "bench")),
    ("fastest", "the best speed of one answer", ("usage",)),
)

#: From this width on there are two columns.
TWO = 84


def help_pages(shell: Shell) -> Pages:
    """Return the help: only the keys that work here and now, then the symbols of the states."""
    active = shell.active_actions()
    groups: dict[str, list[tuple[str, str]]] = {}
    for action, keys in active:
        if not _is_screen(action):
            title = actions.SCOPES[action.scope]
            groups.setdefault(title, []).append((actions.keys_text(keys, 2), _words(action)))
    everywhere = groups.pop(actions.SCOPES["app"], [])
    moving = groups.pop(actions.SCOPES["list"], [])
    figures = [(word, meaning) for word, meaning, places in FIGURES if shell.place_name in places]
    span = _span([int(screen.key) for screen in SCREENS])
    names = ", ".join(screen.title for screen in SCREENS)
    # Alt with a digit types nothing, and works in every field.
    everywhere.insert(0, (span if any(_is_screen(action) for action, _ in active) else f"alt+{span}", names))

    def paint(ink: Ink, width: int) -> list[Row]:
        left = [(title, found) for title, found in groups.items() if found]
        right = [("Everywhere", everywhere), *([("To move", moving)] if moving else [])]
        states = [(ink.glyphs.state(state), str(state), words) for state, words in WORDS.items()]
        if width < TWO:
            rows = [*_column([*left, *right], 2, width - 2), Row(), *_states(states, 2, width - 2)]
            return [*rows, *_figures(figures, 2, width - 2)]
        middle = width // 2
        columns = (_column(left, 3, middle - 1), [*_column(right, middle + 1, width - 2)])
        rows = []
        for one, other in zip_longest(*columns):
            row = one or Row()
            row.pieces += other.pieces if other is not None else []
            rows.append(row)
        return [*rows, Row(), *_states(states, 3, width - 2), *_figures(figures, 3, width - 2)]

    return Pages(paint)


def _span(keys: Sequence[int]) -> str:
    """Return the keys of screens in few letters: `1-7 9`."""
    runs: list[list[int]] = []
    for key in keys:
        if runs and key == runs[-1][-1] + 1:
            runs[-1].append(key)
        else:
            runs.append([key])
    return " ".join(f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in runs)


def _is_screen(action: Action) -> bool:
    return action.scope == "app" and action.name in BY_NAME


def _words(action: Action) -> str:
    """What a key does; of escape, what it would do now."""
    return f"One step back: {action.label}" if action.id == "app.back" and action.label else action.help


def _column(groups: list[tuple[str, list[tuple[str, str]]]], x: int, end: int) -> list[Row]:
    """Return groups of keys below each other, with a blank row between two."""
    rows: list[Row] = []
    widest = max((len(keys) for _, found in groups for keys, _ in found), default=0)
    for title, found in groups:
        head = Row()
        head.put(x, title.upper(), "dim bold", end - x)
        rows += [Row(), head] if rows else [head]
        for keys, words in found:
            row = Row()
            row.put(x, keys, "fg bold", widest)
            room = max(8, end - x - widest - 2)
            for line in wrap(words, room) or [""]:
                row.put(x + widest + 2, line, "fg", room)
                rows.append(row)
                row = Row()
    return rows


def _states(states: list[tuple[tuple[str, str], str, str]], x: int, end: int) -> list[Row]:
    head = Row()
    head.put(x, "STATES OF A RUN", "dim bold")
    rows = [head]
    for (mark, colour), state, words in states:
        row = Row()
        row.put(x, mark, colour)
        row.put(x + 2, state, "fg")
        row.put(x + 13, words, "dim", max(0, end - x - 13))
        rows.append(row)
    return rows


def _figures(figures: list[tuple[str, str]], x: int, end: int) -> list[Row]:
    """Return what the short words of a screen mean; nothing where it has none."""
    if not figures:
        return []
    head = Row()
    head.put(x, "WORDS", "dim bold")
    rows = [Row(), head]
    for word, meaning in figures:
        row = Row()
        row.put(x + 2, word, "fg")
        for line in wrap(meaning, max(8, end - x - 13)):
            row.put(x + 13, line, "dim")
            rows.append(row)
            row = Row()
    return rows
