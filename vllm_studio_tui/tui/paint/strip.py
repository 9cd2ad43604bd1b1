"""Runs and GPUs on a single line, in the most detailed variant that fits."""

from __future__ import annotations

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.paint.glyphs import TROUBLE, Glyphs
from vllm_studio_tui.tui.paint.ink import Row, fit


def line(snapshot: Snapshot, glyphs: Glyphs, width: int) -> Row:
    """Draw the runs with their speeds, and the GPUs; as counts where that is too long."""
    order = {state: index for index, state in enumerate(TROUBLE)}
    runs = sorted(snapshot.runs, key=lambda run: -order.get(run.state, 9))
    out = sum(
        engine.generation_tokens_per_second or 0.0
        for engine in snapshot.tick.engines.values()
        if engine.generation_tokens_per_second is not None
    )
    counts: list[list[tuple[str, str]]] = []
    for state in dict.fromkeys(run.state for run in runs):
        mark, colour = glyphs.state(state)
        of = [run for run in runs if run.state is state]
        progress = of[0].status.progress if len(of) == 1 and state is State.LOADING else None
        counts.append([(mark, colour), (numbers.percent(progress) if progress is not None else f"{len(of)}", "fg")])
    named: list[list[tuple[str, str]]] = []
    for run in runs:
        mark, colour = glyphs.state(run.state)
        part = [(mark, colour), (f" {fit(run.name, 20)}", "fg bold")]
        engine = snapshot.engine(run.run_id)
        if engine is not None and engine.generation_tokens_per_second is not None:
            part.append((f" {numbers.rate(engine.generation_tokens_per_second)} tok/s", "fg"))
        if run.status.progress is not None and run.state is State.LOADING:
            part.append((f" {numbers.percent(run.status.progress)}", "dim"))
        named.append(part)
    uses = [gpu.utilization for gpu in snapshot.tick.gpus.gpus if gpu.utilization is not None]
    gpu = [[("gpu " + " ".join(f"{use}%" for use in uses[:8]), "dim")]] if uses else []
    speed = [[(f"{numbers.rate(out)}t/s", "fg")]] if snapshot.tick.engines else []
    for parts in (named + gpu, named, counts + gpu + speed, counts + speed, counts, counts[-1:]):
        if sum(len(text) for part in parts for text, _ in part) + 2 * max(0, len(parts) - 1) <= width and parts:
            row, x = Row(), 0
            for part in parts:
                x = row.run(x, part) + 2
            return row
    return Row()
