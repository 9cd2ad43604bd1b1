"""Models to begin with: what is published of them, and the tensors that their configurations describe.

Nothing of it is asked of a hub. The data is `recipes/models/starters.yaml`. The tensors are reckoned: names, shapes and
types as the model's class has them, so that whoever reads weight files reads these alike. A test holds their bytes
against the published ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.config.packaged_data import data_dir
from vllm_studio_tui.kit.tensors import Tensor

if TYPE_CHECKING:
    from vllm_studio_tui.domain.architecture import ModelFacts

#: Bytes of a weight as it is stored, with its scales: AWQ has a scale of 2 bytes and 4 bits of zero point for 128.
_BYTES = {"bf16": 2.0, "fp8": 1.0 + 4 / 128 / 128, "fp8-channel": 1.0, "awq": 0.5 + 2.5 / 128, "mxfp4": 0.5 + 1 / 32}
_NAMES = {"bf16": "BF16", "fp8": "F8_E4M3", "fp8-channel": "F8_E4M3", "awq": "I32", "mxfp4": "U8", "gguf": "Q4_K"}
#: Bytes of a number that holds several weights.
_PACKED = {"awq": 4, "mxfp4": 1}
#: What config.json says of how the weights are stored.
_METHODS: Mapping[str, Mapping[str, Any]] = {
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "fp8-channel": {"quant_method": "compressed-tensors", "format": "float-quantized"},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128},
    "mxfp4": {"quant_method": "mxfp4"},
}


@dataclass(frozen=True, slots=True)
class Published:
    """A model to begin with.

    Attributes:
        model: What a recipe's `model_path` takes: a name on the hub, of a GGUF file with its quantization.
        role: What it is for; of each role one is offered.
        gpus: Over how many GPUs it can be split.
        processor: It is of use without a GPU.
        needs: Compute capability that its weights need; 0: any, and none at all.
        weights: Bytes of its tensors, as published; 0: not published as a figure, and reckoned.
        stored: How they are stored.
        source: Where it is published.
        config: Its config.json, as far as its shape goes.
    """

    name: str
    model: str
    role: str
    about: str
    why: str
    gpus: tuple[int, ...]
    needs: float
    weights: int
    stored: str
    source: str
    config: Mapping[str, Any] = field(default_factory=dict)
    processor: bool = False

    @property
    def format(self) -> str:
        """Return the format by which engines say what they read, see `Backend.weights`."""
        return "gguf" if self.stored == "gguf" else "safetensors"

    @property
    def bytes(self) -> int:
        """Return the bytes of its weights, which is what is downloaded but for a few MiB."""
        return self.weights or sum(one.size or 0 for one in tensors(self))

    @property
    def full_config(self) -> dict[str, Any]:
        """Return its config.json, with how the weights are stored, and the kind of each layer."""
        config = dict(self.config)
        if (method := _METHODS.get(self.stored)) is not None:
            config["quantization_config"] = dict(method)
        if config.get("model_type") == "gpt_oss":
            kinds = ("sliding_attention", "full_attention")
            config["layer_types"] = [kinds[layer % 2] for layer in range(config["num_hidden_layers"])]
        return config


@lru_cache(maxsize=1)
def published() -> tuple[Published, ...]:
    """Return the models to begin with, the larger of each role first."""
    import yaml

    text = (data_dir("recipes") / "models" / "starters.yaml").read_text(encoding="utf-8")
    return tuple(
        Published(
            one["name"],
            one["model"],
            one["role"],
            one["about"],
            one["why"],
            tuple(one.get("gpus", (1,))),
            float(one.get("needs", 0)),
            int(one.get("weights", 0)),
            one["stored"],
            one["source"],
            one["config"],
            bool(one.get("processor")),
        )
        for one in yaml.safe_load(text)["models"]
    )


def find_published(model: str) -> Published | None:
    """Return what is published of a model of this name on the hub; None where nothing is known of it here."""
    return next((one for one in published() if one.model == model), None)


def tensors(one: Published) -> list[Tensor]:
    """Return the tensors of a model, by its configuration."""
    if one.stored == "gguf":
        return _scaled(one)
    found: list[Tensor] = []
    for name, shape, quantized in _shapes(one.config):
        size = int(prod(shape) * (_BYTES.get(one.stored, 0.0) if quantized else 2.0))
        if quantized and (packed := _PACKED.get(one.stored)):
            shape = (size // packed,)
        found.append(Tensor(name, _NAMES[one.stored] if quantized else "BF16", shape, 0, size))
    rest = one.weights - sum(tensor.size or 0 for tensor in found)
    if rest > 0 and "ForConditionalGeneration" in one.config["architectures"][0]:
        found.append(Tensor("visual.blocks.weight", "BF16", (rest // 2,), 0, rest))
    return found


def _scaled(one: Published) -> list[Tensor]:
    """Return the tensors of a GGUF file: its size is known, and what each tensor has of it nearly."""
    shapes = list(_shapes(one.config))
    count = sum(prod(shape) for _, shape, _ in shapes)
    return [Tensor(name, "Q4_K", shape, 0, round(one.weights * prod(shape) / count)) for name, shape, _ in shapes]


def _shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """Yield name and shape of each tensor, and whether its weights are quantized where the model's are."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    yield "model.embed_tokens.weight", (vocabulary, hidden), False
    if not config.get("tie_word_embeddings"):
        yield "lm_head.weight", (vocabulary, hidden), False
    layers = config["num_hidden_layers"] + config.get("num_nextn_predict_layers", 0)
    mixed = config["model_type"] == "gpt_oss"  # there the experts alone are quantized
    heads, kv, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    for layer in range(layers):
        base = f"model.layers.{layer}"
        yield f"{base}.self_attn.q_proj.weight", (heads * size, hidden), not mixed
        yield f"{base}.self_attn.k_proj.weight", (kv * size, hidden), not mixed
        yield f"{base}.self_attn.v_proj.weight", (kv * size, hidden), not mixed
        yield f"{base}.self_attn.o_proj.weight", (hidden, heads * size), not mixed
        yield f"{base}.input_layernorm.weight", (hidden,), False
        yield f"{base}.post_attention_layernorm.weight", (hidden,), False
        yield from _feed_forward(config, base, layer)


