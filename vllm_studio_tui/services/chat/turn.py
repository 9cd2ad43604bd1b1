"""One turn of a chat: what an engine is asked, and its answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_studio_tui.domain.chat import Message, Target
from vllm_studio_tui.services.chat.answer import Answer


@dataclass(slots=True)
class Turn:
    """A question on its way to an engine, and its answer.

    Attributes:
        temporary: Nothing of it shall be kept in the chats.
        branch: The messages that are sent, the question last.
        message: The message that the answer is kept in, as it was before; None where nothing is kept.
        counted: Its request is on record.
        changed: Set while something has come that is not kept yet.
    """

    target: Target
    temporary: bool = False
    branch: Sequence[Message] = ()
    system: str | None = None
    message: Message | None = None
    answer: Answer = field(default_factory=Answer)
    counted: bool = False
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def prepare(self, branch: Sequence[Message], system: str | None, message: Message | None = None) -> None:
        """Set what is sent, and the message that the answer is kept in."""
        self.branch, self.system, self.message = branch, system, message
        self.answer.before = message

    @property
    def ids(self) -> tuple[str | None, str | None]:
        """The ids of the chat and of the answer's message; None where nothing is kept."""
        return (None, None) if self.message is None else (self.message.session_id, self.message.id)
