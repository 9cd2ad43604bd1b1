"""What is typed, handed out one key at a time, so that a key goes to what the key before it has opened.

Textual hands a key to the widget that has the focus now. Its binding is looked up on the way back up, and the focus
that the action sets comes later still: of `/one` that arrives at once, as over a slow line, `o`, `n` and `e` went to
the table as well, where they are commands.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from textual import events
from textual.message import Message

if TYPE_CHECKING:
    from textual.app import App
    from textual.message_pump import MessagePump
    from textual.screen import Screen

#: Seconds after which keys are handed out even where the one before has not come back: its widget hangs, or is gone.
PATIENCE = 1.0


class KeyHandled(Message, bubble=True, verbose=True, namespace="typed"):
    """Follows a key, through the same queues: where it arrives at the app, the key has done what it does.

    Attributes:
        screen: What was in front when the key was pressed.
        target: What it was sent to.
    """

    def __init__(self, screen: Screen[object], target: MessagePump) -> None:
        super().__init__()
        self.screen, self.target = screen, target


class TypedKeys:
    """Keys and pastes that wait until the key before them has been handled.

    Args:
        app: The app they are for.
        give: Hands one to the widget that has the focus.
    """

    def __init__(self, app: App[int], give: Callable[[events.Event], Awaitable[None]]) -> None:
        self._app, self._give = app, give
        self._waiting: deque[events.Event] = deque()
        self._behind: KeyHandled | None = None

    async def take(self, event: events.Event) -> None:
        """Hand out a key or paste; where one before it is still being handled, once that is done."""
        if self._behind is not None and self._lost(self._behind):
            await self._go_on(self._behind)
        if self._behind is None and not self._waiting:
            await self._hand_out(event)
            return
        if not self._waiting:
            self._app.set_timer(PATIENCE, partial(self._go_on, self._behind))
        self._waiting.append(event)

    async def handled(self, message: KeyHandled) -> None:
        """Go on with the next, once the focus is where the action of the key has put it."""
        if message is self._behind:
            self._app.call_later(self._settle, message)

    async def _settle(self, behind: KeyHandled) -> None:
        await asyncio.sleep(0)  # work that the action has begun takes its first step, which may open a sheet
        screen = self._app.screen_stack[-1] if self._app.screen_stack else None
        if behind is not self._behind:
            return
        if screen is None or screen is behind.screen or not self._follow(screen, screen):
            await self._go_on(behind)

    async def _hand_out(self, event: events.Event) -> None:
        screen = self._app.screen
        target = self._app.focused or screen
        await self._give(event)
        # Text for a field moves no focus, and may be a lot.
        if isinstance(event, events.Key) and not target.check_consume_key(event.key, event.character):
            self._follow(screen, target)

    def _follow(self, screen: Screen[object], target: MessagePump) -> bool:
        """Have what is typed from now on wait for what this was sent before; False where it is on its way out."""
        behind = KeyHandled(screen, target)
        self._behind = behind if target.post_message(behind) else None
        return self._behind is not None

    def _lost(self, behind: KeyHandled) -> bool:
        """Whether the widget was removed with what it had not handled yet."""
        return behind.screen not in self._app.screen_stack or not behind.target.is_attached

    async def _go_on(self, behind: KeyHandled | None) -> None:
        if behind is not self._behind:
            return  # it was long ago
        self._behind = None
        while self._waiting and self._behind is None and self._app.screen_stack:
            await self._hand_out(self._waiting.popleft())
