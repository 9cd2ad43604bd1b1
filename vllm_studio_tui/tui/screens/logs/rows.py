"""The failure of a run as rows: cause, advice, evidence, and the keys that repair it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllm_studio_tui.kit import numbers
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row, wrap

#: Matches the name of an exception with its message, not a reference to another line.
_NAMED = re.compile(r"\b[A-Z]\w*(?:Error|Exception)\b: (?!Engine core init)|^error: |: error: ")


def panel(run: RunView, fix: str, glyphs: Glyphs, width: int, size: Size) -> list[Row]:
    """Draw the failure of a run."""
    status = run.status
    x = 4 if size >= Size.WIDE else 2
    title = status.title or "It ended, and its log does not say why"
    first = Row()
    ended = _ended(run)
    first.put(x, title[:1].upper() + title[1:], "fg bold", max(8, width - x - len(ended) - 4))
    first.put_right(width - 2, ended, "dim")
    rows = [first]
    for label, text, style, most in (
        ("advice", status.advice or "", "fg", 3),
        ("evidence", root_cause(status.evidence), "dim", 2),
    ):
        lines = wrap(text, max(8, width - x - 13))[:most] if text else []
        if size == Size.COMPACT:
            lines = lines[:1] if label == "advice" else []
        for index, line in enumerate(lines):
            row = Row()
            if index == 0:
                row.put(x, label, "dim")
            row.put(x + 10, line, style, max(0, width - x - 11))
            rows.append(row)
    keys = Row()
    at = x + 10 if size >= Size.BASE else x
    wanted = [("E", "first error"), ("y", "copy the last 50 lines")]
    if fix:
        wanted.insert(0, ("f", f"fix: {fix}"))
    for key, word in wanted:
        if at + len(key) + len(word) + 1 > width - 2:
            break
        at = keys.run(at, [(key, "accent bold" if key == "f" else "fg bold"), (f" {word}", "dim")]) + 3
    rows.append(keys)
    for row in rows:
        row.plane, row.bar = "errbg", "err"
    return rows


def root_cause(evidence: Sequence[str]) -> str:
    """Return the first line of the evidence that names an error, else the last line."""
    named = [line for line in evidence if _NAMED.search(line)]
    return named[0] if named else evidence[-1] if evidence else ""


def _ended(run: RunView) -> str:
    status = run.status
    parts = []
    if status.exit_signal is not None:
        parts.append(f"signal {status.exit_signal}")
    elif status.exit_code is not None:
        parts.append(f"exit {status.exit_code}")
    if status.ended_at and status.started_at:
        parts.append(f"after {numbers.duration(status.ended_at - status.started_at)}")
    return " ".join(parts)
