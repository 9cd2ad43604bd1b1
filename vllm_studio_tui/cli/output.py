"""Print the output of commands: results on stdout, everything else on stderr.

Text from outside is made safe on the way to a terminal and left untouched in pipes and in `--json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.sanitize import clean, json_safe

#: Whether a document was printed: what fails after that adds none.
emitted = False


def emit(document: Any) -> None:
    """Print one JSON document on stdout and nothing else."""
    _print(json.dumps(document, ensure_ascii=False, default=str))


def emit_line(document: Any) -> None:
    """Print one JSON object on a line of its own, at once."""
    _print(json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str))


def _print(text: str) -> None:
    global emitted
    emitted = True
    sys.stdout.write(json_safe(text, terminal=sys.stdout.isatty()) + "\n")
    sys.stdout.flush()


def safe(text: str, stream: TextIO) -> str:
    """Return the text without control characters where the stream is a terminal."""
    return clean(text) if stream.isatty() else text


def say(text: str = "", *, end: str = "\n") -> None:
    """Print a result."""
    sys.stdout.write(safe(text, sys.stdout) + end)
    sys.stdout.flush()


def note(text: str, *, end: str = "\n") -> None:
    """Print something about the work, on stderr."""
    sys.stderr.write(safe(text, sys.stderr) + end)
    sys.stderr.flush()


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table whose columns line up; columns in `right` are right-aligned."""
    lines = [list(head), *([clean(cell).replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        say("  ".join(cells).rstrip())


def explain(error: StudioError) -> None:
    """Say on stderr what went wrong, why, and what to do."""
    note(f"error: {error.title}")
    for line in (error.cause, error.advice):
        if line:
            note("\n".join(f"  {part}" for part in line.splitlines()))
