"""Weight files as tests need them, written as the formats say."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
KINDS = {bool: 7, int: 4, float: 6, str: 8}


def safetensors(tensors: Mapping[str, tuple[int, ...]] = {"a": (2, 3)}, cut: int = 0, **metadata: str) -> bytes:
    """A file of F32 tensors by name and shape, without its last `cut` bytes."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, shape in tensors.items():
        size = 4
        for one in shape:
            size *= one
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(entries).encode()
    whole = struct.pack("<Q", len(head)) + head + b"\1" * at
    return whole[: len(whole) - cut]


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(one: Any) -> bytes:
    if isinstance(one, list):
        kind = KINDS[type(one[0])] if one else 8
        inner = b"".join(value(each)[4:] for each in one)
        return struct.pack("<IIQ", 9, kind, len(one)) + inner
    kind = KINDS[type(one)]
    form = {7: "<?", 4: "<I", 6: "<f"}.get(kind)
    return struct.pack("<I", kind) + (text(one) if form is None else struct.pack(form, one))


#: What a small model says of itself.
MODEL: Mapping[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["a", "b"],
}


def gguf(values: Mapping[str, Any] = MODEL, *, version: int = 3, cut: int = 0, numbers: int = 64) -> bytes:
    """A file with one F32 tensor of so many numbers, without its last `cut` bytes."""
    head = b"GGUF" + struct.pack("<IQQ", version, 1, len(values))
    for key, one in values.items():
        head += text(key) + value(one)
    head += text("blk.0.w") + struct.pack("<IQIQ", 1, numbers, 0, 0)
    head += b"\0" * (-len(head) % 32)
    whole = head + b"\1" * (4 * numbers)
    return whole[: len(whole) - cut]


def model(folder: Path, **files: bytes | str | None) -> Path:
    """A whole model of safetensors, with files changed or, by None, left out; `__` stands for a dot."""
    contents: dict[str, bytes | str | None] = {
        "config__json": '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}',
        "tokenizer__json": '{"version": "1.0"}',
        "tokenizer_config__json": json.dumps({"chat_template": TEMPLATE}),
        "model__safetensors": safetensors(),
        **files,
    }
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        if data is not None:
            (folder / name.replace("__", ".")).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder
