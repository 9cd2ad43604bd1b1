"""The tables of causes as a page of documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.spec import Failure

_GROUPS = re.compile(r"(?:\{\d(?:\|\d+)?\})+")


def markdown_table(rows: Iterable[Failure] = FAILURES) -> str:
    """Return every cause as a Markdown table of reason, title and advice, sorted by reason.

    What a title takes from the line of the log stands as `…`. Causes of which several patterns tell stand once.
    """
    cells = {(row.reason, _text(row.title), _text(row.advice)): None for row in rows}
    lines = ["| reason | title | advice |", "|---|---|---|"]
    lines += [f"| `{reason}` | {title} | {advice} |" for reason, title, advice in sorted(cells, key=lambda one: one[0])]
    return "\n".join(lines) + "\n"


def _text(template: str) -> str:
    """Text of a row for a cell: its groups left out, and nothing in it is markup but code in backquotes."""
    parts = " ".join(_GROUPS.sub("…", template).split()).split("`")
    plain = [re.sub(r"([\\*<>\[\]])", r"\\\1", part) for part in parts[::2]]
    parts[::2] = plain
    return "`".join(parts).replace("|", "\\|")
