"""Files of models that the simulation pretends to have: heads and shapes as published, weights that take no room.

A file is as long as the real one and holds nothing after its head (a sparse file), so what reads sizes, tensors and
configurations reads what it would read of the real model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SIZES = {"BF16": 2, "U8": 1, "F8_E4M3": 1, "F32": 4}


@dataclass(frozen=True, slots=True)
class Shape:
    """The published shape of a model.

    Attributes:
        more: Further values of its configuration.
    """

    id: str
    architecture: str
    family: str
    files: int
    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int
    head: int = 128
    tied: bool = False
    experts: int = 0
    licence: str = "apache-2.0"
    more: Mapping[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """Return its config.json."""
        data: dict[str, Any] = {
            "architectures": [self.architecture],
            "model_type": self.family,
            "num_hidden_layers": self.layers,
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "bfloat16",
        }
        return data | dict(self.more)

    def tensors(self) -> Iterator[tuple[str, str, list[int]]]:
        """Return name, type and shape of each tensor."""
        yield "model.embed_tokens.weight", "BF16", [self.vocabulary, self.hidden]
        for number in range(self.layers):
            layer = f"model.layers.{number}"
            for name, rows in (("q_proj", self.heads), ("k_proj", self.kv_heads), ("v_proj", self.kv_heads)):
                yield f"{layer}.self_attn.{name}.weight", "BF16", [rows * self.head, self.hidden]
            yield f"{layer}.self_attn.o_proj.weight", "BF16", [self.hidden, self.heads * self.head]
            yield from self._experts(layer) if self.experts else self._dense(layer)
            for name in ("input_layernorm", "post_attention_layernorm"):
                yield f"{layer}.{name}.weight", "BF16", [self.hidden]
        yield "model.norm.weight", "BF16", [self.hidden]
        if not self.tied:
            yield "lm_head.weight", "BF16", [self.vocabulary, self.hidden]

    def _dense(self, layer: str) -> Iterator[tuple[str, str, list[int]]]:
        for name in ("gate_proj", "up_proj"):
            yield f"{layer}.mlp.{name}.weight", "BF16", [self.inner, self.hidden]
        yield f"{layer}.mlp.down_proj.weight", "BF16", [self.hidden, self.inner]

    def _experts(self, layer: str) -> Iterator[tuple[str, str, list[int]]]:
        """Return experts in four bits, in blocks of 32 with a scale each."""
        yield f"{layer}.mlp.router.weight", "BF16", [self.experts, self.hidden]
        for name, rows, columns in (
            ("gate_up_proj", 2 * self.inner, self.hidden),
            ("down_proj", self.hidden, self.inner),
        ):
            yield f"{layer}.mlp.experts.{name}_blocks", "U8", [self.experts, rows, columns // 32, 16]
            yield f"{layer}.mlp.experts.{name}_scales", "U8", [self.experts, rows, columns // 32]


_LLAMA = "LlamaForCausalLM"
#: The models that seem to be on the disk.
SHAPES = (
    Shape("Qwen/Qwen3-32B", "Qwen3ForCausalLM", "qwen3", 17, 64, 5120, 25_600, 64, 8, 151_936, 40_960),
    Shape("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", _LLAMA, "llama", 30, 80, 8192, 28_672, 64, 8, 128_256, 131_072,
          licence="mit"),
    Shape("meta-llama/Llama-3.3-70B-Instruct", _LLAMA, "llama", 30, 80, 8192, 28_672, 64, 8, 128_256, 131_072,
          licence="llama3.3"),
    Shape("google/gemma-3-12b-it", "Gemma3ForConditionalGeneration", "gemma3", 5, 48, 3840, 15_360, 16, 8, 262_208,
          131_072, head=256, tied=True, licence="gemma", more={"sliding_window": 1024, "sliding_window_pattern": 6}),
    Shape("mistralai/Mistral-Small-24B-Instruct-2501", "MistralForCausalLM", "mistral", 10, 40, 5120, 32_768, 32, 8,
          131_072, 32_768),
    Shape("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", 5, 28, 3584, 18_944, 28, 4,
          152_064, 128_000),
    Shape("microsoft/phi-4", "Phi3ForCausalLM", "phi3", 6, 40, 5120, 17_920, 40, 10, 100_352, 16_384, licence="mit"),
    Shape("HuggingFaceTB/SmolLM2-135M-Instruct", _LLAMA, "llama", 1, 30, 576, 1536, 9, 3, 49_152, 8192, head=64,
          tied=True),
    Shape("house/judge-8b", _LLAMA, "llama", 4, 32, 4096, 14_336, 32, 8, 128_256, 8192, licence="other"),
    Shape("openai/gpt-oss-120b", "GptOssForCausalLM", "gpt_oss", 15, 36, 2880, 2880, 64, 8, 201_088, 131_072, head=64,
          experts=128, more={
              "num_local_experts": 128, "num_experts_per_tok": 4, "sliding_window": 128,
              "layer_types": ["sliding_attention", "full_attention"] * 18,
              "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
          }),
)  # fmt: skip
#: Of the model that comes while the simulation is open.
COMING = "openai/gpt-oss-120b"


def write_models(hub: Path) -> None:
    """Put all models but the one that comes into a cache of the hub, those that are not there. Blocking."""
    for shape in SHAPES:
        if shape.id != COMING:
            # A disk that takes no file of that length has no such models.
            with contextlib.suppress(OSError):
                write_model(hub, shape)


def commit_of(shape: Shape) -> str:
    """Return the commit that a model seems to be at."""
    return hashlib.sha1(shape.id.encode(), usedforsecurity=False).hexdigest()


def digest_of(shape: Shape, name: str) -> str:
    """Return what stands for the content of a file."""
    return hashlib.sha256(f"{commit_of(shape)} {name}".encode()).hexdigest()


def files_of(shape: Shape) -> list[tuple[str, int]]:
    """Return the files of a model, each with its bytes."""
    return [(name, len(content) if size is None else size) for name, content, size in _contents(shape)]


def write_model(hub: Path, shape: Shape) -> Path:
    """Write a model into a cache of the hub where it is not there yet; return the folder of its snapshot."""
    repo = hub / f"models--{shape.id.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit_of(shape)
    if (snapshot / "config.json").exists():
        return snapshot
    for folder in (repo / "blobs", repo / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(commit_of(shape))
    for name, content, size in _contents(shape):
        blob = repo / "blobs" / digest_of(shape, name)
        _write(blob, content, size)
        link = snapshot / name
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def _contents(shape: Shape) -> list[tuple[str, bytes, int | None]]:
    """Return name, content and bytes of each file; without bytes it is as long as its content."""
    shards = _shards(shape)
    found: list[tuple[str, bytes, int | None]] = []
    index: dict[str, str] = {}
    for number, (head, size) in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        index |= dict.fromkeys(json.loads(head), name)
        found.append((name, len(head).to_bytes(8, "little") + head, 8 + len(head) + size))
    if len(shards) > 1:
        total = sum(size for _, size in shards)
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": index})
        found.append(("model.safetensors.index.json", text.encode(), None))
    readme = f"---\nlicense: {shape.licence}\n---\nSimulated: it holds no weights.\n"
    tokenizer = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}
    return [
        *found,
        ("README.md", readme.encode(), None),
        ("tokenizer_config.json", json.dumps({"model_max_length": shape.context}).encode(), None),
        ("tokenizer.json", json.dumps(tokenizer).encode(), None),
        ("config.json", json.dumps(shape.config(), indent=1).encode(), None),  # last: now it is whole
    ]


def _shards(shape: Shape) -> list[tuple[bytes, int]]:
    """Return the head of each file of the weights, and the bytes that follow it."""
    tensors = [(name, kind, dims, _bytes(kind, dims)) for name, kind, dims in shape.tensors()]
    share = sum(size for *_, size in tensors) / shape.files
    found: list[tuple[dict[str, Any], int]] = [({}, 0)]
    for name, kind, dims, size in tensors:
        head, used = found[-1]
        if head and used + size / 2 > share and len(found) < shape.files:
            found.append(({}, 0))
            head, used = found[-1]
        head[name] = {"dtype": kind, "shape": dims, "data_offsets": [used, used + size]}
        found[-1] = (head, used + size)
    return [(json.dumps(head, separators=(",", ":")).encode(), used) for head, used in found]


def _bytes(kind: str, dims: list[int]) -> int:
    size = _SIZES[kind]
    for one in dims:
        size *= one
    return size


def _write(blob: Path, content: bytes, size: int | None) -> None:
    with blob.open("wb") as stream:
        stream.write(content)
        if size is not None:
            stream.truncate(size)
