"""What taking chats in came to."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_studio_tui.domain.chat import Session


@dataclass(frozen=True, slots=True)
class ImportedChats:
    """Chats of a file.

    Attributes:
        taken: Those that are here now.
        known: Those that were taken in from such a file before, and are here still: they were left alone.
        notes: What of the file could not be taken, in words.
    """

    taken: tuple[Session, ...] = ()
    known: tuple[Session, ...] = ()
    notes: tuple[str, ...] = ()
