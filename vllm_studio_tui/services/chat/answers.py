"""Answers that are being generated, at most one per chat, each read by a task of its own.

They continue while another chat, or another screen, is shown.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from vllm_studio_tui.domain.chat import Attached, Message
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import ChatEvent, RoundBegan, RoundEnded, ToolsAwaited
from vllm_studio_tui.kit import gc_freeze
from vllm_studio_tui.services.chat.answer import Answer
from vllm_studio_tui.services.chat.calls import Calls

#: Seconds that closing waits until everything that has come is kept.
CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class RunningAnswer:
    """An answer that is being generated.

    Attributes:
        answer: What is generated now; each round of tools is followed by a further answer.
        question: What was asked; None where a message that was there already is answered or continued.
        attached: What went with the question.
        task: Reads the stream; cancelling it stops the answer.
        began: When, by the monotonic clock.
        calls: The calls of tools that were asked for so far.
        awaits: The servers whose tools are waited for.
    """

    session_id: str
    question: str | None = None
    answer: Answer = field(default_factory=Answer)
    task: asyncio.Task[None] | None = None
    attached: Sequence[Attached] = ()
    began: float = field(default_factory=time.monotonic)
    calls: Calls = field(default_factory=Calls)
    awaits: Sequence[str] = ()

    @property
    def calling(self) -> bool:
        """Whether the answer has ended in calls, and the next one has not begun."""
        return self.answer.ended is not None and self.answer.ended.finish == "tool_calls"


class Answers:
    """Reads answers and reports what comes.

    Args:
        on_event: Called with an answer and each of its events, which it has taken already, on the event loop.
        on_end: Called when an answer has ended, with the error of one that could not be asked for or kept.

    Attributes:
        running: Answers by the id of their chat.
    """

    def __init__(
        self,
        on_event: Callable[[RunningAnswer, ChatEvent], None],
        on_end: Callable[[RunningAnswer, StudioError | None], None],
    ) -> None:
        self._on_event = on_event
        self._on_end = on_end
        self.running: dict[str, RunningAnswer] = {}

    def start(
        self,
        session_id: str,
        events: AsyncGenerator[ChatEvent, None],
        *,
        question: str | None = None,
        before: Message | None = None,
        attached: Sequence[Attached] = (),
        after: RoundEnded | None = None,
    ) -> RunningAnswer:
        """Read an answer in the background.

        Args:
            events: What one of the service's ways to ask returned.
            before: The message that is continued.
            attached: What goes with the question.
            after: The round of calls that is gone on with.
        """
        running = RunningAnswer(session_id, question, Answer(before), attached=attached)
        if after is not None:
            running.answer.add(after)
            running.calls.take(after)
        self.running[session_id] = running
        running.task = asyncio.create_task(self._read(running, events), name=f"chat {session_id}")
        return running

    async def _read(self, running: RunningAnswer, events: AsyncGenerator[ChatEvent, None]) -> None:
        failed: StudioError | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, RoundBegan):
                        running.answer = Answer()
                    if isinstance(event, ToolsAwaited):
                        running.awaits = event.servers
                    running.answer.add(event)
                    running.calls.take(event)
                    self._on_event(running, event)
        except StudioError as error:
            failed = error
        except asyncio.CancelledError:
            pass  # it was stopped; what has come is kept
        finally:
            self.running.pop(running.session_id, None)
        self._on_end(running, failed)

    def stop(self, session_id: str) -> bool:
        """Stop the answer of a chat; what has come is kept. Return False where none is coming."""
        running = self.running.get(session_id)
        if running is None or running.task is None:
            return False
        running.task.cancel()
        return True

    async def stop_all(self) -> None:
        """Stop every answer, and wait until all that has come is kept."""
        tasks = [running.task for running in self.running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)


def load_client() -> None:
    """Import in the background what the first answer needs: that takes most of a second."""

    def work() -> None:
        from vllm_studio_tui.inference.client import load

        with gc_freeze.importing():
            load()

    threading.Thread(target=work, name="chat-imports", daemon=True).start()
