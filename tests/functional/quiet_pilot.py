"""A pilot that goes on as soon as the app has nothing left to do, instead of when the process uses little time.

Textual's own waits twice after each key until the process has slept for 20 ms: of a test that types 200 keys that is
most of what it takes, on a busy machine half a minute. Here is looked at what there is to do: messages, tasks and
pictures.
"""

from __future__ import annotations

import asyncio
import time
import unicodedata
from typing import Any

from textual import events
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key
from textual.message_pump import MessagePump
from textual.pilot import Pilot, WaitForScreenTimeout

#: Seconds to wait for tasks that never rest, such as an answer that streams without a pause.
RESTLESS = 1.0


def key_event(key: str) -> events.Key:
    """Make the event of a key or character, as Textual's pilot makes it."""
    if len(key) == 1 and not key.isalnum():
        key = _character_to_key(key)
    try:
        character = unicodedata.lookup(_get_unicode_name_from_key(REPLACED_KEYS.get(key, key)))
    except KeyError:
        return events.Key(key, key if len(key) == 1 else None)
    return events.Key(key, character)


def is_busy(pump: MessagePump) -> bool:
    """Return whether it handles a message, or has some to handle; a queue is empty while its last one is handled."""
    if pump._closing or pump._closed or (pump._task is None and pump._parent is not None):
        return False
    queue: Any = pump._message_queue
    waits = any(not waiter.done() for waiter in queue.ready_event._waiters)
    return bool(queue.qsize() or pump._next_callbacks or not waits)


class QuietPilot(Pilot[int]):
    """Presses, clicks and waits; each until all of it is handled and drawn."""

    async def press(self, *keys: str) -> None:
        for key in keys:
            self.send(key)
            await self.pause()

    def send(self, key: str) -> None:
        """Hand a key to the app, as a terminal does."""
        event = key_event(key)
        event.set_sender(self.app)
        self.app.post_message(event)

    async def pause(self, delay: float | None = None) -> None:
        if delay:
            await asyncio.sleep(delay)
        await self._wait_for_screen()

    async def _wait_for_screen(self, timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - as the pilot's own has it
        """Wait until nothing is left to handle or to draw, and no task could go on at once."""
        ready = getattr(asyncio.get_running_loop(), "_ready", ())
        began, calm = time.monotonic(), 0
        while calm < 2:  # timers and sockets are looked at between two turns of the loop
            await asyncio.sleep(0)
            if self._is_over():
                return False
            spent = time.monotonic() - began
            if self._is_handling():
                calm = 0
            elif self._is_drawing():
                self.app.screen._on_timer_update()
                if spent > RESTLESS and self.app._resize_event is not None:
                    self.app._check_resize()  # what an app does when it idles: one of the same size waits for that
                calm = 0
            elif ready and spent < RESTLESS:
                calm = 0
                continue
            else:
                calm += 1
                continue
            if spent > timeout:
                busy = [one for one in self._pumps() if is_busy(one)]
                raise WaitForScreenTimeout(f"still busy: {busy}, to be drawn: {self._to_draw()}")
            if not ready:  # a thread or a timer is waited for
                await asyncio.sleep(0.001)
        return True

    def _is_over(self) -> bool:
        return self.app._exit or not self.app._running or self.app._exception_event.is_set()

    def _is_handling(self) -> bool:
        return any(is_busy(one) for one in self._pumps())

    def _pumps(self) -> list[MessagePump]:
        return [self.app, *self.app.screen.walk_children(with_self=True)]

    def _is_drawing(self) -> bool:
        return any(self._to_draw().values())

    def _to_draw(self) -> dict[str, object]:
        app, screen = self.app, self.app.screen
        return {
            "layout": screen._layout_required or screen._repaint_required or screen._scroll_required,
            "resize": app._resize_event or app._resize_timer,
            "callbacks": screen._callbacks,
            "widgets": screen._dirty_widgets,
        }
