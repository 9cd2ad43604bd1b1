"""How much a layer that keeps a state of one size keeps for each text: Mamba, linear attention, short convolution.

A layer keeps the last inputs of its convolution, in the type of the model, and its state, in the type that
`mamba_ssm_dtype` names, else in that of the model; as in `MambaStateShapeCalculator` of vLLM.
"""

from __future__ import annotations

from collections.abc import Mapping

from vllm_studio_tui.models.config_values import Config, type_bytes


def state_bytes(text: Config, hidden: int) -> int:
    """Return the bytes that one such layer keeps for each text; 0 where its shape is not known."""
    size = type_bytes(text.dtype)
    ssm = type_bytes(text.text("mamba_ssm_dtype") or text.text("mamba_ssm_cache_dtype") or text.dtype)
    if heads := text.integer("linear_num_value_heads"):  # gated delta nets
        keys, key, value = (
            text.integer("linear_num_key_heads"),
            text.integer("linear_key_head_dim"),
            text.integer("linear_value_head_dim"),
        )
        conv = (2 * keys * key + heads * value) * (max(1, text.integer("linear_conv_kernel_dim")) - 1)
        return conv * size + heads * key * value * ssm
    linear = text.values.get("linear_attn_config")
    if isinstance(linear, Mapping):  # Kimi Linear
        inner = Config(linear)
        heads, head = inner.integer("num_heads"), inner.integer("head_dim")
        conv = 3 * heads * head * (max(1, inner.integer("short_conv_kernel_size")) - 1)
        return conv * size + heads * head * head * 4
    if heads := text.integer("mamba_n_heads", "mamba_num_heads"):  # Mamba 2
        head = text.integer("mamba_d_head", "mamba_head_dim")
        state = text.integer("mamba_d_state", "ssm_state_size")
        groups = max(1, text.integer("mamba_n_groups", "n_groups"))
        conv = (heads * head + 2 * groups * state) * (max(1, text.integer("mamba_d_conv", "conv_kernel")) - 1)
        return conv * size + heads * head * state * ssm
    if cache := text.integer("conv_L_cache"):  # LFM2
        return hidden * (cache - 1) * size
    if text.values.get("attn_type_list"):  # lightning attention
        heads = text.integer("num_attention_heads")
        head = text.integer("head_dim") or hidden // max(1, heads)
        return heads * head * head * 4
    if state := text.integer("mamba_d_state", "state_size", "ssm_state_size"):
        inner_size = text.integer("d_inner", "intermediate_size" if text.integer("state_size") else "mamba_d_ssm")
        inner_size = inner_size or hidden * (text.integer("mamba_expand", "expand") or 2)
        if heads := text.integer("num_heads") if text.text("model_type") == "mamba2" else 0:
            conv = (inner_size + 2 * max(1, text.integer("n_groups")) * state) * (
                max(1, text.integer("conv_kernel")) - 1
            )
            return conv * size + inner_size * state * ssm
        conv = inner_size * (max(1, text.integer("mamba_d_conv", "conv_kernel")) - 1)
        return conv * size + inner_size * state * ssm
    return 0
