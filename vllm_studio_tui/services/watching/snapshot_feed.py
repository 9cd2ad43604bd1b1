"""Hand samples from the sampler's thread to an event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.services.watching.snapshot import Snapshot


def follow(bus: Bus, arrived: Callable[[], None]) -> Callable[[], None]:
    """Call `arrived` on the running event loop after each sample; return what ends that.

    Samples that come while one call is still outstanding are left out: only the latest counts.
    """
    loop = asyncio.get_running_loop()
    # The thread that samples has a context of its own; what is called here may need that of who follows.
    context = contextvars.copy_context()
    outstanding = False

    def call() -> None:
        nonlocal outstanding
        outstanding = False
        arrived()

    def sampled(_: Snapshot) -> None:
        nonlocal outstanding
        if not outstanding:
            outstanding = True
            loop.call_soon_threadsafe(call, context=context)

    return bus.subscribe(Snapshot, sampled)
