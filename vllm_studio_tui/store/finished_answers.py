"""The end of an answer: what is kept of it, in one transaction, and once however often it is tried."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.usage import SUCCESSES, CompletedRequest
from vllm_studio_tui.store.chat_files import message_of
from vllm_studio_tui.store.chats import session_row
from vllm_studio_tui.store.conversion import now, optional_text, storable
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import PROGRAM_ENDED, MessageRows
from vllm_studio_tui.store.peaks import PEAK_TOKENS, PeakRows, held_speed
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.store.tool_calls import ToolCallRows

#: Names an answer that stands beside one that was changed meanwhile.
_BESIDE = uuid.UUID("6f0b5a51-4f0e-4d0e-9d55-2a2c8c4f6a10")


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of an answer.

    Attributes:
        message: The whole answer; None where the chat is not kept.
        question: The message that it answers, for a database that has lost it.
        title: Of its chat, likewise.
        request: What is counted; None where nothing was asked.
        results: Messages that will hold the results of its calls, which are made next.
        number: The round of these calls.
    """

    message: Message | None = None
    question: Message | None = None
    title: str = ""
    request: CompletedRequest | None = None
    results: tuple[Message, ...] = ()
    number: int = 0

    @property
    def key(self) -> str:
        """Names the answer, or the request where no answer is kept."""
        return self.message.id if self.message is not None else self.request.id if self.request is not None else ""


def keep_ending(db: Database, ending: Ending, *, patience: float | None = None) -> None:
    """Keep the end of an answer that this process reads.

    Raises:
        StoreError: It could not be kept; nothing of it was.
    """
    with db.write(patience=patience):
        if ending.message is not None:
            there = MessageRows(db).finish(ending.message)
            if there and ending.results:
                ToolCallRows(db).begin_round(ending.message, ending.results, ending.number)
        _count(db, ending.request)


def recover_ending(db: Database, ending: Ending, *, patience: float | None = None) -> None:
    """Keep the end of an answer that its own process could not keep. What is there already stays as it is.

    Raises:
        StoreError: It could not be kept; nothing of it was.
    """
    with db.write(patience=patience):
        if ending.message is not None:
            _recover(db, ending, ending.message)
        _count(db, ending.request)


def _recover(db: Database, ending: Ending, message: Message) -> None:
    rows = MessageRows(db)
    there = db.row("SELECT finish, error, content, reasoning FROM chat_messages WHERE id = ?", (message.id,))
    if there is None:
        _add(db, ending, message)
    elif there["finish"] == "streaming" or there["error"] == PROGRAM_ENDED:
        rows.finish(message)
    elif not (there["content"].startswith(storable(message.content)) or len(message.content) == 0):
        # Somebody went on with what had been kept of it: both stay.
        _add(db, ending, replace(message, id=uuid.uuid5(_BESIDE, message.id).hex))


def _add(db: Database, ending: Ending, message: Message) -> None:
    """An answer that this database does not have, with its question and chat where it lacks these too."""
    rows = MessageRows(db)
    if db.row("SELECT 1 FROM chat_messages WHERE id = ?", (message.id,)) is not None:
        return
    if db.row("SELECT 1 FROM chat_sessions WHERE id = ?", (message.session_id,)) is None:
        moment = now()
        session = Session(
            message.session_id, storable(ending.title), optional_text(message.model), None, moment, moment
        )
        with db.write() as tables:
            tables.table("chat_sessions").insert(session_row(session))
    question = ending.question
    if question is not None and question.id and not _has(db, question.id, message.session_id):
        rows.append(replace(question, session_id=message.session_id, parent_id=None))
    parent = message.parent_id if message.parent_id and _has(db, message.parent_id, message.session_id) else None
    rows.append(replace(message, parent_id=parent))


def _has(db: Database, message_id: str, session_id: str) -> bool:
    found = db.row("SELECT 1 FROM chat_messages WHERE id = ? AND session_id = ?", (message_id, session_id))
    return found is not None


def _count(db: Database, request: CompletedRequest | None) -> None:
    if request is None:
        return
    RequestRows(db).record(request)
    tokens = 0 if request.estimated else request.completion_tokens or 0
    if request.model and request.finish in SUCCESSES and tokens >= PEAK_TOKENS:
        held = held_speed(tokens, request.tokens_per_second)
        PeakRows(db).offer(request.model, generation_tps=held, ttft=request.ttft)


# --- as a document --------------------------------------------------------------------------------------


def to_document(ending: Ending) -> dict[str, Any]:
    """An ending as JSON."""

    def message(one: Message | None) -> dict[str, Any] | None:
        return None if one is None else {**one.to_json(), "session_id": one.session_id}

    return {
        "title": ending.title,
        "message": message(ending.message),
        "question": message(ending.question),
        "request": None if ending.request is None else asdict(ending.request),
    }


def from_document(document: Mapping[str, Any]) -> Ending:
    """What `to_document` made.

    Raises:
        ValueError, TypeError, KeyError: It is something else.
    """

    def message(given: Any) -> Message | None:
        if given is None:
            return None
        made = message_of(given, str(given["session_id"]), given["parent_id"])
        return replace(made, id=str(given["id"]))

    known = {one.name for one in fields(CompletedRequest)}
    request = document["request"]
    return Ending(
        message(document["message"]),
        message(document["question"]),
        str(document["title"]),
        None if request is None else CompletedRequest(**{key: request[key] for key in known & set(request)}),
    )
