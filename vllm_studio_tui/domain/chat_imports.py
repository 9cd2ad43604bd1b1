"""What taking chats in came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.chat import Session


@dataclass(frozen=True, slots=True)
class GrownChat:
    """A chat that was here, and went on in the file since.

    Attributes:
        added: How many messages are new.
        longer: How many answers were cut off when they came in, and are whole now.
    """

    session: Session
    added: int
    longer: int = 0

    @property
    def words(self) -> str:
        """What came of it, in words."""
        new = f"{self.added} new {'message' if self.added == 1 else 'messages'}" if self.added else ""
        whole = f"{self.longer} {'answer' if self.longer == 1 else 'answers'} completed" if self.longer else ""
        return ", ".join(filter(None, (new, whole)))

    def to_json(self) -> dict[str, Any]:
        """Return what `chats import --json` prints of it."""
        return {**self.session.to_json(), "added": self.added, "longer": self.longer}


@dataclass(frozen=True, slots=True)
class ImportedChats:
    """Chats of a file.

    Attributes:
        taken: Those that are here now.
        known: Those that were taken in before, are here still, and have nothing new: they were left alone.
        notes: What of the file could not be taken, in words.
        grown: Those that were taken in before and have something new, which is here now.
        form: Who wrote the file, or what it is, in a word or two.
    """

    taken: tuple[Session, ...] = ()
    known: tuple[Session, ...] = ()
    notes: tuple[str, ...] = ()
    grown: tuple[GrownChat, ...] = ()
    form: str = ""
