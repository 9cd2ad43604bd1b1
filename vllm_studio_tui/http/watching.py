"""Samples of GPUs and engines, taken only while somebody wants them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.services.watching.sampler import Sampler
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.services.watching.snapshot_feed import follow

if TYPE_CHECKING:
    from vllm_studio_tui.studio import Studio

#: Seconds after the last question after which no more samples are taken: longer than a scraper waits between two.
LINGER = 40.0
#: Seconds that a first sample is waited for.
PATIENCE = 10.0


class Watching:
    """Takes samples while somebody holds it, and a while after each question. On one event loop.

    Attributes:
        listeners: Called on the loop after each sample.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._loop = asyncio.get_running_loop()
        self._sampler: Sampler | None = None
        self._first = asyncio.Event()
        self._holders = 0
        self._ending: asyncio.TimerHandle | None = None
        self._unfollow: Callable[[], None] | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self.listeners: list[Callable[[Snapshot], None]] = []

    @property
    def running(self) -> bool:
        """Return whether samples are being taken."""
        return self._sampler is not None

    async def latest(self) -> Snapshot:
        """Return the latest sample; where none are being taken, a new one.

        Raises:
            Refusal: None came.
        """
        with self.held():
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._first.wait()
            except TimeoutError:
                words = f"GPUs and engines were not looked at within {PATIENCE:g} s"
                advice = "A driver or a disk may hang: see `vllm-studio gpus` and `vllm-studio doctor`."
                raise Refusal(504, "no_sample", words, advice=advice, retry_after=PATIENCE) from None
            assert self._sampler is not None
            found = self._sampler.latest
            assert found is not None
            return found

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have samples taken meanwhile."""
        self._holders += 1
        self._begin()
        try:
            yield
        finally:
            self._holders -= 1
            if self._holders == 0 and self._sampler is not None:
                self._ending = self._loop.call_later(LINGER, self._end)

    def _begin(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._sampler is None:
            self._sampler = Sampler(
                self._studio.places,
                self._studio.bus,
                every=self._studio.settings.refresh_seconds,
                alerts=self._studio.alert_watch(),
                peaks=self._studio.peak_watch(),
            )
            self._unfollow = follow(self._studio.bus, self._arrived)
            self._sampler.start()

    def _arrived(self) -> None:
        if self._sampler is None or self._sampler.latest is None:
            return
        self._first.set()
        for listener in list(self.listeners):
            listener(self._sampler.latest)

    def _end(self) -> None:
        self._ending = None
        sampler, self._sampler = self._sampler, None
        self._first.clear()
        if self._unfollow is not None:
            self._unfollow()
            self._unfollow = None
        if sampler is not None:
            closing = self._loop.run_in_executor(None, sampler.close)
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def keep(self) -> None:
        """Have samples taken until the end, for alerts that are told outside of screens."""
        self._holders += 1
        self._begin()

    async def close(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._end()
        await asyncio.gather(*self._closing, return_exceptions=True)
