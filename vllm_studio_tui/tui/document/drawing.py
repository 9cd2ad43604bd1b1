"""What draws pictures in a document: characters, or the terminal itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from vllm_studio_tui.tui.document.line_breaking import Part

Rows = Sequence[tuple[Part, ...]]


class Drawing(Protocol):
    """Draws pictures."""

    def rows(self, url: str, columns: int, ready: Callable[[], None] | None, *, most: int | None = None) -> Rows | None:
        """Return the rows of a picture; None where it is none, or while it is made.

        Args:
            url: Its data URL.
            columns: Cells that it may be wide.
            ready: Called, in a thread, when there are rows, or better ones.
            most: Rows that it may have; None: as many as in a transcript.
        """
