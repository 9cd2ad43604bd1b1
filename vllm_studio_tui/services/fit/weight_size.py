"""How much memory the weights take on each GPU.

Matrices of layers are split over tensor ranks and layers over pipeline ranks; norms, routers and the compressing
matrices of MLA are with every tensor rank; experts are split over tensor ranks, or with expert parallelism over all
ranks of the data-parallel copies too; the embedding and the head are split over tensor ranks and are with the first and
the last pipeline rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.architecture import ModelFacts, Part, Weights
from vllm_studio_tui.domain.fit import FitQuestion, Range
from vllm_studio_tui.models.config_values import type_bytes

#: Types of files whose numbers an engine turns into its own type.
_PLAIN = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_MATRICES = (Part.LAYERS, Part.EXPERTS)
#: Bits of a weight that the engine itself makes smaller while it loads; with the scales of each 64 for bitsandbytes.
_ONLINE_BITS = {"fp8": 8.0, "bitsandbytes": 4.5}
#: How far off the sum of the tensors is from what an engine then holds; and where only sizes of files are known.
_EXACT, _GUESSED = 0.02, 0.08


def weight_parts(facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> dict[Part, int]:
    """Return the bytes of each part as the engine holds them, before any split."""
    parts: dict[Part, int] = dict.fromkeys(Part, 0)
    for one in facts.weights:
        parts[one.part] += _held(one, facts, question, rules)
    return parts


def _held(one: Weights, facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> int:
    if facts.source == "gguf" or one.dtype not in _PLAIN:
        return one.bytes
    if question.quantization and one.part in (Part.LAYERS, Part.EXPERTS) and not facts.quantization:
        return ceil(one.count * _ONLINE_BITS.get(question.quantization, 8) / 8)
    if facts.quantization:
        return one.bytes  # what is not packed, as scales, stays as it is
    return one.count * load_bytes(facts, question, rules)


def load_bytes(facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> int:
    """Return how many bytes a number takes that is not quantized."""
    wanted = question.dtype if question.dtype not in (None, "", "auto") else None
    if wanted is not None:
        return type_bytes(wanted)
    size = type_bytes(facts.dtype or "bfloat16")
    return 2 if size > 2 and rules.halves_float32 else size


def weights_per_gpu(facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> Range:
    """Return the bytes on the fullest GPU."""
    parts = weight_parts(facts, question, rules)
    tensor, pipeline = max(1, question.tensor_parallel), max(1, question.pipeline_parallel)
    if not rules.splits_matrices:
        tensor, pipeline = 1, tensor * pipeline
    layers = max(1, facts.architecture.layers)
    stage = ceil(layers / pipeline) / layers
    experts = tensor * (max(1, question.data_parallel) if question.expert_parallel else 1)
    likely = stage * (parts[Part.LAYERS] / tensor + parts[Part.COPIED] + parts[Part.EXPERTS] / experts)
    likely += _ends(parts, pipeline, rules, question) / tensor
    likely += parts[Part.TOWER] / tensor
    if not question.gpus:
        likely += sum(one.bytes for one in facts.weights if one.part in _MATRICES and one.dtype in rules.repacked)
    spread = _EXACT if facts.exact else _GUESSED
    offloaded = min(question.offloaded / tensor, likely)
    most = likely * (1 + spread) + parts[Part.TOWER] * (1 - 1 / tensor)  # a tower may be with every rank
    return Range(*(max(0, round(one - offloaded)) for one in (likely * (1 - spread), likely, most)))


def _ends(parts: Mapping[Part, int], pipeline: int, rules: MemoryRules, question: FitQuestion) -> int:
    """Return the bytes of embedding and head on the rank that has more of them."""
    embedding, head = parts[Part.EMBEDDING], parts[Part.HEAD]
    if question.gpus and rules.embedding_in_host:
        return head or embedding
    if pipeline == 1:
        return embedding + head
    return max(embedding, head or embedding)


def read_per_token(facts: ModelFacts, question: FitQuestion, rules: MemoryRules) -> float:
    """Return the bytes of weights that one GPU reads for each token of one text; of a mixture the experts used."""
    parts = weight_parts(facts, question, rules)
    shape = facts.architecture
    used = min(1.0, shape.experts_used / shape.experts) if shape.experts and shape.experts_used else 1.0
    read = parts[Part.LAYERS] + parts[Part.COPIED] + parts[Part.EXPERTS] * used
    read += parts[Part.HEAD] or parts[Part.EMBEDDING]
    return read / (max(1, question.tensor_parallel) if rules.splits_matrices else 1)
