"""What decides how much memory a model takes: its layers by their cache, and its weights by how GPUs share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class CacheKind(StrEnum):
    """What a layer keeps of the tokens before."""

    FULL = "full"  # keys and values of every token
    SLIDING = "sliding"  # of the last ones only; also attention within chunks
    LATENT = "latent"  # one compressed vector for each token, which every GPU holds (MLA)
    STATE = "state"  # something of one size, however long the text is (Mamba, linear attention)


class Part(StrEnum):
    """Which part of a model a tensor belongs to: the parts are shared by GPUs in different ways."""

    LAYERS = "layers"  # large matrices of layers: split over tensor and pipeline ranks
    COPIED = "copied"  # norms, routers, the compressing matrices of MLA: every tensor rank has them
    EXPERTS = "experts"  # experts of a mixture: split by tensor or by expert parallelism
    EMBEDDING = "embedding"  # of the words: with the first pipeline rank
    HEAD = "head"  # of the answer, where it is not the same as the embedding: with the last one
    TOWER = "tower"  # what reads pictures or sound


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers whose caches are alike.

    Attributes:
        layers: How many there are; layers that use the cache of another one are in none.
        heads: Heads of keys and values of each; 1 for a latent cache.
        key, value: Numbers for each head and token. A latent cache has its vector in `key`, and no `value`.
        window: Tokens that a sliding layer keeps at most.
        state: Bytes that a layer of the kind `state` keeps for each text.
    """

    kind: CacheKind
    layers: int
    heads: int = 0
    key: int = 0
    value: int = 0
    window: int | None = None
    state: int = 0

    @property
    def numbers(self) -> int:
        """Return how many numbers all its layers keep for one token, before any split over GPUs."""
        return self.layers * self.heads * (self.key + self.value)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a model, as its config.json or GGUF header says.

    Attributes:
        name: The class that engines know it by, as `Qwen3ForCausalLM`; of a GGUF file its own word, as `qwen3`.
        context: Tokens that it takes, with what its own configuration stretches them to; None: it does not say.
        trained: Tokens before that stretching, where there is one.
        intermediate: Width of the widest feed-forward part of a layer.
        experts, experts_used: Of a mixture, how many there are, and how many each token goes through.
        own_code: Its repository brings code that an engine would have to run.
        unknown: What of its shape could not be read, in words; what is computed of it is a guess then.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    caches: tuple[CacheGroup, ...]
    context: int | None = None
    trained: int | None = None
    intermediate: int = 0
    experts: int = 0
    experts_used: int = 0
    own_code: bool = False
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors of one part and type.

    Attributes:
        dtype: As the file has it: `BF16`, `F8_E4M3`, `Q4_K`.
        count: Numbers in the tensors as they are stored; of packed ones fewer than the model has parameters.
        bytes: What they take in the file.
    """

    part: Part
    dtype: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the files of a model say, without its weights.

    Attributes:
        parameters: How many it has; None: unknown.
        quantization: How its weights are stored, as `fp8`, `awq`, `Q4_K_M`; empty where they are not quantized.
        bits: Bits of each weight, where it is quantized and that is known.
        dtype: The type that it is computed in, as its configuration says: `bfloat16`.
        exact: The weights are those of the tensors themselves; else they are reckoned from the sizes of files.
        source: What was read: `safetensors`, `gguf`, `index` or `files`.
        about: Facts for people: `chat_template`, `license`, `base_model`, ..
    """

    architecture: Architecture
    weights: tuple[Weights, ...]
    parameters: int | None = None
    quantization: str = ""
    bits: float | None = None
    dtype: str | None = None
    exact: bool = True
    source: str = "safetensors"
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Return the bytes of all weights as they are stored."""
        return sum(one.bytes for one in self.weights)

    def part(self, *parts: Part) -> int:
        """Return the bytes of these parts as they are stored."""
        return sum(one.bytes for one in self.weights if one.part in parts)
