"""An app that does work in the background, asks on the way, and tells what became of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from textual.app import App
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.sanitize import clean

T = TypeVar("T")


class BackgroundApp(App[int], inherit_bindings=False):
    """What a screen may ask of any app: work, questions, messages. See `Shell`."""

    def spawn(self, work: Coroutine[Any, Any, Any] | Awaitable[Any], *, group: str = "commands") -> Worker[Any]:
        """Do something that takes time. An error is shown, and ends nothing else."""

        async def guarded() -> Any:
            try:
                return await work
            except StudioError as error:
                self.tell_error(error)
                return None

        return self.run_worker(guarded(), group=group, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            logging.getLogger(__name__).error("a command failed", exc_info=event.worker.error)
            self.tell(f"This failed inside the studio: {event.worker.error!r}"[:400], "error")

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work away from the event loop."""
        return await asyncio.to_thread(work)

    async def ask(self, sheet: Screen[Any]) -> Any:
        """Show a sheet and wait for its result; from within `spawn`."""
        return await self.push_screen_wait(sheet)

    def tell(self, text: str, severity: str = "information") -> None:
        """Show a message at the bottom right; errors stay until escape."""
        kind: Any = severity
        self.notify(clean(text, limit=600), severity=kind, timeout=3600 if severity == "error" else 4, markup=False)

    def tell_error(self, error: StudioError) -> None:
        self.tell("\n".join(part for part in (error.title, error.cause, error.advice) if part), "error")

    def clear_notifications(self) -> None:
        self._notifications.clear()
        self._refresh_notifications()
