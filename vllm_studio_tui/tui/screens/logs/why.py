"""Why a run failed, in sentences."""

from __future__ import annotations

from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.tui.paint.ink import Ink, Row, wrap
from vllm_studio_tui.tui.paint.run_words import stage_word
from vllm_studio_tui.tui.screens.logs.facts import LogFacts
from vllm_studio_tui.tui.screens.logs.rows import ended, headline
from vllm_studio_tui.tui.sheets.dialogs import Pages


def why_sheet(run: RunView, facts: LogFacts, since: str) -> Pages:
    """Return a sheet with the cause, the line that tells, how far the start came, and what has changed since.

    Args:
        since: What has changed since the recipe worked, in words.
    """
    status, found = run.status, facts.diagnosis
    title = (found.title if found is not None else None) or status.title or "its log does not say why"
    advice = (found.advice if found is not None else None) or status.advice or ""
    words = (found.line if found is not None else None) or next(iter(status.evidence), "")
    reached = [stage_word(start.name) for start in facts.stages]
    parts = [
        ("cause", headline(title)),
        ("do", advice),
        ("line", words),
        ("ended", f"{run.name} ended with {ended(run)}." if ended(run) else ""),
        ("stages", f"It came as far as {reached[-1]}: {', '.join(reached)}." if reached else ""),
        ("since", since),
    ]

    def paint(ink: Ink, width: int) -> list[Row]:
        head = Row()
        head.put(3, f"Why {run.name} failed", "fg bold")
        rows = [head, Row()]
        for name, text in parts:
            lines = [line for part in text.split("\n") for line in wrap(part, max(8, width - 14))] if text else []
            for index, line in enumerate(lines[:12]):
                row = Row()
                if index == 0:
                    row.put(3, name, "dim")
                row.put(11, line, "fg bold" if name == "cause" else "fg")
                rows.append(row)
            if lines:
                rows.append(Row())
        return rows

    return Pages(paint)
