"""A part that sees for the small model of the tests, made of random weights.

llama.cpp loads it beside a model that only reads (`--mmproj`). Pictures are then really decoded, scaled, encoded and
put into the model's context by the engine; only what the model says of them means nothing.
"""

from __future__ import annotations

import random
import struct
from array import array
from math import prod
from pathlib import Path
from typing import Any

from tests.unit.weight_files import text, value

#: Points of a patch's side; each patch becomes one token, from FEWEST to MOST of a picture, which keeps its shape
#: (Phi 4's way: it needs no words of the vocabulary around a picture).
PATCH, FEWEST, MOST = 14, 16, 64
#: Width of the encoder, of its feed forward part, and of the model's own embeddings (SmolLM2-135M).
WIDTH, INNER, MODEL_WIDTH, HEADS, SIDE = 32, 64, 576, 2, 4


def tokens_of(width: int, height: int) -> int:
    """Return the tokens of a picture whose sides are whole patches, and which has neither too few nor too many."""
    tokens = (width // PATCH) * (height // PATCH)
    assert width % PATCH == height % PATCH == 0
    assert FEWEST <= tokens <= MOST
    return tokens


def eyes(path: Path, *, model_width: int = MODEL_WIDTH, seed: int = 1) -> Path:
    """Write a projector of random weights (`mmproj`), of less than 2 MiB; return its path."""
    keys: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": "random eyes",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "phi4",
        "clip.use_gelu": True,
        "clip.vision.image_size": SIDE * PATCH,
        "clip.vision.image_min_pixels": FEWEST * PATCH**2,
        "clip.vision.image_max_pixels": MOST * PATCH**2,
        "clip.vision.patch_size": PATCH,
        "clip.vision.embedding_length": WIDTH,
        "clip.vision.feed_forward_length": INNER,
        "clip.vision.projection_dim": model_width,
        "clip.vision.block_count": 1,
        "clip.vision.attention.head_count": HEADS,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (PATCH, PATCH, 3, WIDTH),
        "v.patch_embd.bias": (WIDTH,),
        "v.position_embd.weight": (WIDTH, SIDE**2),
        "v.post_ln.weight": (WIDTH,),
        "v.post_ln.bias": (WIDTH,),
        "mm.0.weight": (WIDTH, model_width),
        "mm.0.bias": (model_width,),
        "mm.2.weight": (model_width, model_width),
        "mm.2.bias": (model_width,),
        "v.blk.0.ffn_up.weight": (WIDTH, INNER),
        "v.blk.0.ffn_up.bias": (INNER,),
        "v.blk.0.ffn_down.weight": (INNER, WIDTH),
        "v.blk.0.ffn_down.bias": (WIDTH,),
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
        shapes |= {f"v.blk.0.{name}.weight": (WIDTH, WIDTH), f"v.blk.0.{name}.bias": (WIDTH,)}
    for name in ("ln1", "ln2"):
        shapes |= {f"v.blk.0.{name}.weight": (WIDTH,), f"v.blk.0.{name}.bias": (WIDTH,)}
    path.write_bytes(_gguf(keys, shapes, random.Random(seed)))
    return path


def _gguf(keys: dict[str, Any], shapes: dict[str, tuple[int, ...]], chance: random.Random) -> bytes:
    head = [b"GGUF", struct.pack("<IQQ", 3, len(shapes), len(keys))]
    head += [text(name) + value(one) for name, one in keys.items()]
    data = bytearray()
    for name, shape in shapes.items():
        data += b"\0" * (-len(data) % 32)
        head.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data)))
        data += array("f", (chance.gauss(0.0, 0.1) for _ in range(prod(shape)))).tobytes()
    first = b"".join(head)
    return first + b"\0" * (-len(first) % 32) + bytes(data)
