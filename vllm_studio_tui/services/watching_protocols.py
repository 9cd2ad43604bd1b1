"""What a face may ask of what a studio watched; see `services.protocols`."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vllm_studio_tui.domain.processes import Consequence, ProcessRow, SignalSent
    from vllm_studio_tui.domain.timeline import Take
    from vllm_studio_tui.domain.why import Why


class TimelineApi(Protocol):
    """Series over any time up to 30 days; see `services.watching.timeline.Timeline`."""

    def over(
        self, names: Sequence[str], since: float, until: float, columns: int, *, take: Take = "mean"
    ) -> dict[str, list[float | None]]: ...
    def mean(self, name: str, since: float, until: float) -> float | None: ...


class ProcessesApi(Protocol):
    """Processes of runs and on GPUs; see `services.watching.processes.Processes`."""

    def tree(self, *, seconds: float = 0.0) -> tuple[ProcessRow, ...]: ...
    def environment(self, pid: int, start: int) -> builtins.list[tuple[str, str]]: ...
    def consequence(self, pid: int) -> Consequence: ...
    def signal(self, targets: Sequence[tuple[int, int]], name: str) -> tuple[SignalSent, ...]: ...


class WhyApi(Protocol):
    """Why a run is slow; see `services.watching.why.service.WhyService`."""

    def slow(self, run_id: str, at: float | None = None) -> Why | None: ...
