"""From the header of a GGUF file to the shape of a model. The keys are those of llama.cpp (`llama-arch.cpp`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vllm_studio_tui.domain.architecture import Architecture, CacheGroup, CacheKind
from vllm_studio_tui.kit.gguf import Array, Gguf

_MOST = 1 << 40
#: How often a layer without a window comes, where the file does not say: llama.cpp has it in its code.
_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2, "llama4": 4, "exaone4": 4, "olmo2": 4}
_LAYERS_MOST = 2000
#: Recurrent states are kept in 32 bits.
_STATE_NUMBER = 4


def shape_of_gguf(header: Gguf) -> Architecture:
    """Return the shape of a model. Never raises; what is missing is 0, and told in `unknown`."""
    reader = _Reader(header)
    layers = min(reader.integer("block_count"), _LAYERS_MOST)
    hidden = reader.integer("embedding_length")
    heads = reader.integer("attention.head_count")
    caches = tuple(_caches(reader, layers, hidden, heads)) if layers and hidden else ()
    unknown = [] if caches else ["its header does not say the shape of its layers"]
    words = header.values.get("tokenizer.ggml.tokens")
    vocabulary = words.length if isinstance(words, Array) else len(words) if isinstance(words, tuple) else 0
    context = reader.integer("context_length") or None
    used = reader.integer("expert_used_count")
    return Architecture(
        name=reader.architecture or "unknown",
        layers=layers,
        hidden=hidden,
        heads=heads,
        vocabulary=reader.integer("vocab_size") or min(vocabulary, _MOST),
        caches=caches,
        context=context,
        trained=reader.integer("rope.scaling.original_context_length") or context,
        intermediate=max(
            reader.integer("feed_forward_length"), reader.integer("expert_feed_forward_length") * max(1, used)
        )
        or 4 * hidden,
        experts=reader.integer("expert_count"),
        experts_used=used,
        unknown=tuple(unknown),
    )


class _Reader:
    """Values of the header under the name of its architecture."""

    def __init__(self, header: Gguf) -> None:
        self._values = header.values
        name = header.values.get("general.architecture")
        self.architecture = name[:100] if isinstance(name, str) else ""

    def integer(self, key: str) -> int:
        """Return a number, of a list the largest; 0 where there is none."""
        return max([0, *self.every(key)])

    def every(self, key: str) -> list[int]:
        """Return the numbers of a list, or one number as a list."""
        value = self._values.get(f"{self.architecture}.{key}")
        given = value if isinstance(value, tuple) else (value,)
        return [
            int(one)
            for one in given
            if isinstance(one, int | bool) and 0 <= one <= _MOST
        ]  # fmt: skip


def _caches(reader: _Reader, layers: int, hidden: int, heads: int) -> Iterable[CacheGroup]:
    kv = reader.every("attention.head_count_kv") or [heads]
    by_layer = kv[:layers] if len(kv) > 1 else kv * layers
    key = reader.integer("attention.key_length") or hidden // max(1, heads)
    value = reader.integer("attention.value_length") or key
    state = _state(reader, hidden)
    kinds = _kinds(reader, by_layer, state)
    shared = reader.integer("attention.shared_kv_layers")
    if 0 < shared < len(kinds):
        kinds = kinds[: len(kinds) - shared]
    rank = reader.integer("attention.kv_lora_rank")
    if rank and reader.integer("attention.key_length_mla"):
        many = sum(1 for one in kinds if one != "state")
        yield CacheGroup(CacheKind.LATENT, many, 1, rank + reader.integer("rope.dimension_count"))
    else:
        window = reader.integer("attention.sliding_window") or reader.integer("attention.chunk_size")
        for (kind, count), many in Counter(
            (kind, count) for kind, count in zip(kinds, by_layer, strict=False) if kind != "state" and count
        ).items():
            small = reader.integer("attention.key_length_swa") if kind == "sliding" else 0
            yield CacheGroup(
                CacheKind(kind), many, count, small or key,
                (reader.integer("attention.value_length_swa") if small else 0) or small or value,
                window if kind == "sliding" else None,
            )  # fmt: skip
    if many := sum(1 for one in kinds if one == "state"):
        yield CacheGroup(CacheKind.STATE, many, state=state)


def _kinds(reader: _Reader, by_layer: list[int], state: int) -> list[str]:
    layers = len(by_layer)
    if state:
        every = reader.integer("full_attention_interval")
        if every:
            return ["full" if (at + 1) % every == 0 else "state" for at in range(layers)]
        return ["full" if count else "state" for count in by_layer]
    if not (reader.integer("attention.sliding_window") or reader.integer("attention.chunk_size")):
        return ["full"] * layers
    pattern = reader.every("attention.sliding_window_pattern")
    if len(pattern) > 1:  # one for each layer: does it have a window
        return ["sliding" if one else "full" for one in pattern[:layers]] + ["full"] * (layers - len(pattern))
    every = pattern[0] if pattern and pattern[0] > 1 else _EVERY.get(reader.architecture, 0)
    if not every:  # the window is not used by its code, as that of Qwen2 or Mistral
        return ["full"] * layers
    return ["full" if (at + 1) % every == 0 else "sliding" for at in range(layers)]


def _state(reader: _Reader, hidden: int) -> int:
    """Return the bytes that a recurrent layer keeps for each text (`n_embd_r` and `n_embd_s` of llama.cpp)."""
    if kernel := reader.integer("shortconv.l_cache"):
        return hidden * (kernel - 1) * _STATE_NUMBER
    inner, size = reader.integer("ssm.inner_size"), reader.integer("ssm.state_size")
    if not inner or not size:
        return 0
    conv = max(0, reader.integer("ssm.conv_kernel") - 1) * (inner + 2 * reader.integer("ssm.group_count") * size)
    return (conv + inner * size) * _STATE_NUMBER
