"""The services that measure, of a studio on this machine: `Studio` is one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_studio_tui.kit.once import once_property
from vllm_studio_tui.services.opened import Opened

if TYPE_CHECKING:
    from vllm_studio_tui.services.bench.service import Bench


class MeasuringServices(Opened):
    """What measures engines by a load that is made for it."""

    @once_property
    def bench(self) -> Bench:
        from vllm_studio_tui.services.bench.measured_engine import find_engine
        from vllm_studio_tui.services.bench.service import Bench

        studio: Any = self  # the whole of it
        return Bench(
            self.places,
            lambda: self.db,
            lambda name, base_url, model: find_engine(
                studio.launcher, studio.runs, studio.gpu_report, name, base_url, model
            ),
        )
