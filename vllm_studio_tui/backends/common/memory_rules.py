"""How an engine shares out the memory of a GPU: figures that each backend states, and `services/fit` computes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MIB = 1 << 20
GIB = 1 << 30
#: Bytes of a number in a cache of a type that several engines know; of llama.cpp's blocks with their scales.
CACHE_BYTES: Mapping[str, float] = {
    "float32": 4, "f32": 4, "float16": 2, "f16": 2, "bfloat16": 2, "bf16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1,
    "fp8_inc": 1, "int8": 1, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32,
    "iq4_nl": 18 / 32, "nvfp4": 4.5 / 8, "fp4_e2m1": 4.5 / 8, "int4": 0.5,
}  # fmt: skip


class Budget(StrEnum):
    """How much of a GPU an engine takes."""

    SHARE = "share"  # a share of all of it; the cache is what is left of that
    STATIC_SHARE = "static share"  # a share for weights and cache; the rest is for computing
    EXACT = "exact"  # what the context asked for needs, all of it at the start
    GROWS = "grows"  # what the texts under way need


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """How an engine uses memory.

    Attributes:
        budget: How much it takes.
        share: The share, where the recipe names none.
        users: Texts at once that it makes room for, where the recipe names no number.
        batched: Tokens of one step, where the recipe names no number; on GPUs of `large` bytes `batched_large`.
        users_large: Texts at once on such GPUs.
        block: Tokens for which its cache has room at once.
        host_block: The same where it runs on the processor; None: it is no other.
        shared_context: The context that it is given is that of all texts together.
        window_extra: Tokens of a sliding layer beyond its window: those of one step.
        window_blocks: Blocks of a sliding layer beyond these, because a window begins within one.
        halves_float32: It loads weights of 32 bits in 16.
        repacked: Types of weights that it copies for the processor, in another order, where it runs on that.
        embedding_in_host: The embedding of words stays in the memory of the host; a head that is the same is copied.
        splits_matrices: Several GPUs share every layer; else each has some layers.
        hidden_widths, feed_widths: What a step computes with for each token, in widths of the model and of its
            feed-forward part.
        number: Bytes of each of these numbers.
        mask: Bytes of a step for each of its tokens and each token before it, for each kind of attention.
        logit_rows: Rows of the vocabulary, for each text at once, in 32 bits.
        overhead: Low, likely and high bytes of the driver's context and of libraries, on each GPU.
        overhead_ranks: As many more, where several GPUs work together.
        graphs: Bytes of recorded graphs.
        shortens: It shortens a context that nobody asked for until it fits.
        small_cache: The value of `kv_cache_dtype` that makes the cache about half; empty: none.
        online: The value of `quantization` with which it makes the weights smaller while it loads; empty: none.
    """

    budget: Budget = Budget.GROWS
    share: float = 0.9
    users: int = 1
    users_large: int | None = None
    batched: int = 2048
    batched_large: int | None = None
    large: int = 70 * GIB
    block: int = 16
    host_block: int | None = None
    shared_context: bool = False
    window_extra: bool = True
    window_blocks: int = 0
    halves_float32: bool = False
    repacked: frozenset[str] = frozenset()
    embedding_in_host: bool = False
    splits_matrices: bool = True
    hidden_widths: float = 6.0
    feed_widths: float = 3.0
    number: int = 2
    mask: int = 0
    logit_rows: float = 2.0
    overhead: tuple[int, int, int] = (300 * MIB, 500 * MIB, 800 * MIB)
    overhead_ranks: tuple[int, int, int] = (150 * MIB, 400 * MIB, 1200 * MIB)
    graphs: tuple[int, int, int] = (0, 0, 0)
    cache_bytes: Mapping[str, float] = field(default_factory=lambda: CACHE_BYTES)
    shortens: bool = False
    small_cache: str = ""
    online: str = ""


def extra_value(extra: Mapping[str, object], *names: str) -> object:
    """Return the value of the first of these flags in a recipe's extra_args, however it is spelled; None without it."""
    plain = {str(key).lstrip("-").replace("_", "-"): value for key, value in extra.items()}
    return next((plain[name] for name in names if plain.get(name) is not None), None)


def read_memory_flags(
    extra: Mapping[str, object], *, no_graphs: str, cache: tuple[str, ...] = (), batched: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return what flags in a recipe's extra_args change of a question whether it fits.

    Args:
        no_graphs: The switch without which graphs are recorded.
        cache: Flags that give the bytes of the cache.
        batched: Flags that give the tokens of one step.
    """
    found = {
        "graphs": False if switched_on(extra_value(extra, no_graphs)) else None,
        "offloaded": gib(extra_value(extra, "cpu-offload-gb")),
        "cache": count(extra_value(extra, *cache)),
        "batched": count(extra_value(extra, *batched)),
    }
    return {name: value for name, value in found.items() if value is not None}


def switched_on(value: object) -> bool:
    """Return whether a switch is on."""
    return value is True or (isinstance(value, str) and value.lower() in ("", "true", "1", "yes", "on"))


def gib(value: object) -> int | None:
    """Return a number of GiB in bytes; None where it is none."""
    return _scaled(value, GIB)


def count(value: object) -> int | None:
    """Return a whole number above 0; None where it is none."""
    return _scaled(value, 1)


def _scaled(value: object, unit: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return round(found * unit) if 0 < found < 1 << 50 else None
