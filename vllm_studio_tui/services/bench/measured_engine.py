"""Who is measured: how it is asked, and what is known of it that a comparison needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.bench import BenchResult
from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.errors import NotFound

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import Gpu, GpuReport
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.launcher import Launcher
    from vllm_studio_tui.services.runs import Runs


@dataclass(frozen=True, slots=True)
class MeasuredEngine:
    """An engine that is measured.

    Attributes:
        result: With what is known of it; it has no id yet.
        watched: Its metrics are looked at meanwhile.
    """

    target: Target
    result: BenchResult
    watched: bool


def find_engine(
    launcher: Launcher,
    runs: Runs,
    gpus: Callable[[], GpuReport],
    name: str | None,
    base_url: str | None,
    model: str | None,
) -> MeasuredEngine:
    """Return the engine of a ready run or recipe, of a model, or at an address. Blocking.

    Raises:
        StudioError: Nobody answers there.
    """
    target = launcher.target(recipe=name, model=model, base_url=base_url)
    run: RunView | None = None
    if target.run_id is not None:
        try:
            run = runs.find(target.run_id)
        except NotFound:
            run = None
    spec = run.spec if run is not None else None
    mine = _gpus_of(gpus().gpus, target.run_id, spec.gpus if spec is not None else ())
    made = BenchResult(
        "",
        0.0,
        run_id=target.run_id,
        recipe_id=target.recipe_id,
        revision=spec.revision_number if spec is not None else None,
        model=target.model,
        engine=target.backend if run is not None else None,
        engine_version=spec.engine_version if spec is not None else version_of(target),
        gpus=tuple(f"{one.index} {one.name}" for one in mine),
        gpu_uuids=tuple(one.uuid for one in mine),
        base_url=None if run is not None else target.base_url,
    )
    return MeasuredEngine(target, made, watched=run is not None or base_url is not None)


def version_of(target: Target) -> str | None:
    """Return the version that an engine says it is, as vLLM and SGLang do; None where it does not. Blocking."""
    from vllm_studio_tui.inference.engine_tokens import EngineTokens

    return EngineTokens(target).version()


def _gpus_of(gpus: tuple[Gpu, ...], run_id: str | None, names: tuple[str, ...]) -> list[Gpu]:
    """Return the GPUs of a run: those that it claims, else those on which a process of it is."""
    if run_id is None:
        return []
    claimed = [one for one in gpus if one.is_one_of(names)]
    return claimed or [one for one in gpus if any(each.run_id == run_id for each in one.processes)]
