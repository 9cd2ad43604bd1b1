"""What the chat service publishes on the bus, for faces that did not ask themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vllm_studio_tui.domain.chat import StreamEvent

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot


class Publisher(Protocol):
    """Takes values for whoever has subscribed to their type."""

    def publish(self, value: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """An answer was asked for. Both ids are None where no chat is kept; the run is None for a server of others."""

    session_id: str | None
    message_id: str | None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerProgressed:
    """A piece of an answer came, or its end; `Ended` with finish `stopped` for one that was stopped."""

    session_id: str | None
    message_id: str | None
    event: StreamEvent


@dataclass(frozen=True, slots=True)
class AnswerSaved:
    """An answer that could not be saved at its end is in the database now, or what was found out of it afterwards."""

    session_id: str | None
    message_id: str | None


@dataclass(frozen=True, slots=True)
class SampleSeen:
    """A sample was taken for somebody who looks from another machine, at a pace of their own."""

    snapshot: Snapshot
