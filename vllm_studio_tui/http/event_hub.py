"""Events for those who listen: each gets what it asked for, in order; what it is too slow for is never lost unsaid."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from vllm_studio_tui.kit.iso_time import iso_time
from vllm_studio_tui.kit.json_body import json_bytes

#: Events that are kept for those who come back with `Last-Event-ID`, and that one listener may be behind.
KEPT = 1000
BEHIND = 1000
#: Bytes that one listener may be behind.
BEHIND_BYTES = 4 * 1024 * 1024
#: Seconds for which events are kept after the last listener has gone.
LINGER = 60.0
#: Events of which only the latest counts: a slow listener loses those between.
LATEST = frozenset({"gpu", "metrics", "status"})


class Event:
    """One event.

    Attributes:
        number: Counts the events of this server.
        text: As it is sent.
    """

    __slots__ = ("kind", "number", "text")

    def __init__(self, number: int, kind: str, text: bytes) -> None:
        self.number = number
        self.kind = kind
        self.text = text


class Listener:
    """Somebody who listens.

    Attributes:
        kinds: What it wants; None: everything.
        lost: It has to be told that events are missing.
        behind: Bytes that wait for it.
    """

    def __init__(self, hub: EventHub, kinds: frozenset[str] | None) -> None:
        self._hub = hub
        self.kinds = kinds
        self.lost = False
        self._waiting: deque[Event] = deque()
        self.behind = 0
        self._latest: dict[str, Event] = {}
        self._something = asyncio.Event()

    def wants(self, kind: str) -> bool:
        return self.kinds is None or kind in self.kinds

    def put(self, event: Event) -> None:
        """Keep an event until it is taken. What is too much is dropped, and `lost` says so."""
        if not self.wants(event.kind):
            return
        if event.kind in LATEST:
            self._latest[event.kind] = event
        elif len(self._waiting) >= BEHIND or self.behind + len(event.text) > BEHIND_BYTES:
            self._waiting.clear()
            self.behind = 0
            self.lost = True
        else:
            self._waiting.append(event)
            self.behind += len(event.text)
        self._something.set()

    async def take(self, patience: float) -> bytes:
        """Return what has come since the last time, after at most so many seconds; empty where nothing has."""
        if not self._something.is_set():
            try:
                async with asyncio.timeout(patience):
                    await self._something.wait()
            except TimeoutError:
                return b""
        self._something.clear()
        pieces = []
        if self.lost:
            self.lost = False
            pieces.append(self._hub.resync())
        events = sorted((*self._waiting, *self._latest.values()), key=lambda one: one.number)
        self._waiting.clear()
        self.behind = 0
        self._latest.clear()
        return b"".join([*pieces, *(one.text for one in events)])

    def wake(self) -> None:
        self._something.set()


async def _nothing() -> None: ...


class EventHub:
    """All who listen. Used on one event loop.

    Args:
        published: Told the kind of each event.

    Attributes:
        closed: The server ends.
        awake: Somebody listens, or did a moment ago and may come back.
        begin, end: Called when it wakes and when it falls asleep: nothing is kept for anybody while it sleeps.
        look: Called by whoever changed what is else looked at once in a while.
    """

    def __init__(self, published: Callable[[str], None] = lambda _: None) -> None:
        self._boot = f"{time.time_ns() // 1_000_000:x}"
        self._number = 0
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._loop = asyncio.get_running_loop()
        self._falling_asleep: asyncio.TimerHandle | None = None
        #: The last event that somebody who comes back may have seen and still be told all that followed.
        self._complete_from = 0
        self._counts: dict[str, int] = {}
        self._published = published
        self.listeners: set[Listener] = set()
        self.closed = False
        self.awake = False
        self.begin: Callable[[], Coroutine[Any, Any, None]] = _nothing
        self.end: Callable[[], None] = lambda: None
        self.look: Callable[[], None] = lambda: None
        self._beginning: asyncio.Task[None] | None = None

    def publish(self, kind: str, data: Any) -> None:
        """Hand an event to all who want it. While nobody listens it costs nothing."""
        if not self.awake:
            return
        self._number += 1
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._published(kind)
        event = Event(self._number, kind, self._text(kind, data))
        if kind not in LATEST:
            if len(self._kept) == KEPT:
                self._complete_from = max(self._complete_from, self._kept[0].number)
            self._kept.append(event)
        for listener in self.listeners:
            listener.put(event)

    def listen(self, kinds: frozenset[str] | None, last_id: str | None) -> Listener:
        """Take somebody in.

        Args:
            last_id: Of the last event that it got; it is told what followed, or that this is not known any more.
        """
        listener = Listener(self, kinds)
        if last_id is not None:
            boot, _, number = last_id.rpartition("-")
            seen = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1
            if boot != self._boot or not self._complete_from <= seen <= self._number:
                listener.lost = True
                listener.wake()
            else:
                for event in self._kept:
                    if event.number > seen:
                        listener.put(event)
        self.listeners.add(listener)
        if self._falling_asleep is not None:
            self._falling_asleep.cancel()
            self._falling_asleep = None
        if not self.awake:
            self.awake = True
            self._beginning = self._loop.create_task(self.begin())
        return listener

    async def begun(self) -> None:
        """Return when nothing that happens from now on is missed."""
        if self._beginning is not None:
            await asyncio.shield(self._beginning)

    def leave(self, listener: Listener) -> None:
        self.listeners.discard(listener)
        if not self.listeners and not self.closed:
            self._falling_asleep = self._loop.call_later(LINGER, self._sleep)

    def _sleep(self) -> None:
        self._falling_asleep = None
        self.awake = False
        self._kept.clear()
        # What happens from now on is missed by whoever comes back.
        self._number += 1
        self._complete_from = self._number
        self.end()

    def resync(self) -> bytes:
        """Return the event that tells a listener to look at everything anew."""
        return self._text("resync", {"reason": "events were missed"})

    def first_lines(self) -> bytes:
        """Return what a stream begins with, so that its reader knows that it is there."""
        return b"retry: 2000\n: vllm-studio events\n\n"

    def stats(self) -> Mapping[str, Any]:
        """Return how many events there were and who listens, as the original told it."""
        wanted: dict[str, int] = {}
        for listener in self.listeners:
            for kind in listener.kinds if listener.kinds is not None else ("all",):
                wanted[kind] = wanted.get(kind, 0) + 1
        return {
            "total_events_published": sum(self._counts.values()),
            "events": dict(self._counts),
            "channels": wanted,
            "total_subscribers": len(self.listeners),
        }

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        if self._falling_asleep is not None:
            self._falling_asleep.cancel()
        for listener in self.listeners:
            listener.wake()

    def _text(self, kind: str, data: Any) -> bytes:
        body = json_bytes({"data": data, "timestamp": iso_time(time.time())})
        return b"id: %b-%d\nevent: %b\ndata: %b\n\n" % (
            self._boot.encode(), self._number, kind.encode(), body,
        )  # fmt: skip
