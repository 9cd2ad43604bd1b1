"""Read the header of a safetensors file: its list of tensors, without their data.

The format: eight bytes with the length of the head, the head as JSON, and the numbers of all tensors one after another.
A file may come from anywhere, so no length in it is believed: what is read and what is made of it stay bounded.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeGuard

from vllm_studio_tui.kit.tensors import BadFile, Tensor, TooLarge, opened

#: The largest head that the format's own library reads.
FORMAT_LIMIT = 100_000_000
#: The largest that is read here: a shard of a large model has a tenth of a megabyte, a whole mixture of experts seven.
MAX_HEAD = 8 << 20
#: Bytes of the smallest entry of a tensor, `"a":{"dtype":"F4","shape":[],"data_offsets":[0,0]},`: a head with more
#: brackets or texts than such entries would have is none, and is refused before anything is made of it.
ENTRY = 48
#: Bits of one number.
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Safetensors:
    """The header of a safetensors file.

    Attributes:
        metadata: Texts that its maker put in, such as `format`.
        needed: How many bytes the file must have.
        size: How many it has.
    """

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]
    needed: int
    size: int


def read_safetensors(path: Path, limit: int = MAX_HEAD) -> Safetensors:
    """Read the header of a file. Takes milliseconds for a megabyte of header, whatever the file's size.

    Raises:
        OSError: It cannot be read.
        BadFile: It is no safetensors file, or its head is damaged. A file that is too short for its tensors is not
            refused: `needed` and `size` tell.
        TooLarge: Its head is longer than `limit`.
    """
    with opened(path) as (stream, size):
        first = stream.read(8)
        if len(first) < 8:
            raise BadFile(f"holds {size} bytes and is no safetensors file")
        (length,) = struct.unpack("<Q", first)
        if length > FORMAT_LIMIT:
            raise BadFile("does not begin like a safetensors file")
        if 8 + length > size:
            raise BadFile(f"is cut off in its head: it holds {size} bytes and its head alone takes {8 + length}")
        if length > limit:
            raise TooLarge(f"has a head of {length} bytes")
        head = stream.read(length)
    if len(head) < length:
        raise BadFile("is cut off in its head")
    tensors, metadata = _tensors(head, 8 + length)
    needed = max([8 + length, *(one.begin + (one.size or 0) for one in tensors)])
    return Safetensors(tensors, metadata, needed, size)


def _tensors(head: bytes, start: int) -> tuple[tuple[Tensor, ...], dict[str, str]]:
    most = len(head) // ENTRY + 2
    if head[:1] != b"{" or head.count(b"{") > most or head.count(b"[") > 2 * most or head.count(b",") > 8 * most:
        raise BadFile("has a head that is no list of tensors")
    try:
        entries = json.loads(head.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadFile("has a head that is no JSON") from None
    metadata = entries.pop("__metadata__", None)
    if metadata is not None and not isinstance(metadata, dict):
        raise BadFile("has a head that is no list of tensors")
    tensors = tuple(_tensor(name, entry, start) for name, entry in entries.items())
    return tensors, {key: value for key, value in (metadata or {}).items() if isinstance(value, str)}


def _tensor(name: str, entry: object, start: int) -> Tensor:
    if isinstance(entry, dict):
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if isinstance(dtype, str) and _sizes(shape) and _sizes(offsets) and len(offsets) == 2:
            begin, end = offsets
            bits = BITS.get(dtype)
            if begin <= end and (bits is None or (prod(shape) * bits + 7) // 8 == end - begin):
                return Tensor(name, dtype, tuple(shape), start + begin, end - begin)
    raise BadFile(f"has a head that makes no sense: tensor {name[:80]!r}")


def _sizes(value: object) -> TypeGuard[list[int]]:
    """Return whether it is a short list of lengths that a file can have."""
    return (
        isinstance(value, list) and len(value) <= 16 and all(type(one) is int and 0 <= one < 1 << 62 for one in value)
    )
