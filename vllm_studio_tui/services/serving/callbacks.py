"""Tell others of requests that have ended: plug-ins by entry point, and a webhook.

Each has a thread and a queue of its own (`batches.py`), so that one that hangs stops neither a request nor another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vllm_studio_tui.backends.common import plug_ins
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.services.serving.batches import BatchThread, Deliver
from vllm_studio_tui.services.serving.webhook import Webhook, short_address

GROUP = "vllm_studio_tui.request_callbacks"
#: Seconds that all of them together have for what waits when the server ends.
LAST = 5.0

log = logging.getLogger(__name__)


class RequestCallbacks:
    """All who are told.

    Args:
        closing: Is set by `close`: whoever waits for another try gives up.
    """

    def __init__(self, receivers: Sequence[BatchThread], closing: threading.Event | None = None) -> None:
        self._receivers = receivers
        self._closing = closing or threading.Event()

    @classmethod
    def open(cls, address: tuple[str, str | None] | None) -> RequestCallbacks:
        """Load the plug-ins and make the webhook. Blocking.

        Args:
            address: Of the webhook, with its secret (`webhook_address`).
        """
        closing = threading.Event()
        found, _ = request_callbacks()
        receivers = [BatchThread(f"the request callback {one.title}", one.value) for one in found]
        if address is not None:
            title = f"the webhook at {short_address(address[0])}"
            receivers.append(BatchThread(title, partial(Webhook, *address, closing)))
        return cls(receivers, closing)

    def put(self, request: CompletedRequest) -> None:
        """Tell all of a request that has ended. Never waits, raises nothing."""
        for one in self._receivers:
            one.put(request)

    def health(self) -> list[dict[str, Any]]:
        """Return how each of them is."""
        return [one.health() for one in self._receivers]

    def close(self, seconds: float = LAST) -> None:
        """Hand over what waits, and end; what is not taken in time is lost and said. Blocking."""
        until = time.monotonic() + seconds
        self._closing.set()
        for one in self._receivers:
            one.finish()
        for one in self._receivers:
            if lost := one.join(until - time.monotonic()):
                log.warning("%s did not take the last %d requests in time", one.title, lost)


def request_callbacks() -> tuple[list[plug_ins.PlugIn[Callable[[], Deliver]]], dict[str, str]]:
    """Return what packages bring, each to be made where it is called, and what of it cannot be used and why."""
    return plug_ins.load_all(GROUP, _accept)


def _accept(name: str, loaded: object) -> Callable[[], Deliver]:
    """Return what makes the function that takes batches."""
    if isinstance(loaded, type):
        if not callable(getattr(loaded, "requests", None)):
            raise plug_ins.NotUsable(f"{name} is a class without a method requests(batch)")
        made: Callable[[], Any] = loaded
        return lambda: made().requests
    if callable(method := getattr(loaded, "requests", None)):
        return lambda: method
    if callable(loaded):
        function: Deliver = loaded
        return lambda: function
    raise plug_ins.NotUsable(f"{name} is no function and has no method requests(batch)")
