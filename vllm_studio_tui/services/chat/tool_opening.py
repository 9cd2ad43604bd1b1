"""Opening the tools of a question: a server may take a minute to start, and who asked is told what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from vllm_studio_tui.domain.tools import Tool, ToolBox, ToolsAwaited

#: Seconds after which it is said that tools are waited for, and between looks at which.
PATIENCE = 1.0


async def opened(box: ToolBox, found: dict[str, Tool]) -> AsyncGenerator[ToolsAwaited, None]:
    """Fill `found` with the tools of a box, by name; yield what is waited for when it changes, and when that is over.

    Closing it, or cancelling its reader, ends the wait; a server that is being started goes on with that.
    """
    coming = asyncio.ensure_future(box.tools())
    told: tuple[str, ...] = ()
    try:
        while not (await asyncio.wait({coming}, timeout=PATIENCE))[0]:
            waited = tuple(box.awaited)
            if waited != told:
                told = waited
                yield ToolsAwaited(waited)
        found.update({tool.name: tool for tool in coming.result()})
        if told or box.missing:
            yield ToolsAwaited(missing=dict(box.missing))
    finally:
        coming.cancel()
