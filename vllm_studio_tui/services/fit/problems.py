"""What stands against a launch for want of memory: refused where it is certain, warned of where it is likely."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_studio_tui.backends.base import Problem
from vllm_studio_tui.backends.common.memory_rules import Budget, MemoryRules
from vllm_studio_tui.domain.fit import Fit, FitChange
from vllm_studio_tui.kit.numbers import gib


def memory_problems(fit: Fit, rules: MemoryRules, changes: Sequence[FitChange]) -> list[Problem]:
    """Return what stands against a launch; at most one problem.

    An error is one that holds whoever else uses the GPU: even the low figure is more than the engine may take of a GPU
    that it has for itself. What others hold may be gone when it starts, and an engine that shortens its context or
    keeps part of a model elsewhere finds a way: those are warnings.

    Args:
        changes: What would make it fit, the smallest first.
    """
    need = fit.per_gpu
    if rules.budget is Budget.GROWS:  # its cache grows with texts: only what it begins with counts
        cache = fit.parts["kv"]
        low, likely = need.low - cache.low, need.likely - cache.likely
    else:
        low, likely = need.low, need.likely
    if likely <= fit.limit:
        return []
    certain = fit.exact and low > fit.alone and fit.gpus > 0 and not rules.shortens
    others = likely <= fit.alone
    return [Problem(_field(fit, changes), "error" if certain else "warning", _words(fit, likely, certain=certain,
            others=others), _advice(fit, rules, changes, others=others))]  # fmt: skip


def elsewhere_problems(fit: Fit, rules: MemoryRules) -> list[Problem]:
    """Return what stands against a launch on other machines, as far as the GPUs of this one are like theirs."""
    advice = (
        "On GPUs with more memory it may fit. Otherwise use more machines, a shorter max_model_len or smaller weights."
    )
    return [
        Problem(one.field, "warning", f"on GPUs like those of this machine {one.message}", advice)
        for one in memory_problems(fit, rules, ())
    ]


def _field(fit: Fit, changes: Sequence[FitChange]) -> str:
    """Return the field that a person would change first."""
    rest = sum(one.likely for name, one in fit.parts.items() if name != "kv")
    if rest > fit.limit:
        return "model_path"
    names = [name for one in changes for name in one.fields if name != "users"]
    return names[0] if names else "max_model_len"


def _words(fit: Fit, likely: int, *, certain: bool, others: bool) -> str:
    where = "each GPU" if fit.gpus > 1 else "the GPU" if fit.gpus else "this host"
    parts = fit.parts
    made = f"weights {gib(parts['weights'].likely)}, KV cache {gib(parts['kv'].likely)} for {fit.context} tokens"
    rest = likely - parts["weights"].likely - parts["kv"].likely
    if rest > 0:
        made += f", other {gib(rest)}"
    sure = "needs" if certain else "needs about"
    words = f"it {sure} {gib(likely)} GiB of {where}, and may take {gib(fit.limit)}: {made}"
    return f"{words}; others hold {gib(fit.held)} GiB" if others and fit.held else words


def _advice(fit: Fit, rules: MemoryRules, changes: Sequence[FitChange], *, others: bool) -> str:
    ways = [_way(one) for one in changes[:4]]
    if others and fit.held:
        ways.insert(0, "wait until the others are gone, or stop them")
    if rules.shortens:
        ways.append("as it is the engine keeps what does not fit in the memory of the host, which is slow")
    if not ways:
        ways = ["take a smaller model or quantization, or larger or more GPUs"]
    text = "; or ".join(ways)
    return f"{text[0].upper()}{text[1:]}."


def _way(change: FitChange) -> str:
    """Return a change as the fields of a recipe."""
    fields = " and ".join(f"{name}: {value}" for name, value in change.fields.items())
    return f"set {fields}" if fields else change.title
