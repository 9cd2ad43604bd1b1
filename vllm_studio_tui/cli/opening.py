"""Open the studio of a command: the only place that chooses which studio it is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from vllm_studio_tui.studio import Studio

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi


@contextlib.contextmanager
def open_studio() -> Iterator[StudioApi]:
    """Open the studio of this machine for a command; it is closed at the end."""
    with Studio.open_sync() as studio:
        yield studio


@contextlib.asynccontextmanager
async def open_studio_async() -> AsyncIterator[StudioApi]:
    """Open it for a command with an event loop."""
    async with Studio.open() as studio:
        yield studio
