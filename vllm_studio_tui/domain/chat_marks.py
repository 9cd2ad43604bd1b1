"""What a person did to messages of a chat."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Removed:
    """Messages that were taken away together.

    Attributes:
        at: When, ISO 8601 UTC; all of them have it as their `deleted_at`.
        count: How many.
        first: The text of the first of them.
        leaf_id: The message up to which the chat is read now; None: nothing is left of it.
    """

    session_id: str
    at: str
    count: int
    first: str = ""
    leaf_id: str | None = None
