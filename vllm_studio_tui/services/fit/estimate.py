"""The memory of one GPU, part by part, and what follows from it: does it fit, how long a text, how many at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vllm_studio_tui.backends.common.memory_rules import CACHE_BYTES, Budget, MemoryRules
from vllm_studio_tui.domain.architecture import Architecture, CacheKind, ModelFacts
from vllm_studio_tui.domain.fit import Fit, FitCell, FitGrid, FitQuestion, Learned, Range
from vllm_studio_tui.services.fit.cache_size import CacheSize
from vllm_studio_tui.services.fit.weight_size import load_bytes, weight_parts, weights_per_gpu

#: The context that is taken where neither the question nor the model says one.
UNKNOWN_CONTEXT = 4096
#: Texts at once that are counted up to.
MOST_USERS = 4096
#: How far off what is computed of a step is.
_LOW, _HIGH = 0.5, 1.7


def estimate(facts: ModelFacts, question: FitQuestion, rules: MemoryRules, learned: Learned | None = None) -> Fit:
    """Return whether a model fits, and what its memory is made of.

    Args:
        learned: What earlier starts reported; it stands in the place of what would be computed.
    """
    context = question.context or facts.architecture.context or UNKNOWN_CONTEXT
    users = max(1, question.users)
    cache = cache_size(facts, question, rules, learned)
    parts = _parts(facts, question, rules)
    if learned is not None:
        parts |= {name: one for name, one in learned.parts.items() if name in parts}
    per_text = -(-users // max(1, question.data_parallel))
    needed = cache.bytes(context, per_text)
    limit = _limit(question, rules)
    room = _room(parts, question, rules, limit)
    fit = Fit(
        parts={**parts, "kv": Range(needed, needed, needed)},
        limit=limit,
        memory=question.memory,
        context=context,
        users=users,
        weights_bytes=sum(weight_parts(facts, question, rules).values()),
        kv_bytes_per_token=cache.per_token,
        room=room,
        cache_tokens=_cache_tokens(cache, room.likely, context, question),
        max_context=_largest(
            lambda length: cache.bytes(length, per_text) <= room.likely,
            min(facts.architecture.context or context, 1 << 24),
        ),
        max_users=_runs(cache, context, room.likely) * max(1, question.data_parallel),
        model_context=facts.architecture.context,
        exact=facts.exact and not facts.architecture.unknown and not question.elsewhere,
        gpus=question.gpus,
        held=question.held,
        alone=_limit(replace(question, held=0), rules),
        learned=learned,
        notes=facts.architecture.unknown,
    )
    return replace(fit, parts={name: fit.parts[name] for name in ("weights", "kv", *_OTHERS) if name in fit.parts})


_OTHERS = ("activations", "graphs", "overhead")


def cache_size(
    facts: ModelFacts, question: FitQuestion, rules: MemoryRules, learned: Learned | None = None
) -> CacheSize:
    """Return what computes the cache of the question's model."""
    tensor, pipeline = max(1, question.tensor_parallel), max(1, question.pipeline_parallel)
    if not rules.splits_matrices:
        tensor, pipeline = 1, tensor * pipeline
    named = question.kv_dtype.lower()
    table = rules.cache_bytes
    number = table.get(named, CACHE_BYTES.get(named)) if named not in ("", "auto") else table.get("auto")
    if number is None:
        number = load_bytes(facts, question, rules)
    step = question.batched or _by_size(question, rules, rules.batched, rules.batched_large)
    if not question.gpus and rules.host_block:
        rules = replace(rules, block=rules.host_block)
    more = 1.0 if learned is None else learned.cache
    return CacheSize(facts.architecture, rules, float(number) * more, tensor, pipeline, step)


