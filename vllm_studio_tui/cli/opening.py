"""Open the studio of a command: the only place that chooses which studio it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from vllm_studio_tui.cli import connecting
from vllm_studio_tui.studio import Studio

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi


@contextlib.contextmanager
def open_studio() -> Iterator[StudioApi]:
    """Open the studio of a command, this machine's or the one that its command line names; it is closed at the end.

    Raises:
        StudioError: The studio that is named cannot be reached.
    """
    if connecting.chosen is None:
        with Studio.open_sync() as studio:
            yield studio
        return
    from vllm_studio_tui.remote.address import read_address
    from vllm_studio_tui.remote.studio import connect

    one = connecting.chosen
    address = read_address(one.url, os.environ, api_key=one.api_key, insecure_http=one.insecure_http)
    with connect(address) as elsewhere:
        yield elsewhere


@contextlib.asynccontextmanager
async def open_studio_async() -> AsyncIterator[StudioApi]:
    """Open it for a command with an event loop."""
    with open_studio() as studio:
        yield studio
