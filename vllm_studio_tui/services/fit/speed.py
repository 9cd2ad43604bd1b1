"""How fast one text could be written at most: for each token all weights are read once, so bandwidth is the bound."""

from __future__ import annotations

import re

from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.architecture import ModelFacts
from vllm_studio_tui.domain.fit import FitQuestion
from vllm_studio_tui.services.fit.estimate import cache_size
from vllm_studio_tui.services.fit.weight_size import read_per_token

#: Memory bandwidth in bytes a second by what stands in a GPU's name, from the makers' data sheets; the first counts.
_BANDWIDTH = tuple(
    (re.compile(pattern, re.IGNORECASE), round(terabytes * 1e12))
    for pattern, terabytes in (
        (r"\bGB?200\b|\bB200\b", 8.0), (r"\bGB?300\b|\bB300\b", 8.0), (r"\bGH200\b|\bH200\b", 4.8),
        (r"\bH100\b.*(PCIe|NVL\b)", 2.0), (r"\bH100\b", 3.35), (r"\bH20\b", 4.0), (r"\bA100\b.*80", 2.0),
        (r"\bA100\b", 1.555), (r"\bRTX PRO 6000\b", 1.79), (r"\bL40S?\b", 0.864), (r"\bL4\b", 0.3), (r"\bA40\b", 0.696),
        (r"\bA10\b", 0.6), (r"\bA30\b", 0.933), (r"\bV100\b", 0.9), (r"\bT4\b", 0.32), (r"\bRTX 6000 Ada\b", 0.96),
        (r"\bRTX A6000\b", 0.768), (r"\b5090\b", 1.79), (r"\b5080\b", 0.96), (r"\b5070 Ti\b", 0.896),
        (r"\b4090\b", 1.008), (r"\b4080\b", 0.717), (r"\b4070\b", 0.504), (r"\b4060 Ti\b", 0.288),
        (r"\b3090 Ti\b", 1.008), (r"\b3090\b", 0.936), (r"\b3080\b", 0.76), (r"\b3060\b", 0.36),
    )
)  # fmt: skip


def bandwidth_of(name: str) -> int | None:
    """Return the bytes a second that a GPU of this name reads from its memory; None: unknown."""
    return next((bytes_ for pattern, bytes_ in _BANDWIDTH if pattern.search(name)), None)


def most_tokens_per_second(
    facts: ModelFacts, question: FitQuestion, rules: MemoryRules, gpu: str, *, context: int = 1024
) -> float | None:
    """Return the tokens a second of one text that the memory of the GPUs allows at most; None: unknown.

    `bandwidth / (weights read for a token + cache of the text)`, on each of the GPUs that share the layers. What is
    really reached lies at half to three quarters of it.
    """
    bandwidth = bandwidth_of(gpu)
    if bandwidth is None or not question.gpus:
        return None
    read = read_per_token(facts, question, rules) + cache_size(facts, question, rules).bytes(context, 1)
    return bandwidth / read if read > 0 else None
