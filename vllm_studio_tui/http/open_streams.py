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
    """

    stops: dict[str, tuple[asyncio.Event, asyncio.Event]] = field(default_factory=dict)
    samplers: dict[float, tuple[Sampler, Bus, int]] = field(default_factory=dict)
