"""Answers that are coming, by chat. They go on while another chat, or another screen, is in front."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from vllm_studio_tui.domain.chat import Delta, Ended, Relabel, StreamEvent
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import gc_freeze

#: Letters of a token, about, and of an event that must carry several.
LETTERS, SEVERAL = 4.0, 10.0


@dataclass(slots=True)
class Turn:
    """One answer while it comes.

    Attributes:
        question: What was asked, where it was asked anew.
        content, reasoning: What has come so far.
        heard: Anything came, if only its end.
    """

    session_id: str
    question: str | None = None
    heard: bool = False
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    letters: int = 0
    events: int = 0
    task: asyncio.Task[None] | None = None

    def take(self, event: StreamEvent) -> None:
        self.heard = True
        if isinstance(event, Delta):
            if event.content or event.reasoning:
                self.first = self.first or time.monotonic()
            if event.content:
                self.content.append(event.content)
            if event.reasoning:
                self.reasoning.append(event.reasoning)
            self.letters += len(event.content) + len(event.reasoning)
            self.events += event.tokens
        elif isinstance(event, Relabel):
            self.reasoning += self.content
            self.content = []

    @property
    def tokens(self) -> int:
        """About how many tokens have come: one an event, but for engines that send several at a time."""
        several = not self.events or self.letters > self.events * SEVERAL
        return round(self.letters / LETTERS) if several else self.events

    @property
    def speed(self) -> float | None:
        """About how many tokens a second, after the first."""
        if self.first is None:
            return None
        since = time.monotonic() - self.first
        return self.tokens / since if since > 0.5 else None


class Turns:
    """Runs answers and tells what comes.

    Args:
        told: Called with a turn and each of its events, on the event loop.
        over: Called when a turn has ended, with what went wrong outside of the answer itself.
    """

    def __init__(
        self, told: Callable[[Turn, StreamEvent], None], over: Callable[[Turn, StudioError | None], None]
    ) -> None:
        self._told = told
        self._over = over
        self.going: dict[str, Turn] = {}

    def start(self, session_id: str, events: AsyncGenerator[StreamEvent, None], question: str | None = None) -> Turn:
        """Have an answer come."""
        turn = Turn(session_id, question)
        self.going[session_id] = turn
        turn.task = asyncio.create_task(self._run(turn, events), name=f"chat {session_id}")
        return turn

    async def _run(self, turn: Turn, events: AsyncGenerator[StreamEvent, None]) -> None:
        failed: StudioError | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    turn.take(event)
                    self._told(turn, event)
                    if isinstance(event, Ended):
                        continue
        except StudioError as error:
            failed = error
        except asyncio.CancelledError:
            pass  # it was stopped; what has come is kept
        finally:
            self.going.pop(turn.session_id, None)
        self._over(turn, failed)

    def stop(self, session_id: str) -> bool:
        """Stop a chat's answer; False where none is coming."""
        turn = self.going.get(session_id)
        if turn is None or turn.task is None:
            return False
        turn.task.cancel()
        return True

    async def stop_all(self) -> None:
        """Stop every answer, and wait until all that has come is kept."""
        tasks = [turn.task for turn in self.going.values() if turn.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)


def load_client() -> None:
    """Import what the first answer needs while nobody waits for it: it takes most of a second."""

    def work() -> None:
        from vllm_studio_tui.inference.client import load

        with gc_freeze.importing():
            load()

    threading.Thread(target=work, name="chat-imports", daemon=True).start()
