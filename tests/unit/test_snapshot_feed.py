"""Samples reach who follows them on the event loop, in the context of who follows."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from pathlib import Path

from tests.functional.stage import bare
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.services.watching.snapshot_feed import follow

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who")


async def test_what_is_called_has_the_context_of_who_follows(tmp_path: Path) -> None:
    bus, came = Bus(), asyncio.Event()
    seen: list[str] = []

    def arrived() -> None:
        seen.append(WHO.get("nobody"))
        came.set()

    WHO.set("the app")
    end = follow(bus, arrived)
    shown = bare(tmp_path)
    threading.Thread(target=lambda: bus.publish(shown)).start()
    await asyncio.wait_for(came.wait(), 10)
    end()
    assert seen == ["the app"]
