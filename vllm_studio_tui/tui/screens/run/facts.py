"""What the page of a run shows: facts, put together before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.engine_metrics import EngineMetrics
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.services.launching.stage_times import StageTime, stages_of
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.run_parts import RunFacts

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu, GpuReport
    from vllm_studio_tui.runs.diagnose import Diagnosis
    from vllm_studio_tui.runs.last_lines import LogEnd
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.endpoint import Endpoint
    from vllm_studio_tui.services.launching.run_story import RunStory
    from vllm_studio_tui.services.recipes.changes import Proposal


@dataclass(frozen=True, slots=True)
class PageFacts:
    """A run, and how it is to be drawn.

    Attributes:
        story: What is on record of it; None while it is not read.
        endpoint: Where it answers; None where that is not known.
        served: Where `serve` answers for it; None where that does not run.
        diagnosis: Why it failed or does not answer; None while that is not known.
        fixes: Changes of its recipe that answer the failure, the best first.
        chosen: Which of them is shown.
        end: The last lines of its log; None while it is not read.
        gpus: All GPUs; None where there are none.
        recipe_gone: Its recipe is not kept any more.
    """

    facts: RunFacts
    glyphs: Glyphs
    size: Size
    width: int
    height: int
    now: float
    story: RunStory | None = None
    endpoint: Endpoint | None = None
    served: Endpoint | None = None
    diagnosis: Diagnosis | None = None
    fixes: Sequence[Proposal] = ()
    chosen: int = 0
    end: LogEnd | None = None
    gpus: GpuReport | None = None
    read_only: bool = False

    @property
    def run(self) -> RunView:
        return self.facts.run

    @property
    def address(self) -> Endpoint | None:
        """Return what to tell other programs: the one address of all models where there is one."""
        return self.served or self.endpoint

    @property
    def metrics(self) -> EngineMetrics:
        return self.facts.metrics or EngineMetrics()

    @property
    def troubled(self) -> bool:
        """Return whether there is a cause to be told."""
        return self.run.state in (State.FAILED, State.UNHEALTHY, State.BACKOFF)

    def stages(self) -> list[StageTime]:
        """Return the stages of its start."""
        return stages_of(self.run, self.now, self.facts.earlier)

    def own_gpus(self) -> GpuReport | None:
        """Return the GPUs that it claims or has processes on, of those that are known; None where there are none."""
        if self.gpus is None or not self.run.live:
            return None
        claimed = self.run.spec.gpus if self.run.spec is not None else ()
        found = tuple(gpu for gpu in self.gpus.gpus if self._uses(gpu, claimed))
        return replace(self.gpus, gpus=found) if found else None

    def gpu_names(self) -> tuple[str, ...]:
        """Return the indices of its GPUs; where none of them is seen what it claims, or claimed."""
        own = self.own_gpus()
        if own is not None:
            return tuple(str(gpu.index) for gpu in own.gpus)
        if self.run.spec is not None:
            return self.run.spec.gpus
        return self.story.launch.gpus if self.story is not None else ()

    def _uses(self, gpu: Gpu, claimed: Sequence[str]) -> bool:
        return gpu.is_one_of(claimed) or self.run.run_id in {process.run_id for process in gpu.processes}
