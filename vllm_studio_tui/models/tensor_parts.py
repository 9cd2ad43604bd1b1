"""From the names and types of tensors to weights by part, and the number of parameters."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from vllm_studio_tui.domain.architecture import Part, Weights
from vllm_studio_tui.kit.tensors import Tensor

#: The first that is found in a tensor's name says its part. Names of transformers, of Mistral and of GGUF.
_PARTS: Sequence[tuple[re.Pattern[str], Part]] = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (
            r"(^|\.)(vision_tower|vision_model|visual|vision_encoder|vision_embed|audio_tower|audio_model|image_newline|"
            r"multi_modal_projector|mm_projector|mlp1|embed_vision|embed_audio|vision_language_adapter|perceiver)\b",
            Part.TOWER,
        ),
        (r"^(v|mm|a)\.", Part.TOWER),
        (r"(^|\.)(lm_head|embed_out|output_layer|head)\.|^output\.(weight|bias)$", Part.HEAD),
        (
            r"(^|\.)(embed_tokens\w*|wte|word_embeddings|tok_embeddings|token_embd|per_layer_token_embd|embed_in|"
            r"embedding|embeddings|wpe|shared)\.",
            Part.EMBEDDING,
        ),
        (r"\.experts\b|_exps\b|\.expert_\d|\.moe\.(w1|w2|w3)", Part.EXPERTS),
        (
            r"norm|\bln_|(^|\.)router\b|\.gate\.(weight|e_score)|ffn_gate_inp|q_a_proj|kv_a_proj|attn_q_a|attn_kv_a|"
            r"\.A_log$|\.dt_bias$|rotary|rope_freqs|\.bias$|e_score_correction|sinks$",
            Part.COPIED,
        ),
    )
)
#: What belongs to quantized numbers and is no parameter itself.
_SCALES = re.compile(
    r"(scale|scales|scale_inv|zeros|qzeros|zero_point|g_idx|absmax|quant_map|nested_absmax|nested_quant_map|"
    r"weight_shape|quant_state\.\w+|_scale_2|global_scale|perm|scb|suh|svh|mul1|mcg)$",
    re.IGNORECASE,
)


def weights_of(tensors: Iterable[Tensor]) -> tuple[Weights, ...]:
    """Return the weights by part and type; tensors of a type that is not known take what their names say: nothing."""
    counts: dict[tuple[Part, str], int] = defaultdict(int)
    sizes: dict[tuple[Part, str], int] = defaultdict(int)
    for one in tensors:
        at = (part_of(one.name), one.dtype)
        counts[at] += one.count
        sizes[at] += one.size or 0
    return tuple(Weights(part, dtype, counts[part, dtype], sizes[part, dtype]) for part, dtype in sizes)


def part_of(name: str) -> Part:
    """Return the part of the model that a tensor belongs to."""
    return next((part for pattern, part in _PARTS if pattern.search(name)), Part.LAYERS)


def parameters_of(tensors: Iterable[Tensor], bits: float | None) -> int:
    """Return how many parameters tensors stand for, those of packed numbers unpacked.

    Args:
        bits: Of each number, where the model is quantized; needed for numbers that are packed into 32 bits.
    """
    total = 0
    for one in tensors:
        if _SCALES.search(one.name):
            continue
        count = one.count
        if one.dtype == "I32" and bits:
            count = int(count * 32 / bits)
        elif one.dtype == "I16" and bits:  # EXL3's trellis
            count = int(count * 16 / bits)
        elif one.dtype in ("U8", "I8") and bits and bits < 6:  # two in a byte
            count *= 2
        total += count
    return total
