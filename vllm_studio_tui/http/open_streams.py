"""The streams of a server that faces elsewhere read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_studio_tui.kit.event_bus import Bus
    from vllm_studio_tui.services.watching.sampler import Sampler


@dataclass(slots=True)
class OpenStreams:
    """What is being sent.

    Attributes:
        stops: By the name of a stream what has it end, and what is set when it has ended.
        samplers: By pace who takes samples, where they are published, and how many streams send them.
        ending: Samplers that write what they have still to keep.
    """

    stops: dict[str, tuple[asyncio.Event, asyncio.Event]] = field(default_factory=dict)
    samplers: dict[float, tuple[Sampler, Bus, int]] = field(default_factory=dict)
    ending: set[asyncio.Future[None]] = field(default_factory=set)

    def end(self, sampler: Sampler) -> None:
        """End a sampler in a thread: it may be in the middle of a sample, and writes what it has still to keep."""
        closing = asyncio.get_running_loop().run_in_executor(None, sampler.close)
        self.ending.add(closing)
        closing.add_done_callback(self.ending.discard)

    async def close(self) -> None:
        """Wait until all that ends has ended."""
        await asyncio.gather(*self.ending, return_exceptions=True)
