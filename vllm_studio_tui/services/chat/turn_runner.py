"""Running a turn: the question is kept before it is sent, the answer while it comes, and its end in any case."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.chat import ChatRequest, Ended, Sampling, Stream, StreamEvent, Target, Timings
from vllm_studio_tui.domain.errors import NotSaved, StoreError, StudioError
from vllm_studio_tui.domain.tool_choice import unforced
from vllm_studio_tui.domain.tools import ToolsAwaited
from vllm_studio_tui.services.chat.attachments.seeing import Sight, sight
from vllm_studio_tui.services.chat.events import AnswerProgressed, AnswerStarted, Publisher
from vllm_studio_tui.services.chat.finished_answers import ending_of, request_of, settle
from vllm_studio_tui.services.chat.in_thread import in_thread
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.services.chat.turn import Turn
from vllm_studio_tui.services.chat.unsaved import Unsaved
from vllm_studio_tui.services.requests import begin_request, cancel_request
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.finished_answers import Ending
from vllm_studio_tui.store.messages import PROGRAM_ENDED, MessageRows

_log = logging.getLogger(__name__)

#: Opens tools for a turn, once the question is kept; yields what is waited for.
Offer = Callable[[Turn], AsyncGenerator[ToolsAwaited, None]]

CHECKPOINT_SECONDS = 1.0
#: Seconds that a checkpoint waits for others that are writing: then the text goes to a file.
CHECKPOINT_PATIENCE = 0.2


class TurnRunner:
    """Sends questions and keeps what comes.

    Args:
        folders: Where recovery files go, the first one that can be written.
        stream: Asks an engine; None: the client of `inference`, imported with the first question.

    Attributes:
        unsaved: Answers whose end the database has not taken yet.
        leaving: Why this program ends, where a person did not ask for it: it is how answers that are coming end then.
    """

    def __init__(
        self,
        db: Database,
        folders: Sequence[Path],
        bus: Publisher | None,
        stream: Stream | None,
        *,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        sight_of: Callable[[Target], Sight] = sight,
    ) -> None:
        self._db = db
        self._sight = sight_of
        self._folders = folders
        self._bus = bus
        self._stream = stream
        self._checkpoint_seconds = checkpoint_seconds
        self._settled = False
        self._messages = MessageRows(db)
        self.unsaved = Unsaved(db, folders, bus)
        self.leaving: str | None = None

    def settle_interrupted(self) -> int:
        """Bring in the answers of programs that are gone; return how many. Blocking; done once before the first turn.

        Raises:
            StoreError: The database cannot be read or written now.
        """
        self._settled = True
        return settle(self._db, self._folders)

    async def run(
        self, turn: Turn, prepare: Callable[[], None], sampling: Sampling | None, offer: Offer | None = None
    ) -> AsyncGenerator[StreamEvent | ToolsAwaited, None]:
        """Yield the events of the answer, its end last; to stop it, close the generator or cancel its reader.

        Args:
            prepare: Fills the turn, and keeps the question; called in a thread, within a transaction.
            offer: Its tools; None: it has none.

        Raises:
            StudioError: The question could not be kept, or (`NotSaved`) the answer could not.
        """
        if not self._settled:
            await in_thread(self.settle_interrupted)
        answer = turn.answer
        unsaved: NotSaved | None = None
        prepared = asked = False
        try:
            await in_thread(lambda: self._prepare(turn, prepare))
            prepared = True
            self._publish(turn, None)
            if offer is not None:
                async with contextlib.aclosing(offer(turn)) as opening:
                    async for waits in opening:
                        yield waits
            shaped = _with_fields(sampling or Sampling(), turn.fields)
            shaped = unforced(shaped) if turn.below_result else shaped
            request = ChatRequest(request_messages(turn.sent, turn.system, turn.target), shaped, tuple(turn.tools))
            asked, answer.began = True, time.monotonic()
            async with self._checkpoints(turn), contextlib.aclosing(self._events(turn, request)) as events:
                async for event in events:
                    if isinstance(event, Ended):
                        answer.add(turn.take_calls(event))
                        break
                    answer.add(event)
                    turn.changed.set()
                    self._publish(turn, event)
                    yield event
            answer.ended = answer.ended or answer.cut("interrupted", "the stream ended before the answer did")
        except StudioError as error:
            if not prepared:
                raise
            answer.ended = answer.cut("failed", "\n".join(filter(None, (error.title, error.cause))), error.advice)
        except (GeneratorExit, asyncio.CancelledError):
            leaving = self.leaving
            answer.ended = answer.ended or (answer.cut("interrupted", leaving) if leaving else answer.cut("stopped"))
            raise
        finally:
            # Whatever else ended it is a fault of ours: what came is kept all the same.
            ended = answer.ended or answer.cut("interrupted", "an internal error")
            if not asked:  # the time that tools took is not the engine's
                ended = answer.ended = replace(ended, timings=Timings())
            if turn.counted and not asked:
                await in_thread(lambda: cancel_request(self._db, turn.request_id))
            if asked or turn.message is not None:
                unsaved = await self._end(turn, ended, count=asked)
        yield ended
        if unsaved is not None:
            raise unsaved

    def _prepare(self, turn: Turn, prepare: Callable[[], None]) -> None:
        """Keep the question and that it is asked. Of a temporary turn, failing to keep the latter is no error."""
        if turn.check is not None:
            turn.check()
        self._keep(turn, prepare)
        if any(one.images and one.role == "user" for one in turn.branch):
            found = self._sight(turn.target)
            if found.sees is False:
                turn.leave_out_pictures(f"this model reads no pictures. {found.why}")

    def _keep(self, turn: Turn, prepare: Callable[[], None]) -> None:
        try:
            with self._db.write():
                prepare()
                begin_request(self._db, request_of(turn, turn.answer.cut("streaming")))
            turn.counted = True
        except StoreError:
            if not turn.temporary:
                turn.message = None  # the transaction was rolled back
                raise
            prepare()

    def _events(self, turn: Turn, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        if self._stream is None:
            from vllm_studio_tui.inference.client import stream_chat

            self._stream = stream_chat
        return self._stream(turn.target, request)

    @contextlib.asynccontextmanager
    async def _checkpoints(self, turn: Turn) -> AsyncGenerator[None, None]:
        """Keep what has come at the first token, then about once a second, off the event loop."""
        if turn.message is None:
            yield
            return

        async def keep() -> None:
            while True:
                await turn.changed.wait()
                turn.changed.clear()
                ending = ending_of(turn, turn.answer.cut("interrupted", PROGRAM_ENDED), count=True)
                if not await asyncio.to_thread(self._checkpoint, ending):
                    turn.changed.set()  # tried again, also if nothing more comes
                await asyncio.sleep(self._checkpoint_seconds)

        task = asyncio.create_task(keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _checkpoint(self, ending: Ending) -> bool:
        """Keep what has come, in the database or else in a file; return False for the latter."""
        assert ending.message is not None
        message = ending.message
        try:
            self._messages.checkpoint(message.id, message.content, message.reasoning, patience=CHECKPOINT_PATIENCE)
        except StoreError as error:
            _log.info("a checkpoint failed: %s", error)
            self.unsaved.checkpoint(ending, error)
            return False
        self.unsaved.caught_up(message.id)
        return True

    async def _end(self, turn: Turn, ended: Ended, *, count: bool) -> NotSaved | None:
        """Keep the end in one transaction and publish it; return the error if it could not be kept yet."""
        ending = ending_of(turn, ended, count=count)
        self.unsaved.take(ending)  # from here on it cannot be lost, whatever interrupts us
        failed = await in_thread(lambda: self.unsaved.save(ending))
        if turn.message is None:
            failed = None  # only a count is late
        if failed is not None and ended.error is None:
            ended = replace(ended, error=failed.title, advice=failed.advice)
        self._publish(turn, ended)
        return failed

    def _publish(self, turn: Turn, event: StreamEvent | None) -> None:
        if self._bus is not None:
            started = AnswerStarted(*turn.ids, turn.target.run_id)
            self._bus.publish(started if event is None else AnswerProgressed(*turn.ids, event))


def _with_fields(sampling: Sampling, fields: Mapping[str, Any]) -> Sampling:
    """Return what shapes an answer with further fields of its request; variables of templates are put together."""
    if not fields:
        return sampling
    name, extra = "chat_template_kwargs", sampling.extra
    variables = {**extra.get(name, {}), **fields.get(name, {})}
    return replace(sampling, extra={**extra, **fields, **({name: variables} if variables else {})})
