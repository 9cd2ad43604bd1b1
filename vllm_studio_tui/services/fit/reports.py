"""Keeps what engines said of their memory, once for each run that became ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.runs.memory_lines import report_of_log
from vllm_studio_tui.runs.read import all_runs
from vllm_studio_tui.store.memory_reports import KeptReport, MemoryReportRows

if TYPE_CHECKING:
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.store.database import Database

#: Fields of a recipe that decide how much memory its engine takes.
FIELDS = (
    "id", "name", "backend", "model_path", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size",
    "expert_parallel", "max_model_len", "gpu_memory_utilization", "kv_cache_dtype", "max_num_seqs",
    "max_num_batched_tokens", "dtype", "quantization", "extra_args", "gpus", "metrics_style",
)  # fmt: skip


def keep_reports(places: Places, db: Database) -> int:
    """Read the logs of runs that became ready and were not read yet; return how many reports are new. Blocking.

    Raises:
        StoreError: The database does not take them.
    """
    rows = MemoryReportRows(db)
    if db.read_only:
        return 0
    known, count = rows.known(), 0
    for run in all_runs(places):
        # Without a spec nothing says whose log it is; with a start under way it is not all written.
        if run.spec is None or run.status.ready_at is None or run.run_id in known:
            continue
        kept = report_of_run(run)
        if kept is not None:
            rows.put(kept)
            count += kept.report is not None
    return count


def report_of_run(run: RunView) -> KeptReport | None:
    """Return what a run's log says of memory, as it is kept; None where its engine is none that is known."""
    spec = run.spec
    if spec is None:
        return None
    try:
        recipe = Recipe.model_validate(dict(spec.recipe))
        backend = registry.backend(spec.backend)
        patterns = backend.memory_lines_for(recipe)
    except (StudioError, ValueError):
        return None
    if not patterns:
        return None
    report = report_of_log(run.log, patterns, spec.stages, attempt=run.status.attempt)
    return KeptReport(
        run.run_id,
        run.status.ready_at or 0.0,
        run.recipe_id,
        spec.backend,
        (report.version if report is not None else "") or spec.engine_version or "",
        recipe.model_path,
        spec.gpus,
        {name: value for name, value in recipe.model_dump(mode="json").items() if name in FIELDS},
        report,
    )
