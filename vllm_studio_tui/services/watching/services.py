"""The services that watch, of a studio on this machine: `Studio` is one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.kit.once import once_property
from vllm_studio_tui.services.opened import Opened

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.sampler import Sampler
    from vllm_studio_tui.services.watching.timeline import Timeline


class WatchingServices(Opened):
    """What is watched, now and over time."""

    @once_property
    def sampler(self) -> Sampler:
        from vllm_studio_tui.services.watching.sampler import Sampler

        return Sampler(self.places, self.bus)

    @once_property
    def timeline(self) -> Timeline:
        from vllm_studio_tui.services.watching.timeline import Timeline

        return Timeline(lambda: self.sampler.history if "sampler" in self.__dict__ else None)
