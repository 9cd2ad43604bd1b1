"""What a recipe asks of the GPUs of this machine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace

from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.domain.fit import FitQuestion
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.sample import Host

_FIELDS = frozenset(one.name for one in fields(FitQuestion))


def question_of(
    recipe: Recipe, backend: Backend, report: GpuReport, host: Host, own_runs: Collection[str] = ()
) -> FitQuestion:
    """Return what a recipe asks of the GPUs that it names, else of those that are freest.

    Args:
        own_runs: Runs whose memory does not count as held by others: those of the recipe itself.
    """
    shared = backend.memory is not None and backend.memory.shared_context
    asked = backend.memory_asked(recipe)
    context = recipe.max_model_len if recipe.max_model_len and recipe.max_model_len > 0 else None
    # Where all texts share one context, each of so many has an equal part of it.
    users = recipe.max_num_seqs or 1 if shared and context is not None else 1
    question = FitQuestion(
        gpus=recipe.gpu_count,
        context=None if context is None else max(1, context // users),
        users=users,
        tensor_parallel=recipe.tensor_parallel_size,
        pipeline_parallel=recipe.pipeline_parallel_size,
        data_parallel=recipe.data_parallel_size,
        expert_parallel=recipe.expert_parallel,
        share=recipe.gpu_memory_utilization,
        batched=None if shared else recipe.max_num_batched_tokens,
        kv_dtype=recipe.kv_cache_dtype,
        dtype=recipe.dtype,
        quantization=recipe.quantization if recipe.quantization in ("fp8", "bitsandbytes") else "",
    )
    question = replace(question, **{name: value for name, value in asked.items() if name in _FIELDS})
    named = recipe.gpus if recipe.gpus != ("auto",) else ()
    return on_gpus(question, report, host, named, own_runs)


def on_gpus(
    question: FitQuestion, report: GpuReport, host: Host, named: Collection[str] = (), own_runs: Collection[str] = ()
) -> FitQuestion:
    """Return the question with the memory of the GPUs that are meant, or of the host where there is none."""
    chosen = chosen_gpus(report, question.gpus, named, own_runs)
    if not question.gpus or not chosen:
        return replace(question, gpus=0, memory=host.memory_total or 0, held=host.memory_used or 0)
    memory = min(usable(one) for one in chosen)
    return replace(question, memory=memory, held=max(held(one, own_runs) for one in chosen))


def chosen_gpus(report: GpuReport, count: int, named: Collection[str], own_runs: Collection[str] = ()) -> list[Gpu]:
    """Return the GPUs that are named, else the freest of those whose memory is known."""
    known = [one for one in report.gpus if one.memory_total]
    if named:
        return [one for one in known if one.is_one_of(named)]
    return sorted(known, key=lambda one: held(one, own_runs) - usable(one))[: max(1, count)]


def usable(gpu: Gpu) -> int:
    """Return the bytes of a GPU that programs can have: all but what the driver keeps."""
    return max(0, (gpu.memory_total or 0) - (gpu.memory_reserved or 0))


def held(gpu: Gpu, own_runs: Collection[str] = ()) -> int:
    """Return the bytes that others hold of a GPU."""
    ours = sum(one.gpu_memory or 0 for one in gpu.processes if one.run_id is not None and one.run_id in own_runs)
    apart = gpu.memory_reserved is not None  # then it is not in `memory_used`
    return max(0, (gpu.memory_used or 0) - ours - (0 if apart else gpu.memory_reserved or 0))