def grid(facts: ModelFacts, question: FitQuestion, rules: MemoryRules, learned: Learned | None = None) -> FitGrid:
    """Return how long a text may be for how many: contexts from 4k to the model's own, users from 1 to 128."""
    fit = estimate(facts, question, rules, learned)
    own = facts.architecture.context or fit.context
    contexts = sorted({*(4096 << step for step in range(9) if 4096 << step <= own), own, min(fit.context, own)})
    users = (1, 4, 8, 16, 32, 64, 128)
    cache = cache_size(facts, question, rules, learned)
    copies = max(1, question.data_parallel)
    rows = []
    for context in contexts:
        runs = _runs(cache, context, fit.room.likely)
        rows.append(
            tuple(
                FitCell(
                    context,
                    many,
                    cache.bytes(context, -(-many // copies)) / fit.room.likely if fit.room.likely > 0 else float("inf"),
                    runs * copies,
                )
                for many in users
            )
        )
    return FitGrid(tuple(contexts), users, tuple(rows))


def _parts(facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> dict[str, Range]:
    weights = weights_per_gpu(facts, question, rules)
    nothing = Range(0, 0, 0)
    if not question.gpus:
        return {"weights": weights, "activations": _activations(facts, question, rules), "graphs": nothing,
                "overhead": nothing}  # fmt: skip
    overhead = Range(*rules.overhead)
    if question.gpus > 1:
        overhead = overhead + Range(*rules.overhead_ranks)
    return {
        "weights": weights,
        "activations": _activations(facts, question, rules),
        "graphs": Range(*rules.graphs) if question.graphs else nothing,
        "overhead": overhead,
    }


def _activations(facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> Range:
    """Return what a step of the largest size computes with, and the logits of as many texts as are let in at once."""
    shape = facts.architecture
    tokens = question.batched or _by_size(question, rules, rules.batched, rules.batched_large)
    ranks = max(1, question.tensor_parallel) if rules.splits_matrices else 1
    widths = rules.hidden_widths * shape.hidden + rules.feed_widths * shape.intermediate / ranks
    texts = max(question.users, _by_size(question, rules, rules.users, rules.users_large))
    logits = min(texts, tokens) * shape.vocabulary * 4 * rules.logit_rows
    context = question.context or shape.context or UNKNOWN_CONTEXT
    likely = tokens * (widths * rules.number + rules.mask * _seen(shape, context, tokens)) + logits
    return Range(round(likely * _LOW), round(likely), round(likely * _HIGH))


def _seen(shape: Architecture, context: int, step: int) -> int:
    """Return how many tokens before it a token may look at, over the kinds of attention that there are."""
    windows = [one.window for one in shape.caches if one.kind is CacheKind.SLIDING and one.window is not None]
    full = any(one.kind in (CacheKind.FULL, CacheKind.LATENT) for one in shape.caches)
    return (context if full else 0) + (min(context, max(windows) + step) if windows else 0)


def _by_size(question: FitQuestion, rules: MemoryRules, usual: int, large: int | None) -> int:
    return large if large is not None and question.memory >= rules.large else usual


def _limit(question: FitQuestion, rules: MemoryRules) -> int:
    """Return the bytes of each GPU that the engine may take."""
    free = max(0, question.memory - question.held)
    if rules.budget is Budget.SHARE and question.gpus:
        return min(free, round(question.memory * (question.share or rules.share)))
    return free


def _room(parts: dict[str, Range], question: FitQuestion, rules: MemoryRules, limit: int) -> Range:
    """Return what is left for the cache: the least, the likely, the most."""
    if question.cache is not None:
        return Range(question.cache, question.cache, question.cache)
    used = Range(0, 0, 0)
    for one in parts.values():
        used = used + one
    left = [limit - one for one in (used.high, used.likely, used.low)]
    if rules.budget is Budget.STATIC_SHARE and question.gpus:
        static = round(question.memory * (question.share or rules.share))
        weights = parts["weights"]
        left = [
            min(one, static - other)
            for one, other in zip(left, (weights.high, weights.likely, weights.low), strict=True)
        ]
    return Range(*(max(0, one) for one in left))


def _cache_tokens(cache: CacheSize, room: int, context: int, question: FitQuestion) -> int:
    one = cache.bytes(context, 1)
    return int(room / one * context) * max(1, question.data_parallel) if one else 0


def _runs(cache: CacheSize, context: int, room: int) -> int:
    """Return how many texts of this length run at once."""
    return _largest(lambda many: cache.bytes(context, many) <= room, MOST_USERS)


def _largest(good: Callable[[int], bool], most: int) -> int:
    """Return the largest number up to `most` for which it holds; it holds for all smaller ones. 0: for none."""
    if good(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if good(middle) else (low, middle)
    return low
