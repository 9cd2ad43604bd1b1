"""Read the header of a GGUF file: its metadata and its list of tensors, without their data.

The format is that of llama.cpp (versions 2 and 3): counts, keys with values, tensors, and then the numbers. A file may
come from anywhere, so no count or length in it is believed: what is read and what is kept stay bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Final

from vllm_studio_tui.kit.tensors import BadFile, Tensor, TooLarge, opened

MAGIC = b"GGUF"
VERSIONS = (2, 3)
#: Bytes of keys, values and tensors that are read: a vocabulary of 260 000 words takes 15 MB.
MAX_HEAD = 64 << 20
#: Keys and tensors that a file may have; llama.cpp's largest models have some thousands.
MAX_KEYS = 1 << 14
MAX_TENSORS = 1 << 15
#: Elements of an array that are kept, and of all together: one value for each layer, never a vocabulary.
KEPT, ALL_KEPT = 1024, 1 << 16
#: Bytes of all texts that are kept: chat templates take some ten thousand.
MAX_TEXT = 4 << 20
#: Texts that are passed over: the largest vocabularies have 0.8 million words and merges.
MAX_WORDS = 2_000_000
#: Bytes of the name of a key or tensor.
MAX_NAME = 1 << 10
_CHUNK = 1 << 20
_SCALARS: Final[Mapping[int, str]] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_TEXT, _ARRAY = 8, 9
#: Types of tensors: name, numbers in a block, bytes of a block (ggml.c, `type_traits`).
TYPES: Final[Mapping[int, tuple[str, int, int]]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Array:
    """The length of an array that is too long to be kept."""

    length: int


Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...] | Array


@dataclass(frozen=True, slots=True)
class Gguf:
    """The header of a GGUF file.

    Attributes:
        version: Of the format; of one that is not in `VERSIONS` nothing else is known.
        big_endian: Its numbers are written the other way round: nothing else is known then, too.
        values: What it says of its model: `general.architecture`, `llama.block_count`, ..
        needed: How many bytes the file must have, as far as the types of its tensors are known.
        size: How many it has.
    """

    version: int
    big_endian: bool
    values: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    needed: int
    size: int

    @property
    def readable(self) -> bool:
        """Return whether its version and byte order are ones that we, and llama.cpp on this machine, read."""
        return self.version in VERSIONS and not self.big_endian


def read_gguf(path: Path, limit: int = MAX_HEAD) -> Gguf:
    """Read the header of a file. Takes a tenth of a second for a large vocabulary, whatever the file's size.

    Raises:
        OSError: It cannot be read.
        BadFile: It is no GGUF file, or its head is damaged. One that is too short for its tensors is not refused:
            `needed` and `size` tell.
        TooLarge: Its head is longer than `limit`.
    """
    with opened(path) as (stream, size):
        head = _Head(stream, size, limit)
        if head.take(4) != MAGIC:
            raise BadFile("does not begin with GGUF")
        version = head.number("<I")
        if version & 0xFFFF == 0:
            return Gguf(int.from_bytes(version.to_bytes(4, "little"), "big"), True, {}, (), 0, size)
        if version not in VERSIONS:
            return Gguf(version, False, {}, (), 0, size)
        tensor_count, key_count = head.number("<Q"), head.number("<Q")
        # The least that each takes; so no count can ask for more than the file has.
        if key_count > MAX_KEYS or tensor_count > MAX_TENSORS or key_count * 13 + tensor_count * 24 > size:
            raise BadFile(f"has a damaged head: {key_count} keys, {tensor_count} tensors in {size} bytes")
        values = {}
        for _ in range(key_count):
            key = head.name()
            values[key] = _value(head, head.number("<I"))
        alignment = values.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            raise BadFile("has a damaged head: its alignment is no power of two")
        found = [_tensor(head) for _ in range(tensor_count)]
        start = -(-head.at // alignment) * alignment
    tensors = tuple(Tensor(one.name, one.dtype, one.shape, start + one.begin, one.size) for one in found)
    needed = max([head.at, *(one.begin + (one.size or 0) for one in tensors)])
    return Gguf(version, False, values, tensors, needed, size)


class _Head:
    """Reads the bytes from the start of the file in order, never more than `limit`."""

    def __init__(self, stream: BinaryIO, size: int, limit: int) -> None:
        self._stream = stream
        self._size, self._limit = size, limit
        self._buffer = b""
        self._from = 0  # where in the buffer the next byte is
        self.at = 0
        self.text_left, self.elements_left, self.words_left = MAX_TEXT, ALL_KEPT, MAX_WORDS

    def _want(self, count: int) -> None:
        """Fill the buffer with at least `count` bytes."""
        have = len(self._buffer) - self._from
        if have >= count:
            return
        if self.at + count > self._size:
            raise BadFile(f"is cut off in its head, after {self._size} bytes")
        if self.at + count > self._limit:
            raise TooLarge(f"has a head of more than {self._limit} bytes")
        more = self._stream.read(max(count - have, min(_CHUNK, self._size)))
        self._buffer, self._from = self._buffer[self._from :] + more, 0
        if len(self._buffer) < count:
            raise BadFile("is cut off in its head")

    def take(self, count: int) -> bytes:
        self._want(count)
        data = self._buffer[self._from : self._from + count]
        self._from += count
        self.at += count
        return data

    def skip(self, count: int) -> None:
        """Skip bytes in pieces, so that a long array takes no memory."""
        while count > 0:
            count -= len(self.take(min(count, _CHUNK)))

    def number(self, form: str) -> int:
        size = struct.calcsize(form)
        self._want(size)
        (value,) = struct.unpack_from(form, self._buffer, self._from)
        self._from += size
        self.at += size
        return int(value)

    def scalar(self, form: str) -> Scalar:
        value: Scalar = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def name(self) -> str:
        length = self.number("<Q")
        if length > MAX_NAME:
            raise BadFile(f"has a damaged head: a name of {length} bytes")
        return self.take(length).decode("utf-8", errors="replace")

    def text(self) -> str:
        """Read a text; empty once too many bytes of text are kept."""
        length = self.number("<Q")
        if length > self.text_left:
            self.skip(length)
            return ""
        self.text_left -= length
        return self.take(length).decode("utf-8", errors="replace")

    def may_keep(self, count: int) -> bool:
        """Return whether an array of so many elements is kept."""
        if count > min(KEPT, self.elements_left):
            return False
        self.elements_left -= count
        return True

    def skip_texts(self, count: int) -> None:
        """Skip texts: a vocabulary has hundreds of thousands, so this loop has to be quick."""
        if count * 8 > self._size - self.at:
            raise BadFile(f"has a damaged head: a list of {count} texts")
        if count > self.words_left:
            raise TooLarge(f"has a list of {count} texts")
        self.words_left -= count
        unpack, buffer, at = struct.Struct("<Q").unpack_from, self._buffer, self._from
        end = len(buffer) - 8
        for _ in range(count):
            if at <= end:
                after = at + 8 + unpack(buffer, at)[0]
                if after <= end + 8:
                    at = after
                    continue
            self.at += at - self._from
            self._from = at
            self.skip(self.number("<Q"))
            buffer, at = self._buffer, self._from
            end = len(buffer) - 8
        self.at += at - self._from
        self._from = at


def _value(head: _Head, kind: int) -> Value:
    if kind == _TEXT:
        return head.text()
    if kind in _SCALARS:
        return head.scalar(_SCALARS[kind])
    if kind != _ARRAY:
        raise BadFile(f"has a damaged head: a value of the unknown type {kind}")
    inner, length = head.number("<I"), head.number("<Q")
    if inner == _TEXT:
        if head.may_keep(length):
            return tuple(head.text() for _ in range(length))
        head.skip_texts(length)
    elif inner in _SCALARS:
        form = _SCALARS[inner]
        if head.may_keep(length):
            return tuple(head.scalar(form) for _ in range(length))
        head.skip(length * struct.calcsize(form))
    else:
        raise BadFile(f"has a damaged head: an array of the unknown type {inner}")
    return Array(length)


def _tensor(head: _Head) -> Tensor:
    name = head.name()
    dimensions = head.number("<I")
    if dimensions > 8:
        raise BadFile(f"has a damaged head: a tensor of {dimensions} dimensions")
    shape = tuple(head.number("<Q") for _ in range(dimensions))
    kind, offset = head.number("<I"), head.number("<Q")
    if prod(shape) >= 1 << 62 or offset >= 1 << 62:
        raise BadFile(f"has a damaged head: tensor {name[:80]!r}")
    label, block, size = TYPES.get(kind, (str(kind), 1, None))
    return Tensor(name, label, shape, offset, None if size is None else -(-prod(shape) // block) * size)
