"""What is read of a model's files: shape, weights, quantization; from any file, without an exception."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.domain.architecture import CacheGroup, CacheKind, Part
from vllm_studio_tui.models.config_shape import shape_of
from vllm_studio_tui.models.facts import UnknownModel, facts_from, read_facts

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512, "torch_dtype": "bfloat16",
}  # fmt: skip


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    """Write a safetensors file whose numbers are a hole."""
    sizes = {"BF16": 2, "F32": 4, "I32": 4, "F8_E4M3": 1, "U8": 1, "F16": 2}
    head, at = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = sizes[dtype] * math.prod(shape)
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(head).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + at)


def test_a_folder_is_read_by_its_tensors(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    safetensors(
        tmp_path / "model.safetensors",
        {
            "model.embed_tokens.weight": ("BF16", [100, 64]),
            "model.layers.0.self_attn.q_proj.weight": ("BF16", [64, 64]),
            "model.layers.0.input_layernorm.weight": ("F32", [64]),
            "lm_head.weight": ("BF16", [100, 64]),
        },
    )
    facts = read_facts(tmp_path)
    assert facts.parameters == 100 * 64 * 2 + 64 * 64 + 64
    assert facts.part(Part.EMBEDDING) == facts.part(Part.HEAD) == 100 * 64 * 2
    assert facts.part(Part.COPIED) == 64 * 4
    assert facts.exact and facts.dtype == "bfloat16" and facts.quantization == ""
    assert facts.architecture.caches == (CacheGroup(CacheKind.FULL, 2, 2, 16, 16),)
    assert facts.architecture.context == 512


def test_what_changes_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    safetensors(tmp_path / "model.safetensors", {"a.weight": ("BF16", [8])})
    assert read_facts(tmp_path).bytes == 16
    safetensors(tmp_path / "model.safetensors", {"a.weight": ("BF16", [800])})
    assert read_facts(tmp_path).bytes == 1600


def test_packed_weights_count_as_what_they_stand_for(tmp_path: Path) -> None:
    config = {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors(
        tmp_path / "model.safetensors",
        {"l.q_proj.qweight": ("I32", [8, 64]), "l.q_proj.scales": ("F16", [1, 64]), "l.q_proj.g_idx": ("I32", [64])},
    )
    facts = read_facts(tmp_path)
    assert (facts.parameters, facts.quantization, facts.bits) == (64 * 64, "gptq", 4.0)


def test_older_weights_are_reckoned_from_the_size_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\0" * 4000)
    (tmp_path / "training_args.bin").write_bytes(b"\0" * 4000)
    facts = read_facts(tmp_path)
    assert facts.bytes == 4000 and not facts.exact and facts.parameters is None


@pytest.mark.parametrize("name", ["missing", "empty", "text.gguf"])
def test_what_is_no_model_is_refused_in_words(tmp_path: Path, name: str) -> None:
    if name == "empty":
        (tmp_path / name).mkdir()
    elif name != "missing":
        (tmp_path / name).write_text("no model")
    with pytest.raises(UnknownModel) as raised:
        read_facts(tmp_path / name)
    assert raised.value.cause and raised.value.advice


KEYS = sorted(
    {*LLAMA, "text_config", "layer_types", "sliding_window", "rope_scaling", "kv_lora_rank", "quantization_config",
     "block_configs", "linear_attn_config", "hybrid_override_pattern", "attn_layer_indices", "num_kv_shared_layers",
     "mamba_n_heads", "cross_attention_layers", "is_encoder_decoder", "full_attention_interval", "attn_config"}
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["full_attention", "M*-"]),
)
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
)


@given(st.dictionaries(st.sampled_from(KEYS), ANY))
@settings(max_examples=400, deadline=None)
def test_no_configuration_raises(config: dict[str, object]) -> None:
    shape = shape_of(config)
    assert shape.layers >= 0 and all(group.numbers >= 0 and group.state >= 0 for group in shape.caches)
    facts_from(config, [])
