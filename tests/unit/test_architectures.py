"""What well-known models keep of a text, from their published configurations, against figures worked out by hand.

The keys are those of each model's own config.json on the hub, as far as they say something of memory.
"""

from __future__ import annotations

from typing import Any

import pytest

from vllm_studio_tui.backends.common.memory_rules import MemoryRules
from vllm_studio_tui.domain.architecture import CacheKind
from vllm_studio_tui.models.config_shape import shape_of
from vllm_studio_tui.services.fit.cache_size import CacheSize


def dense(layers: int, hidden: int, heads: int, kv: int, context: int, **more: Any) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv,
        "max_position_embeddings": context, "torch_dtype": "bfloat16", **more,
    }  # fmt: skip


def mla(layers: int, heads: int, context: int, **more: Any) -> dict[str, Any]:
    return dense(layers, 7168, heads, heads, context, kv_lora_rank=512, qk_rope_head_dim=64, v_head_dim=128, **more)


NEMOTRON_H = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
#: name: configuration; bytes of a token in 16 bits; layers that see all, have a window, keep a state; context.
MODELS: dict[str, tuple[dict[str, Any], int, tuple[int, int, int], int]] = {
    "SmolLM2-135M": (dense(30, 576, 9, 3, 8192), 23_040, (30, 0, 0), 8192),
    "Llama-3.1-8B": (
        dense(32, 4096, 32, 8, 131_072, rope_scaling={"rope_type": "llama3", "factor": 8.0,
              "original_max_position_embeddings": 8192}), 131_072, (32, 0, 0), 131_072),
    "Llama-3.3-70B": (dense(80, 8192, 64, 8, 131_072), 327_680, (80, 0, 0), 131_072),
    "Llama-3.1-405B": (dense(126, 16_384, 128, 8, 131_072), 516_096, (126, 0, 0), 131_072),
    "Llama-4-Scout": (
        {"model_type": "llama4", "text_config": dense(48, 5120, 40, 8, 10_485_760, head_dim=128,
         attention_chunk_size=8192)}, 196_608, (12, 36, 0), 10_485_760),
    "Llama-3.2-11B-Vision": (
        {"text_config": dense(40, 4096, 32, 8, 131_072, cross_attention_layers=[3, 8, 13, 18, 23, 28, 33, 38])},
        131_072, (32, 0, 8), 131_072),
    "Qwen2.5-7B": (
        dense(28, 3584, 28, 4, 32_768, use_sliding_window=False, sliding_window=131_072, max_window_layers=28),
        57_344, (28, 0, 0), 32_768),
    "Qwen2.5-7B with YaRN": (
        dense(28, 3584, 28, 4, 32_768, rope_scaling={"type": "yarn", "factor": 4.0,
              "original_max_position_embeddings": 32_768}), 57_344, (28, 0, 0), 131_072),
    "Qwen3-32B": (dense(64, 5120, 64, 8, 40_960, head_dim=128, sliding_window=None), 262_144, (64, 0, 0), 40_960),
    "Qwen3-30B-A3B": (dense(48, 2048, 32, 4, 40_960, head_dim=128, num_experts=128), 98_304, (48, 0, 0), 40_960),
    "Qwen3-235B-A22B": (dense(94, 4096, 64, 4, 40_960, head_dim=128), 192_512, (94, 0, 0), 40_960),
    "Qwen3-Next-80B-A3B": (
        dense(48, 2048, 16, 2, 262_144, head_dim=256, full_attention_interval=4, linear_num_value_heads=32,
              linear_num_key_heads=16, linear_key_head_dim=128, linear_value_head_dim=128, linear_conv_kernel_dim=4),
        24_576, (12, 0, 36), 262_144),
    "Mistral-7B-v0.1": (dense(32, 4096, 32, 8, 32_768, sliding_window=4096), 131_072, (0, 32, 0), 32_768),
    "Mistral-Small-24B": (dense(40, 5120, 32, 8, 32_768, head_dim=128), 163_840, (40, 0, 0), 32_768),
    "Mixtral-8x7B": (dense(32, 4096, 32, 8, 32_768, num_local_experts=8), 131_072, (32, 0, 0), 32_768),
    "gemma-2-9b": (
        dense(42, 3584, 16, 8, 8192, head_dim=256, sliding_window=4096, model_type="gemma2"), 344_064, (21, 21, 0),
        8192),
    "gemma-3-27b": (
        {"text_config": dense(62, 5376, 32, 16, 131_072, head_dim=128, sliding_window=1024, sliding_window_pattern=6)},
        507_904, (10, 52, 0), 131_072),
    "gemma-3-1b": (
        dense(26, 1152, 4, 1, 32_768, head_dim=256, sliding_window=512, model_type="gemma3_text"), 26_624, (4, 22, 0),
        32_768),
    "gemma-3n-E4B": (
        {"text_config": dense(35, 2048, 8, 2, 32_768, head_dim=256, sliding_window=512, num_kv_shared_layers=15,
         layer_types=["sliding_attention"] * 4 + ["full_attention"] + (["sliding_attention"] * 4
         + ["full_attention"]) * 6)}, 40_960, (4, 16, 0), 32_768),
    "gpt-oss-20b": (
        dense(24, 2880, 64, 8, 131_072, head_dim=64, sliding_window=128,
              layer_types=["sliding_attention", "full_attention"] * 12), 49_152, (12, 12, 0), 131_072),
    "gpt-oss-120b": (
        dense(36, 2880, 64, 8, 131_072, head_dim=64, sliding_window=128,
              layer_types=["sliding_attention", "full_attention"] * 18), 73_728, (18, 18, 0), 131_072),
    "phi-4": (dense(40, 5120, 40, 10, 16_384), 204_800, (40, 0, 0), 16_384),
    "Phi-3-mini-4k": (dense(32, 3072, 32, 32, 4096, sliding_window=2047), 393_216, (0, 32, 0), 4096),
    "DeepSeek-V3": (
        mla(61, 128, 163_840, rope_scaling={"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}),
        70_272, (61, 0, 0), 163_840),
    "DeepSeek-V2-Lite": (mla(27, 16, 163_840), 31_104, (27, 0, 0), 163_840),
    "Kimi-K2": (mla(61, 64, 131_072), 70_272, (61, 0, 0), 131_072),
    "Kimi-Linear-48B-A3B": (
        mla(27, 32, 1_048_576, linear_attn_config={"kda_layers": list(range(20)), "full_attn_layers": list(range(7)),
            "num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4}), 8064, (7, 0, 20), 1_048_576),
    "GLM-4.5-Air": (dense(46, 4096, 96, 8, 131_072, head_dim=128), 188_416, (46, 0, 0), 131_072),
    "Command-R7B": (
        dense(32, 4096, 32, 8, 132_096, sliding_window=4096, sliding_window_pattern=4, model_type="cohere2"), 131_072,
        (8, 24, 0), 132_096),
    "OLMo-2-7B": (dense(32, 4096, 32, 32, 4096), 524_288, (32, 0, 0), 4096),
    "falcon-7b": (
        {"num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71, "multi_query": True,
         "torch_dtype": "bfloat16"}, 8192, (32, 0, 0), 0),
    "Nemotron-H-8B": (
        dense(52, 4096, 32, 8, 8192, head_dim=128, hybrid_override_pattern=NEMOTRON_H, mamba_num_heads=128,
              mamba_head_dim=64, ssm_state_size=128, n_groups=8, conv_kernel=4), 16_384, (4, 0, 24), 8192),
    "Jamba-1.5-Mini": (
        dense(32, 4096, 32, 8, 262_144, attn_layer_period=8, attn_layer_offset=4, mamba_d_state=16, mamba_d_conv=4,
              mamba_expand=2), 16_384, (4, 0, 28), 262_144),
    "MiniMax-Text-01": (
        dense(80, 6144, 64, 8, 10_240_000, head_dim=128, attn_type_list=([0] * 7 + [1]) * 10), 40_960, (10, 0, 70),
        10_240_000),
    "LFM2-1.2B": (
        dense(16, 2048, 32, 8, 128_000, conv_L_cache=3, layer_types=["conv", "conv", "full_attention"] * 4
              + ["conv", "full_attention"] * 2), 12_288, (6, 0, 10), 128_000),
    "whisper-large-v3": (
        {"decoder_layers": 32, "d_model": 1280, "decoder_attention_heads": 20, "max_target_positions": 448,
         "max_source_positions": 1500, "is_encoder_decoder": True, "torch_dtype": "float16"}, 163_840, (32, 0, 32),
        448),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_a_known_model_keeps_of_a_text(name: str) -> None:
    config, per_token, layers, context = MODELS[name]
    shape = shape_of(config)
    kinds = {
        kind: sum(one.layers for one in shape.caches if one.kind is kind)
        for kind in (CacheKind.FULL, CacheKind.LATENT, CacheKind.SLIDING, CacheKind.STATE)
    }
    assert CacheSize(shape, MemoryRules(), 2.0).per_token == per_token
    assert (kinds[CacheKind.FULL] + kinds[CacheKind.LATENT], kinds[CacheKind.SLIDING], kinds[CacheKind.STATE]) == layers
    assert (shape.context or 0) == context
    assert not shape.unknown


@pytest.mark.parametrize(
    ("name", "state"),
    [
        # The convolution of (2 x 16 x 128 + 32 x 128) x 3 inputs, and 32 x 128 x 128 of state, in 16 bits.
        ("Qwen3-Next-80B-A3B", (8192 * 3 + 524_288) * 2),
        # (128 x 64 + 2 x 8 x 128) x 3, and 128 x 64 x 128.
        ("Nemotron-H-8B", (10_240 * 3 + 1_048_576) * 2),
        ("Jamba-1.5-Mini", (8192 * 3 + 8192 * 16) * 2),
        # 32 heads of 128 x 128 in 32 bits, and three convolutions.
        ("Kimi-Linear-48B-A3B", 3 * 4096 * 3 * 2 + 32 * 128 * 128 * 4),
        ("MiniMax-Text-01", 64 * 128 * 128 * 4),
        ("LFM2-1.2B", 2048 * 2 * 2),
        # Keys and values of 1500 frames of sound.
        ("whisper-large-v3", 2 * 20 * 64 * 1500 * 2),
    ],
)
def test_how_large_a_state_is(name: str, state: int) -> None:
    (found,) = (one for one in shape_of(MODELS[name][0]).caches if one.kind is CacheKind.STATE)
    assert found.state == state


def test_a_window_is_worth_what_it_leaves_out() -> None:
    """Gemma 3 27B at 128k: ten layers of 62 keep it all, the others 1024 tokens and those of a step."""
    size = CacheSize(shape_of(MODELS["gemma-3-27b"][0]), MemoryRules(), 2.0, step=2048)
    assert size.bytes(131_072, 1) == 16 * 256 * 2 * (10 * 131_072 + 52 * (1024 + 2048))
