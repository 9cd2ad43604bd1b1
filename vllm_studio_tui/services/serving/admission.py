"""A request on its way to who answers it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from vllm_studio_tui.domain.serving import Arrival, Endpoint, Refusal, Waiting


class Admission:
    """A request that was taken in. Whoever holds it calls `leave` once it has ended, however it ended.

    Attributes:
        queued_seconds: How long it waited for its turn; grows while it waits.
        load_seconds: How long it waited for its model to load.
    """

    def __init__(
        self, arrival: Arrival, key: str, status: Callable[[str], Waiting], leave: Callable[[Admission], None]
    ) -> None:
        self.arrival = arrival
        self.key = key
        self._status = status
        self._leave: Callable[[Admission], None] | None = leave
        self._endpoint: Endpoint | None = None
        self._refusal: Refusal | None = None
        #: Of whoever waits; most are answered before they could.
        self._waiter: asyncio.Future[Endpoint] | None = None
        self._entered = time.monotonic()
        self._answered: float | None = None
        self._loading_since: float | None = None
        self._loaded = 0.0

    async def wait(self) -> Endpoint:
        """Return who answers, when it is this request's turn. Cancelled, it leaves.

        Raises:
            Refusal: It is not served.
        """
        if self._endpoint is not None:
            return self._endpoint
        if self._refusal is not None:
            raise self._refusal
        if self._leave is None:
            raise asyncio.CancelledError
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.shield(self._waiter)
        except asyncio.CancelledError:
            self.leave()
            raise

    def status(self) -> Waiting:
        """Return what it waits for now."""
        return self._status(self.arrival.id)

    def leave(self) -> None:
        """End it: it was answered, or nobody waits for the answer any more. Once is enough, more do nothing."""
        leave, self._leave = self._leave, None
        if leave is not None:
            self._stop_clock()
            leave(self)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.cancel()

    @property
    def queued_seconds(self) -> float:
        """Return how long it waited before its model loaded, or for its turn."""
        return max(0.0, self.waited_seconds - self.load_seconds)

    @property
    def load_seconds(self) -> float:
        """Return how long it waited while its model loaded."""
        now = self._answered if self._answered is not None else time.monotonic()
        return self._loaded + (now - self._loading_since if self._loading_since is not None else 0.0)

    @property
    def waited_seconds(self) -> float:
        """Return how long it waited in all."""
        return (self._answered if self._answered is not None else time.monotonic()) - self._entered

    @property
    def refusal(self) -> Refusal | None:
        """Return why it was refused, where it was."""
        return self._refusal

    # --- for the dispatcher -----------------------------------------------------------------------------

    def note_loading(self, loading: bool) -> None:
        """Note whether its model loads now."""
        if loading and self._loading_since is None:
            self._loading_since = time.monotonic()
        elif not loading and self._loading_since is not None:
            self._loaded += time.monotonic() - self._loading_since
            self._loading_since = None

    def admit(self, endpoint: Endpoint) -> bool:
        """Say who answers; False: nobody waits any more."""
        self._stop_clock()
        if self._endpoint is not None or self._leave is None:
            return False
        self._endpoint = endpoint
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(endpoint)
        return True

    def refuse(self, refusal: Refusal) -> None:
        """Say why it is not served."""
        self._stop_clock()
        if self._endpoint is not None or self._leave is None:
            self._leave = None
            return
        self._leave, self._refusal = None, refusal
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(refusal)
            self._waiter.exception()  # whether anybody still waits for it is not known

    def _stop_clock(self) -> None:
        if self._answered is None:
            self._answered = time.monotonic()
