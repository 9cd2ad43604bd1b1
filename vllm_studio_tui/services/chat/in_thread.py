"""Blocking work of the chat service, off the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Run blocking work in a thread, and to its end even if the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("work of a cancelled task failed: %s", error)
        raise
