"""Chatting: a question is kept before it is asked, an answer while it comes.

Every way to ask returns an asynchronous generator of stream events. To stop an answer, close it or cancel the task
that reads it: what has come is kept. Everything also goes to the bus, for faces that did not ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import (
    ChatRequest,
    Ended,
    Message,
    Sampling,
    StreamEvent,
    Target,
)
from vllm_studio_tui.domain.errors import NotSaved, StoreError, StudioError, UsageError
from vllm_studio_tui.kit.paths import unsaved_folders
from vllm_studio_tui.services.chat.endings import ending_of, request_of, settle
from vllm_studio_tui.services.chat.request import request_messages, title_of
from vllm_studio_tui.services.chat.turn import Publisher, Stream, Turn, TurnEvent, TurnStarted, in_thread
from vllm_studio_tui.services.chat.unsaved import Unsaved
from vllm_studio_tui.services.requests import begin_request, cancel_request
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.endings import Ending
from vllm_studio_tui.store.messages import PROGRAM_ENDED, MessageRows

_log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0
#: Seconds that a checkpoint waits for others that are writing: then the text goes to a file.
CHECKPOINT_PATIENCE = 0.2


class ChatService:
    """Chats with engines.

    Attributes:
        sessions, messages: The tables themselves, for reading and for what needs no engine.
        unsaved: Answers whose end the database has not taken yet.
        leaving: Why this program ends, where a person did not ask for it: answers that are coming end by it.
    """

    def __init__(
        self,
        db: Database,
        bus: Publisher | None = None,
        stream: Stream | None = None,
        *,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        folders: Sequence[Path] | None = None,
    ) -> None:
        self._db = db
        self._bus = bus
        self._stream = stream
        self._checkpoint_seconds = checkpoint_seconds
        self._settled = False
        self._folders = list(folders) if folders is not None else unsaved_folders(db.path)
        self.sessions = ChatRows(db)
        self.messages = MessageRows(db)
        self.unsaved = Unsaved(db, self._folders, bus)
        self.leaving: str | None = None

    def new_session(
        self, prompt: str = "", *, model: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> str:
        """The id of a new chat, titled by its first question where that is known. Blocking."""
        return self.sessions.create(title_of(prompt) if prompt else "", model=model, settings=settings).id

    def settle_interrupted(self) -> int:
        """Bring in the answers of programs that are gone; how many. Blocking; done once before the first turn."""
        self._settled = True
        return settle(self._db, self._folders)

    def tree(self, session_id: str) -> list[Message]:
        """Every message of a chat, in order, also what the database has not taken yet. Blocking."""
        return self.unsaved.over(self.messages.tree(session_id))

    def close(self) -> list[Path]:
        """Save what is not saved yet; the recovery files of what still is not. Blocking."""
        return self.unsaved.close()

    # --- ways to ask ------------------------------------------------------------------------------------

    def send(
        self,
        session_id: str | None,
        text: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        images: Sequence[str] = (),
        parent_id: str | None = None,
        system: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        temporary: bool = False,
        history: Sequence[Message] = (),
    ) -> AsyncGenerator[StreamEvent, None]:
        """Ask something.

        Args:
            images: Data URLs.
            parent_id: The message to go on from; None: the one that the chat is read up to.
            system: The system prompt of this turn; None: the one in the chat's settings.
            temporary: Keep nothing of it in the chats (the request is counted all the same); `session_id` may be None.
            history: Earlier messages of a temporary chat.

        Raises:
            StudioError: While it is read: the question could not be kept, or the answer could not.
        """
        turn = Turn(temporary=temporary or session_id is None)

        def prepare() -> None:
            if images and target.vision is False:
                raise UsageError(
                    f"{target.recipe_id or target.model} takes no pictures",
                    cause="Its recipe says vision: false.",
                    advice="Ask without them, ask another model, or set vision in the recipe.",
                )
            if temporary or session_id is None:
                question = Message("", "", "user", text, images=tuple(images))
                turn.branch, turn.system = (*history, question), system
            else:
                parent = parent_id or self.messages.leaf(session_id)
                self._ask(turn, session_id, parent, target, system, text, images)

        return self._turn(turn, prepare, target, sampling, tools)

    def answer(
        self,
        session_id: str,
        parent_id: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        system: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> AsyncGenerator[StreamEvent, None]:
        """Have an answer written below a message: a question, or the result of a tool."""
        turn = Turn()
        return self._turn(
            turn, lambda: self._place(turn, session_id, parent_id, target, system), target, sampling, tools
        )

    def regenerate(
        self, session_id: str, message_id: str, target: Target, *, sampling: Sampling | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Another answer to the same question, beside the given one, which stays."""
        turn = Turn()

        def prepare() -> None:
            message = self.messages.get(message_id)
            parent = message.id if message.role == "user" else message.parent_id
            if parent is None:
                raise UsageError("there is no question to answer again", advice="Ask one.")
            self._place(turn, session_id, parent, target, None)

        return self._turn(turn, prepare, target, sampling, ())

    def edit(
        self, session_id: str, message_id: str, text: str, target: Target, *, sampling: Sampling | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Ask a changed question in place of an earlier one, which stays beside it with all that followed."""
        turn = Turn()

        def prepare() -> None:
            message = self.messages.get(message_id)
            if message.role != "user":
                raise UsageError("only a question can be edited", advice="Choose one of your own messages.")
            self._ask(turn, session_id, message.parent_id, target, None, text, message.images)

        return self._turn(turn, prepare, target, sampling, ())

    def continue_answer(
        self, session_id: str, message_id: str, target: Target, *, sampling: Sampling | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Have a cut answer written on, in the same message.

        Raises:
            UsageError: While it is read: the engine cannot do that, or the answer had only begun to think.
        """
        turn = Turn()
        sampling = sampling or Sampling()
        backend = registry.find(target.backend)
        options = backend.continue_options if backend is not None else None

        def prepare() -> None:
            (message,) = self.unsaved.over([self.messages.get(message_id)])
            advice = "Have it answered again instead."
            if options is None:
                raise UsageError(f"{target.backend} cannot write on in an answer", advice=advice)
            if message.role != "assistant" or not message.content.strip():
                raise UsageError("there is no text to write on from", advice=advice)
            turn.branch = self.unsaved.over(self.messages.branch(session_id, message_id))
            turn.system = self._system(session_id)
            with self._db.write():
                self.messages.reopen(message_id)
                self.sessions.set_leaf(session_id, message_id)
            turn.kept = message

        extra = {**sampling.extra, **(options or {})}
        return self._turn(turn, prepare, target, replace(sampling, extra=extra), ())

    # --- before -----------------------------------------------------------------------------------------

    def _system(self, session_id: str) -> str | None:
        system = self.sessions.get(session_id).settings.get("system")
        return system if isinstance(system, str) and system else None

    def _ask(
        self,
        turn: Turn,
        session_id: str,
        parent_id: str | None,
        target: Target,
        system: str | None,
        text: str,
        images: Sequence[str],
    ) -> None:
        with self._db.write():
            if not self.sessions.get(session_id).title:
                self.sessions.rename(session_id, title_of(text))
            question = self.messages.append(
                Message("", session_id, "user", text, parent_id=parent_id, images=tuple(images))
            )
            self._place(turn, session_id, question.id, target, system)

    def _place(self, turn: Turn, session_id: str, parent_id: str, target: Target, system: str | None) -> None:
        """Keep an empty answer below a message, to be filled."""
        branch = self.unsaved.over(self.messages.branch(session_id, parent_id))
        system = self._system(session_id) if system is None else system
        empty = Message("", session_id, "assistant", "", parent_id, model=target.model or None, finish="streaming")
        with self._db.write():
            kept = self.messages.append(empty)
            if target.model:
                self.sessions.set_model(session_id, target.model)
        turn.branch, turn.system, turn.kept = branch, system, kept

    # --- meanwhile --------------------------------------------------------------------------------------

    async def _turn(
        self,
        turn: Turn,
        prepare: Callable[[], None],
        target: Target,
        sampling: Sampling | None,
        tools: Sequence[Mapping[str, Any]],
    ) -> AsyncGenerator[StreamEvent, None]:
        if not self._settled:
            await in_thread(self.settle_interrupted)
        unsaved: NotSaved | None = None
        asked = False
        try:
            await in_thread(lambda: self._prepare(turn, prepare, target))
            request = ChatRequest(request_messages(turn.branch, turn.system), sampling or Sampling(), tuple(tools))
            self._publish(turn, None)
            asked, turn.began = True, time.monotonic()
            async with self._checkpoints(turn, target), contextlib.aclosing(self._events(target, request)) as events:
                async for event in events:
                    if isinstance(event, Ended):
                        turn.ended = event
                        break
                    turn.apply(event)
                    self._publish(turn, event)
                    yield event
            turn.ended = turn.ended or turn.cut("interrupted", "the stream ended before the answer did")
        except StudioError as error:
            if not asked:
                raise
            turn.ended = turn.cut("failed", "\n".join(filter(None, (error.title, error.cause))), error.advice)
        except (GeneratorExit, asyncio.CancelledError):
            turn.ended = turn.ended or (turn.cut("interrupted", self.leaving) if self.leaving else turn.cut("stopped"))
            raise
        finally:
            # Whatever else ended it is a fault of ours: what came is kept all the same.
            ended = turn.ended or turn.cut("interrupted", "an internal error")
            if turn.counted and not asked:
                await in_thread(lambda: cancel_request(self._db, turn.request_id))
            if asked or turn.kept is not None:
                unsaved = await self._end(turn, target, ended, source_asked=asked)
        yield ended
        if unsaved is not None:
            raise unsaved

    def _prepare(self, turn: Turn, prepare: Callable[[], None], target: Target) -> None:
        """Keep the question and that it is asked. Where nothing else is kept, neither must that be."""
        try:
            with self._db.write():
                prepare()
                begin_request(self._db, request_of(turn, target, turn.cut("streaming")))
            turn.counted = True
        except StoreError:
            if not turn.temporary:
                turn.kept = None  # the transaction was taken back
                raise
            prepare()

    def _events(self, target: Target, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        if self._stream is None:
            from vllm_studio_tui.inference.client import stream_chat

            self._stream = stream_chat
        return self._stream(target, request)

    @contextlib.asynccontextmanager
    async def _checkpoints(self, turn: Turn, target: Target) -> AsyncGenerator[None, None]:
        """Keep what has come at the first token, then about once a second, off the event loop."""
        if turn.kept is None:
            yield
            return

        async def keep() -> None:
            while True:
                await turn.fresh.wait()
                turn.fresh.clear()
                ending = ending_of(turn, target, turn.cut("interrupted", PROGRAM_ENDED), count=True)
                if not await asyncio.to_thread(self._checkpoint, ending):
                    turn.fresh.set()  # tried again, also if nothing more comes
                await asyncio.sleep(self._checkpoint_seconds)

        task = asyncio.create_task(keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _checkpoint(self, ending: Ending) -> bool:
        """Keep what has come, in the database or else in a file; False for the latter."""
        assert ending.message is not None
        one = ending.message
        try:
            self.messages.checkpoint(one.id, one.content, one.reasoning, patience=CHECKPOINT_PATIENCE)
        except StoreError as error:
            _log.info("a checkpoint failed: %s", error)
            self.unsaved.checkpoint(ending, error)
            return False
        self.unsaved.caught_up(one.id)
        return True

    # --- after ------------------------------------------------------------------------------------------

    async def _end(self, turn: Turn, target: Target, ended: Ended, *, source_asked: bool) -> NotSaved | None:
        """Keep the end in one transaction and tell the bus; the error when it could not be kept yet."""
        ending = ending_of(turn, target, ended, count=source_asked)
        self.unsaved.take(ending)  # from here on it cannot be lost, whatever interrupts us
        failed = await in_thread(lambda: self.unsaved.save(ending))
        if turn.kept is None:
            failed = None  # only a count is late
        if failed is not None and ended.error is None:
            ended = replace(ended, error=failed.title, advice=failed.advice)
        self._publish(turn, ended)
        return failed

    def _publish(self, turn: Turn, event: StreamEvent | None) -> None:
        if self._bus is None:
            return
        session_id, message_id = (turn.kept.session_id, turn.kept.id) if turn.kept is not None else (None, None)
        started = TurnStarted(session_id, message_id)
        self._bus.publish(started if event is None else TurnEvent(session_id, message_id, event))
