"""The sheet that shows calls of tools whole: what they are given, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vllm_studio_tui.domain.tools import MAX_ROUNDS
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.services.chat.calls import CallState
from vllm_studio_tui.tui.document.tool_card import DECIDED, arguments_of
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap
from vllm_studio_tui.tui.sheets.dialogs import Pages

#: Characters of a line that are broken at once, and rows of one text.
PIECE, MOST = 4000, 5000


class CallSheet(Pages):
    """Shows one call whole, and the others of its answer below it."""

    def __init__(self, calls: Sequence[CallState], first: CallState) -> None:
        super().__init__(self._rows)
        self._calls = [first, *(one for one in calls if one is not first)]
        self._made: tuple[int, list[Row]] = (-1, [])

    def _rows(self, ink: Ink, width: int) -> list[Row]:
        if self._made[0] != width:
            rows: list[Row] = []
            for state in self._calls:
                rows += [*(_call(state, width)), Row()]
            self._made = (width, rows)
        return self._made[1]


def _call(state: CallState, width: int) -> list[Row]:
    server, title = state.server_and_title
    head = Row()
    x = head.put(2, clean_line(title, limit=80) or "(no name)", "fg bold", width - 4) + 2
    words = f"{f'server {server}   ' if server else ''}{state.state}"
    head.put(x, clean_line(words, limit=80), "dim", max(0, width - x - 2))
    rows = [head]
    tool = state.tool
    if tool is not None and tool.description:
        rows += text_rows(tool.description, width, "dim")
    facts = [f"round {state.number} of {MAX_ROUNDS}"] if state.number else []
    if state.seconds:
        facts.append(numbers.latency(state.seconds))
    if state.size:
        facts.append(f"result {numbers.size(state.size)}")
    facts += [DECIDED[state.decided]] if state.decided in DECIDED else []
    facts += ["read out of the text of the answer"] if state.recovered else []
    if facts:
        rows += text_rows("   ".join(facts), width, "faint")
    rows += [Row(), *_titled("ARGUMENTS", "changed by you" if state.changed is not None else "")]
    found = arguments_of(state.arguments)
    rows += text_rows(
        state.arguments if found is None else json.dumps(found, indent=2, ensure_ascii=False), width, "fg"
    )
    if state.changed is not None:
        rows += [Row(), *_titled("AS THE MODEL ASKED"), *text_rows(state.call.arguments, width, "dim")]
    if state.result is not None:
        rows += [Row(), *_titled("RESULT", "as the model was given it"), *text_rows(state.result, width, "fg")]
    return rows


def _titled(title: str, note: str = "") -> list[Row]:
    row = Row()
    row.run(2, [(title, "dim bold"), (f"   {note}" if note else "", "faint")])
    return [row]


def text_rows(text: str, width: int, style: str) -> list[Row]:
    """Return the rows of a text of any length and origin, wrapped, up to `MOST`."""
    rows = []
    for line in clean(text.expandtabs(4)).split("\n"):
        for at in range(0, max(1, len(line)), PIECE):
            for part in wrap(line[at : at + PIECE], max(1, width - 6)) or [""]:
                row = Row()
                row.put(4, part, style, width - 6)
                rows.append(row)
                if len(rows) >= MOST:
                    return [*rows, *_titled("", f"and more: {len(text)} characters in all")]
    return rows
