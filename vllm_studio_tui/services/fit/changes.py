"""What could be changed so that a model fits, or that more fits; each with what would come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vllm_studio_tui.backends.common.memory_rules import Budget, MemoryRules
from vllm_studio_tui.domain.architecture import ModelFacts
from vllm_studio_tui.domain.fit import Fit, FitChange, FitQuestion, Learned
from vllm_studio_tui.services.fit.estimate import estimate
from vllm_studio_tui.services.fit.speed import most_tokens_per_second

#: Below this a context is of no use to people.
LEAST_CONTEXT = 1024
#: The share of a GPU up to which a person may go.
MOST_SHARE = 0.95


def changes_for(
    facts: ModelFacts,
    question: FitQuestion,
    rules: MemoryRules,
    *,
    gpus_here: int = 0,
    gpu: str = "",
    learned: Learned | None = None,
) -> list[FitChange]:
    """Return changes that help, the smallest first; of one that does not fit those after which it would.

    Args:
        gpus_here: GPUs alike that the machine has.
        gpu: Their name, for the speed.
        learned: What earlier starts reported; it is only taken where the change leaves the weights as they are.
    """
    now = estimate(facts, question, rules, learned)
    found = []
    for change in _possible(facts, question, rules, now, gpus_here):
        asked = change_question(question, change)
        fit = estimate(facts, asked, rules, learned if _same_weights(question, asked) else None)
        if not (fit.fits if not now.fits else _better(fit, now)):
            continue
        speed = most_tokens_per_second(facts, asked, rules, gpu)
        found.append(replace(change, fit=fit, speed=speed))
    return found


def _better(fit: Fit, now: Fit) -> bool:
    return fit.fits and fit.cache_tokens > now.cache_tokens * 1.02


def _same_weights(before: FitQuestion, after: FitQuestion) -> bool:
    return (before.tensor_parallel, before.quantization) == (after.tensor_parallel, after.quantization)


def change_question(question: FitQuestion, change: FitChange) -> FitQuestion:
    """Return the question as it is after a change."""
    fields = change.fields
    ranks = fields.get("tensor_parallel_size", question.tensor_parallel)
    return replace(
        question,
        context=fields.get("max_model_len", question.context),
        users=fields.get("users", question.users),
        kv_dtype=fields.get("kv_cache_dtype", question.kv_dtype),
        quantization=fields.get("quantization", question.quantization),
        share=fields.get("gpu_memory_utilization", question.share),
        tensor_parallel=ranks,
        gpus=ranks * question.pipeline_parallel * question.data_parallel if question.gpus else 0,
    )


def _possible(
    facts: ModelFacts, question: FitQuestion, rules: MemoryRules, now: Fit, gpus_here: int
) -> Iterator[FitChange]:
    if not now.fits and question.users > 1 and now.max_users:
        yield FitChange(f"{now.max_users} at once", {"users": now.max_users}, note="more wait in line")
    if not now.fits and LEAST_CONTEXT <= now.max_context < now.context:
        yield FitChange(f"{now.max_context} tokens", {"max_model_len": now.max_context}, note="shorter texts only")
    if rules.small_cache and question.kv_dtype == "auto":
        yield FitChange(f"{rules.small_cache} KV cache", {"kv_cache_dtype": rules.small_cache})
    share = question.share or rules.share
    if rules.budget in (Budget.SHARE, Budget.STATIC_SHARE) and question.gpus and share < MOST_SHARE:
        yield FitChange(
            f"{MOST_SHARE:.2f} of each GPU", {"gpu_memory_utilization": MOST_SHARE}, note="less is left over"
        )
    if rules.online and question.gpus and not facts.quantization and not question.quantization:
        yield FitChange(f"{rules.online} weights", {"quantization": rules.online}, note="made while it loads")
    ranks = question.tensor_parallel * 2
    heads = facts.architecture.heads
    if (
        question.gpus
        and ranks * question.pipeline_parallel * question.data_parallel <= gpus_here
        and (not rules.splits_matrices or (heads and heads % ranks == 0))
    ):
        yield FitChange(f"{question.gpus * 2} GPUs", {"tensor_parallel_size": ranks})
