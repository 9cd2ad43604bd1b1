"""The help dialog, generated from the list of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.sheets.dialogs import Pages

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

WORDS = {
    State.STARTING: "spawned, nothing said yet",
    State.LOADING: "loading; the stage comes from its log",
    State.READY: "answers",
    State.UNHEALTHY: "does not answer, still running",
    State.BACKOFF: "ended, will be started again",
    State.FAILED: "ended, will not be started again",
    State.STOPPING: "was told to stop",
    State.EXITED: "stopped",
}


def help_pages(shell: Shell) -> Pages:
    """Return the help: the keys of this screen, those of every screen, then the symbols of the states."""
    here = [(keys, action) for action, keys in shell.active_actions() if action.scope != "app"]
    everywhere = [(shell.keys_of(action.id), action) for action in actions.of("app") if shell.keys_of(action.id)]

    def paint(ink: Ink, width: int) -> list[Row]:
        title = Row()
        title.run(3, [("Keys", "fg bold"), ("   esc closes", "faint")])
        rows = [title, Row()]
        two = width >= 84
        middle = width // 2 if two else width
        left = _column("HERE", here)
        right = _column("EVERYWHERE", everywhere)
        if two:
            for index in range(max(len(left), len(right))):
                row = Row()
                for column, x, end in ((left, 3, middle - 2), (right, middle + 1, width - 2)):
                    if index < len(column):
                        _put(row, x, end, *column[index])
                rows.append(row)
        else:
            for one in [*left, ("", ""), *right]:
                row = Row()
                _put(row, 3, width - 2, *one)
                rows.append(row)
        rows += [Row(), _head("STATES")]
        for state, words in WORDS.items():
            row = Row()
            mark, colour = ink.glyphs.state(state)
            row.put(3, mark, colour)
            row.put(5, str(state), "fg")
            row.put(17, words, "dim", max(0, width - 19))
            rows.append(row)
        return rows

    return Pages(paint)


def _column(title: str, found: list[tuple[str, Action]]) -> list[tuple[str, str]]:
    return [(title, "")] + [(actions.keys_text(keys, 2), action.help) for keys, action in found]


def _put(row: Row, x: int, end: int, keys: str, words: str) -> None:
    if not words:
        row.put(x, keys, "dim bold", max(0, end - x))
        return
    row.put(x, keys, "fg bold", 12)
    row.put(x + 13, words, "dim", max(0, end - x - 13))


def _head(text: str) -> Row:
    row = Row()
    row.put(3, text, "dim bold")
    return row
