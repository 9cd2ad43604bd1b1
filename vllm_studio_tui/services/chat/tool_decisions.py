"""Calls of tools that wait for a person: any thread may decide them, each once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.tools import Decision


@dataclass(frozen=True, slots=True)
class Decided:
    """What a person said to a call.

    Attributes:
        arguments: What it is made with in place of the model's; None: these stay.
        pattern: What the arguments of calls must be like that a longer decision is for; None: any.
    """

    decision: Decision
    arguments: Mapping[str, Any] | None = None
    pattern: Mapping[str, str] | None = None


class ToolDecisions:
    """Calls that wait, by their ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future[Decided]]] = {}

    @contextlib.contextmanager
    def waiting(self, call_id: str) -> Iterator[asyncio.Future[Decided]]:
        """Let a call wait for as long as this is open; yield what ends it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Decided] = loop.create_future()
        with self._lock:
            self._waiting[call_id] = (loop, future)
        try:
            yield future
        finally:
            with self._lock:
                self._waiting.pop(call_id, None)

    def decide(
        self,
        call_id: str,
        decision: Decision,
        arguments: Mapping[str, Any] | None = None,
        pattern: Mapping[str, str] | None = None,
    ) -> bool:
        """Decide a call of a tool that waits, from any thread.

        Args:
            arguments: What it is made with in place of the model's arguments.
            pattern: What the arguments of further calls must be like that `CHAT` or `ALWAYS` is for; None: any. See
                `domain.tool_consent.matches`.

        Returns:
            Whether it waited: False where it was decided before, or its answer was stopped.
        """
        with self._lock:
            found = self._waiting.pop(call_id, None)
        if found is None:
            return False
        loop, future = found

        def decided() -> None:
            if not future.done():
                future.set_result(Decided(decision, arguments, pattern))

        try:
            loop.call_soon_threadsafe(decided)
        except RuntimeError:  # the loop is closed over it
            return False
        return True

    def __contains__(self, call_id: str) -> bool:
        with self._lock:
            return call_id in self._waiting
