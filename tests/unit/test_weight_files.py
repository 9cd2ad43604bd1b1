"""Readers of safetensors and GGUF: what whole files say, and that no bytes whatever raise, wait or take memory."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.weight_files import MODEL, gguf, safetensors, text
from vllm_studio_tui.kit.gguf import Array, Gguf, read_gguf
from vllm_studio_tui.kit.safetensors import Safetensors, read_safetensors
from vllm_studio_tui.kit.tensors import BadFile, Tensor, TooLarge

#: What the head of a file of any kind may take to be read.
MEMORY = 32 << 20
#: Bytes of the hostile heads; watching memory takes thirty times as long as reading.
HEAD = 2 << 20
READERS: tuple[Callable[[Path], Safetensors | Gguf], ...] = (read_safetensors, read_gguf)


def said(reader: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises((BadFile, TooLarge)) as caught:
        reader(path)
    return str(caught.value)


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_safetensors_tell_their_tensors(tmp_path: Path) -> None:
    whole = put(tmp_path / "m", safetensors({"a": (2, 3), "b": (5,)}, format="pt"))
    found = read_safetensors(whole)
    size = whole.stat().st_size
    assert (found.metadata, found.needed, found.size) == ({"format": "pt"}, size, size)
    assert found.tensors[0] == Tensor("a", "F32", (2, 3), size - 44, 24)
    assert [one.count for one in found.tensors] == [6, 5]


def test_safetensors_that_were_cut_off_are_seen(tmp_path: Path) -> None:
    cut = read_safetensors(put(tmp_path / "m", safetensors({"a": (2, 3)}, cut=1)))
    assert cut.needed == cut.size + 1
    assert "cut off in its head" in said(read_safetensors, put(tmp_path / "m", safetensors()[:40]))
    assert "no safetensors" in said(read_safetensors, put(tmp_path / "m", b""))
    assert "does not begin" in said(read_safetensors, put(tmp_path / "m", b"<!DOCTYPE html><html>"))


@pytest.mark.parametrize(
    "head",
    [b"[]", b"{", b"{}" * 30, b'{"a":1}', b'{"a":{}}', b'{"__metadata__":[]}', b"{\xff}",
     b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,5]}}',
     b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
     b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}',
     b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
     b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % (b"9" * 5000)],
)  # fmt: skip
def test_a_head_that_makes_no_sense_is_refused(tmp_path: Path, head: bytes) -> None:
    path = put(tmp_path / "m", struct.pack("<Q", len(head)) + head + b"\0" * 64)
    assert "head" in said(read_safetensors, path)


def test_a_type_that_is_not_known_yet_is_no_fault(tmp_path: Path) -> None:
    head = b'{"a":{"dtype":"F2_NEW","shape":[3],"data_offsets":[0,1]}}'
    found = read_safetensors(put(tmp_path / "m", struct.pack("<Q", len(head)) + head + b"\0"))
    assert (found.tensors[0].dtype, found.needed) == ("F2_NEW", found.size)


def test_gguf_tells_its_model_and_its_tensors(tmp_path: Path) -> None:
    values = {**MODEL, "x.list": [1, 2, 3], "x.long": [7] * 2000, "x.words": ["w" * 9] * 2000, "x.on": True, "x.f": 0.5}
    whole = put(tmp_path / "m.gguf", gguf(values))
    found = read_gguf(whole)
    size = whole.stat().st_size
    assert (found.version, found.readable, found.needed, found.size) == (3, True, size, size)
    assert found.values["general.architecture"] == "llama"
    assert found.values["x.list"] == (1, 2, 3)
    assert found.values["x.long"] == found.values["x.words"] == Array(2000)
    assert (found.values["x.on"], found.values["x.f"]) == (True, 0.5)
    assert found.tensors == (Tensor("blk.0.w", "F32", (64,), size - 256, 256),)


def test_gguf_that_was_cut_off_or_is_of_another_kind_is_seen(tmp_path: Path) -> None:
    cut = read_gguf(put(tmp_path / "m", gguf(cut=1)))
    assert cut.needed == cut.size + 1
    assert "cut off in its head" in said(read_gguf, put(tmp_path / "m", gguf()[:90]))
    assert "does not begin with GGUF" in said(read_gguf, put(tmp_path / "m", b"<html>"))
    assert not read_gguf(put(tmp_path / "m", gguf(version=4))).readable
    assert not read_gguf(put(tmp_path / "m", gguf(version=1))).readable
    other = read_gguf(put(tmp_path / "m", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)))
    assert (other.version, other.big_endian, other.readable) == (3, True, False)


@given(st.binary(max_size=400))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for reader in READERS:
            for begin in (b"", b"GGUF\3\0\0\0", struct.pack("<Q", len(data)), b"GGUF" + struct.pack("<IQQ", 3, 1, 2)):
                path = put(Path(folder) / "m", begin + data)
                try:
                    found = reader(path)
                except (BadFile, TooLarge):
                    continue
                assert found.size == len(begin + data)


WHOLE = (safetensors({"a": (2, 3), "b": (4,)}, format="pt"), gguf({**MODEL, "x.words": ["w"] * 40, "x.n": [1, 2]}))


@given(st.integers(0, 1), st.integers(0, 400), st.integers(0, 400), st.binary(max_size=9))
@example(0, 1, 227, b"")
def test_a_real_file_cut_and_changed_anywhere_is_read_or_refused(which: int, cut: int, at: int, put_in: bytes) -> None:
    data = WHOLE[which][: len(WHOLE[which]) - cut]
    data = data[:at] + put_in + data[at + len(put_in) :]
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder) / "m", data)
        try:
            found = READERS[which](path)
        except (BadFile, TooLarge):
            return
        assert found.needed > found.size or put_in or not cut


HOSTILE: dict[str, bytes] = {
    "a head of empty lists": struct.pack("<Q", HEAD) + b'{"a":[' + b"[]," * (HEAD // 3),
    "a head of nested lists": struct.pack("<Q", 3_000_000) + b'{"a":' + b"[" * 3_000_000,
    "a head of numbers": struct.pack("<Q", HEAD) + b'{"a":[' + b"1234567," * (HEAD // 8),
    "a head of small entries": (
        struct.pack("<Q", HEAD)
        + b"{"
        + b'"a":{"dtype":"F4","shape":[],"data_offsets":[0,0]},' * (HEAD // 50)
        + b"  " * 100
    ),
    "all the lengths there are": b"GGUF" + struct.pack("<IQQ", 3, 2**64 - 1, 2**64 - 1) + b"\0" * 4000,
    "a text of the file's length": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**40) + b"\0" * 4000,
    "a list of many texts": b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + text("k")
    + struct.pack("<IIQ", 9, 8, 100_000)
    + b"\0" * 800_000,
    "a list of too many texts": b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + text("k")
    + struct.pack("<IIQ", 9, 8, 2_500_000)
    + b"\0" * 20_000_000,
    "many short lists": b"GGUF"
    + struct.pack("<IQQ", 3, 0, 2000)
    + (text("k") + struct.pack("<IIQ", 9, 0, 1024) + b"\0" * 1024) * 2000,
    "many texts": b"GGUF" + struct.pack("<IQQ", 3, 0, 10_000) + (text("k") + b"\x08\0\0\0" + text("é" * 3000)) * 10_000,
    "many tensors": b"GGUF" + struct.pack("<IQQ", 3, 8000, 0) + (text("t") + struct.pack("<IQIQ", 1, 1, 0, 0)) * 8000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_takes_neither_memory_nor_time(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "m", HOSTILE[name])
    reader = read_gguf if HOSTILE[name].startswith(b"GGUF") else read_safetensors
    began = time.thread_time()
    with contextlib.suppress(BadFile, TooLarge):
        reader(path)
    taken = time.thread_time() - began
    assert taken < 5.0, f"{taken} s"  # it is far less than one; the bound is for a machine under load
    tracemalloc.start()
    with contextlib.suppress(BadFile, TooLarge):
        reader(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEMORY


def test_a_fifo_is_not_waited_for_and_a_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for reader in READERS:
        with pytest.raises(BadFile, match="regular"):
            reader(tmp_path / "fifo")
        with pytest.raises((BadFile, OSError)):
            reader(tmp_path)
        with pytest.raises(OSError, match="No such file"):
            reader(tmp_path / "x")
        with pytest.raises(BadFile):
            reader(Path("a\0b"))