def _feed_forward(config: Mapping[str, Any], base: str, layer: int) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    hidden = config["hidden_size"]
    experts = config.get("num_experts") or config.get("n_routed_experts") or config.get("num_local_experts") or 0
    if not experts or layer < config.get("first_k_dense_replace", 0):
        wide = config["intermediate_size"]
        yield f"{base}.mlp.gate_proj.weight", (wide, hidden), True
        yield f"{base}.mlp.up_proj.weight", (wide, hidden), True
        yield f"{base}.mlp.down_proj.weight", (hidden, wide), True
        return
    wide = config.get("moe_intermediate_size") or config["intermediate_size"]
    yield f"{base}.mlp.gate.weight", (experts, hidden), False
    yield f"{base}.mlp.experts.gate_up_proj", (experts, 2 * wide, hidden), True
    yield f"{base}.mlp.experts.down_proj", (experts, hidden, wide), True
    if shared := config.get("n_shared_experts", 0):
        yield f"{base}.mlp.shared_experts.gate_proj.weight", (shared * wide, hidden), True
        yield f"{base}.mlp.shared_experts.up_proj.weight", (shared * wide, hidden), True
        yield f"{base}.mlp.shared_experts.down_proj.weight", (hidden, shared * wide), True


@lru_cache(maxsize=64)
def published_facts(model: str) -> ModelFacts | None:
    """Return the facts of a model to begin with, by its name on the hub; None where nothing is known of it here."""
    from vllm_studio_tui.models.facts import facts_from

    one = find_published(model)
    if one is None:
        return None
    facts = facts_from(one.full_config, tensors(one))
    if one.stored == "gguf":
        facts = replace(facts, quantization=model.partition(":")[2], source="gguf", dtype="float16")
    if one.stored in _PACKED:
        facts = replace(facts, parameters=sum(prod(shape) for _, shape, _ in _shapes(one.config)))
    return replace(facts, exact=bool(one.weights))
