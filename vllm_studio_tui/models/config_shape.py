"""From a config.json to the shape of a model. The names of the keys are those of transformers and of engines.

A config.json may come from anywhere: every value is taken with its type and a limit, and none may raise. What the
figures mean for a cache: docs/reference/fit.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from vllm_studio_tui.domain.architecture import Architecture, CacheGroup, CacheKind
from vllm_studio_tui.models.config_values import Config, read_text_config, type_bytes
from vllm_studio_tui.models.state_layers import state_bytes

#: Words of `layer_types` and of lists like it.
_FULL = frozenset({"full_attention", "attention", "full", "global", "hybrid", "moe_attention"})
_SLIDING = frozenset({"sliding_attention", "chunked_attention", "sliding", "local", "swa", "sliding_window"})
#: Layers of this kind have no cache at all.
_NONE = frozenset({"mlp", "moe", "none", "no_op", "-", "e"})
_LAYERS_MOST = 2000


def shape_of(config: Mapping[str, Any]) -> Architecture:
    """Return the shape of a model. Never raises; what is missing is 0, and told in `unknown`."""
    whole, text = Config(config), Config(read_text_config(config))
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    layers = min(text.integer("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"), _LAYERS_MOST)
    hidden = text.integer("hidden_size", "n_embd", "d_model", "dim")
    heads = text.integer("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads")
    unknown = [f"its config.json does not say {what}" for what, value in (
        ("how many layers it has", layers), ("how wide they are", hidden)) if not value]  # fmt: skip
    caches = tuple(_caches(text, layers, hidden, heads)) if layers and hidden else ()
    if layers and hidden and not caches:
        unknown.append("what its layers keep of a text")
    trained, context = _context(text, whole)
    return Architecture(
        name=(name or whole.text("model_type") or "unknown")[:100],
        layers=layers,
        hidden=hidden,
        heads=heads,
        vocabulary=text.integer("vocab_size", "padded_vocab_size") or whole.integer("vocab_size"),
        caches=caches,
        context=context,
        trained=trained,
        intermediate=_intermediate(text, hidden),
        experts=text.integer("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"),
        experts_used=text.integer("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_top_k"),
        own_code=isinstance(config.get("auto_map"), dict) and bool(config["auto_map"]),
        unknown=tuple(unknown),
    )


def _intermediate(text: Config, hidden: int) -> int:
    wide = text.integer("intermediate_size", "ffn_hidden_size", "n_inner", "d_ff")
    used = text.integer("num_experts_per_tok", "num_experts_per_token", "top_k_experts")
    expert = text.integer("moe_intermediate_size", "expert_ffn_hidden_size") * max(1, used)
    return max(wide, expert) or 4 * hidden


def _caches(text: Config, layers: int, hidden: int, heads: int) -> Iterable[CacheGroup]:
    kinds = _kinds(text, layers)
    shared = text.integer("num_kv_shared_layers")  # the last ones use the cache of an earlier one of their kind
    own = kinds[: len(kinds) - shared] if 0 < shared < len(kinds) else kinds
    counts = Counter(own)
    yield from _attention(text, counts, hidden, heads)
    if counts["state"]:
        size = state_bytes(text, hidden)
        if size:
            yield CacheGroup(CacheKind.STATE, counts["state"], state=size)
    if counts["cross"]:
        # Keys and values of the picture or sound: of one length for each text.
        frames = text.integer("max_source_positions") or 1601
        per = 2 * _kv_heads(text, heads) * _head(text, hidden, heads) * frames * type_bytes(text.dtype)
        yield CacheGroup(CacheKind.STATE, counts["cross"], state=per)


def _attention(text: Config, counts: Counter[str], hidden: int, heads: int) -> Iterable[CacheGroup]:
    rank = text.integer("kv_lora_rank")
    if rank and (full := counts["full"] + counts["sliding"]):
        yield CacheGroup(CacheKind.LATENT, full, 1, rank + text.integer("qk_rope_head_dim"))
        if index := text.integer("index_head_dim"):
            # The indexer of sparse attention keeps a byte for each number and four for each 128 of them.
            yield CacheGroup(CacheKind.LATENT, full, 1, (index + 4 * -(-index // 128)) // 2)
        return
    key, kv = _head(text, hidden, heads), _kv_heads(text, heads)
    value = text.integer("v_head_dim") or key
    if counts["full"]:
        wide = text.integer("global_head_dim")
        yield CacheGroup(
            CacheKind.FULL, counts["full"], text.integer("num_global_key_value_heads") or kv, wide or key, wide or value
        )
    if counts["sliding"]:
        window = text.integer("sliding_window", "attention_chunk_size", "window_size", "sliding_window_size") or 4096
        small = text.integer("swa_head_dim")
        yield CacheGroup(
            CacheKind.SLIDING,
            counts["sliding"],
            text.integer("swa_num_key_value_heads") or kv,
            small or key,
            text.integer("swa_v_head_dim") or small or value,
            window,
        )


def _head(text: Config, hidden: int, heads: int) -> int:
    return text.integer("head_dim", "attention_head_dim", "kv_channels") or hidden // max(1, heads)


def _kv_heads(text: Config, heads: int) -> int:
    given = text.integer(
        "num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "num_query_groups"
    )
    if given:
        return min(given, heads) if heads else given
    attention = text.values.get("attn_config")  # MPT, DBRX
    if isinstance(attention, Mapping) and (given := Config(attention).integer("kv_n_heads")):
        return given
    return 1 if text.values.get("multi_query") is True and not text.values.get("new_decoder_architecture") else heads


def _kinds(text: Config, layers: int) -> list[str]:
    """Return what each layer is: `full`, `sliding`, `state`, `cross` or `none`; of one with two kinds both."""
    for name in ("layer_types", "layers_block_type", "block_types", "attention_types"):
        listed = text.values.get(name)
        if isinstance(listed, list) and listed and all(isinstance(one, str) for one in listed):
            return [_kind(one) for one in listed[:layers]]
    return _by_rule(text, layers)


def _kind(word: str) -> str:
    word = word.lower()
    if word in _FULL:
        return "full"
    if word in _SLIDING:
        return "sliding"
    return "none" if word in _NONE else "state"


def _by_rule(text: Config, layers: int) -> list[str]:
    """Return the kinds of layers by the rules of architectures that do not list them."""
    pattern = text.text("hybrid_override_pattern")  # Nemotron-H: M is Mamba, * attention, - a feed-forward part
    if pattern:
        return [{"M": "state", "*": "full"}.get(letter, "none") for letter in pattern[:_LAYERS_MOST]]
    blocks = text.values.get("block_configs")  # found by search, as Nemotron Super
    if isinstance(blocks, list) and blocks:
        return ["full" if _has_attention(one) else "none" for one in blocks[:_LAYERS_MOST]]
    linear = text.values.get("linear_attn_config")
    if isinstance(linear, Mapping) and isinstance(linear.get("kda_layers"), list):
        count = min(len(linear["kda_layers"]), layers)
        return ["state"] * count + ["full"] * (layers - count)
    listed = text.values.get("attn_type_list")  # MiniMax: 1 is attention, 0 linear
    if isinstance(listed, list) and listed:
        return ["full" if one == 1 else "state" for one in listed[:layers]]
    listed = text.values.get("hybrid_layer_pattern")  # 1 is a sliding window
    if isinstance(listed, list) and listed:
        return ["sliding" if one == 1 else "full" for one in listed[:layers]]
    if every := text.integer("full_attention_interval"):
        return ["full" if (at + 1) % every == 0 else "state" for at in range(layers)]
    if every := text.integer("attn_layer_period"):  # Jamba
        offset = text.integer("attn_layer_offset")
        return ["full" if at % every == offset else "state" for at in range(layers)]
    if text.integer("attn_layer_indices") or isinstance(text.values.get("attn_layer_indices"), list):  # Bamba
        listed = text.values["attn_layer_indices"]
        full = {one for one in listed if type(one) is int} if isinstance(listed, list) else set()
        return ["full" if at in full else "state" for at in range(layers)]
    model_type = text.text("model_type")
    if model_type in ("mamba", "mamba2", "falcon_mamba"):
        return ["state"] * layers
    if model_type == "falcon_h1":  # each layer has both
        return ["full", "state"] * layers
    cross = text.values.get("cross_attention_layers")
    if isinstance(cross, list) and cross:  # Llama 3.2 Vision
        many = min(len(cross), layers)
        return ["full"] * (layers - many) + ["cross"] * many
    if text.values.get("is_encoder_decoder") is True:
        return ["full", "cross"] * layers
    return _windows(text, layers, model_type)


def _has_attention(block: Any) -> bool:
    attention = block.get("attention") if isinstance(block, Mapping) else None
    return not (isinstance(attention, Mapping) and (attention.get("no_op") or attention.get("replace_with_linear")))


def _windows(text: Config, layers: int, model_type: str) -> list[str]:
    """Return which layers have a window where only its length and a pattern are given."""
    if text.integer("attention_chunk_size"):  # Llama 4: every fourth layer sees all
        every = text.integer("no_rope_layer_interval") or 4
        return ["full" if (at + 1) % every == 0 else "sliding" for at in range(layers)]
    if not text.integer("sliding_window") or text.values.get("use_sliding_window") is False:
        return ["full"] * layers
    if text.values.get("use_sliding_window") is True and text.integer("max_window_layers"):
        first = min(text.integer("max_window_layers"), layers)
        return ["full"] * first + ["sliding"] * (layers - first)
    every = text.integer("sliding_window_pattern", "_sliding_window_pattern") or {
        "gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4, "gpt_oss": 2,
    }.get(model_type, 0)  # fmt: skip
    if not every:
        return ["sliding"] * layers
    return ["full" if (at + 1) % every == 0 else "sliding" for at in range(layers)]


def _context(text: Config, whole: Config) -> tuple[int | None, int | None]:
    """Return the tokens that it was trained for, and those with the stretching of its own configuration.

    What vLLM derives, in `_get_and_verify_max_len` of its model configuration.
    """
    names = (
        "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx", "model_max_length",
        "max_sequence_length", "max_seq_length", "max_target_positions",
    )  # fmt: skip
    length = text.integer(*names) or whole.integer(*names)
    if not length:
        return None, None
    rope = text.values.get("rope_parameters") or text.values.get("rope_scaling")
    if isinstance(rope, Mapping) and rope and all(isinstance(one, Mapping) for one in rope.values()):
        rope = rope.get("full_attention") or next(iter(rope.values()))
    if not isinstance(rope, Mapping):
        return length, length
    rope = Config(rope)
    kind, factor = rope.text("rope_type") or rope.text("type"), rope.number("factor")
    before = rope.integer("original_max_position_embeddings") or text.integer("original_max_position_embeddings")
    if factor <= 1 or kind in ("", "default", "llama3", "longrope", "su", "mrope"):
        return before or length, length
    if kind == "yarn":
        return before or length, min(int((before or length) * factor), 1 << 31)
    return length, min(int(length * factor), 1 << 31)
