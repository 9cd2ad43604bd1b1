"""Read parts of a model's files, bounded in size and time. Nothing here raises: errors are returned as text."""

from __future__ import annotations

import functools
import json
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllm_studio_tui.kit.file_access import Trouble, read_trouble, status
from vllm_studio_tui.kit.gguf import Gguf, read_gguf
from vllm_studio_tui.kit.safetensors import read_safetensors
from vllm_studio_tui.kit.tensors import BadFile, TooLarge, opened

#: Entries of one folder that are looked at, and seconds: it may lie on a slow file server.
MOST, SECONDS = 5000, 2.0
#: Bytes of a JSON file that are read whole, and of an index of shards: that of a trillion parameters takes twenty.
MAX_JSON, MAX_INDEX = 4 << 20, 32 << 20
#: Of a tokenizer, which may take more than thirty, only both ends are looked at above this.
MAX_PARSED = 2 << 20
POINTER = b"version https://git-lfs"


class Listing(dict[str, int]):
    """The files of a folder and their sizes.

    Attributes:
        whole: All were seen; else nothing can be said of what is not among them.
    """

    whole: bool = True


def listing(folder: Path) -> Listing:
    """Return the files of a folder, of a large one some; none where it cannot be read."""
    sizes, deadline = Listing(), time.monotonic() + SECONDS
    try:
        with os.scandir(folder) as entries:
            for number, one in enumerate(entries):
                if number >= MOST or time.monotonic() > deadline:
                    sizes.whole = False
                    break
                found = status(one.path)
                if not isinstance(found, Trouble) and stat.S_ISREG(found.st_mode):
                    sizes[one.name] = found.st_size
    except (OSError, ValueError):
        sizes.whole = False
    return sizes


def absent(path: Path) -> bool:
    """Return whether nothing is there; False where that is unknown."""
    found = status(path)
    return isinstance(found, Trouble) and found.reason in ("missing", "broken_link")


def start_of(path: Path, count: int) -> bytes:
    """Return the first bytes of a file; none where it cannot be read."""
    try:
        with opened(path) as (stream, _):
            return stream.read(count)
    except (OSError, BadFile):
        return b""


def is_pointer(path: Path) -> bool:
    """Return whether it is a pointer of Git LFS, which stands where a large file was not fetched."""
    return start_of(path, len(POINTER)) == POINTER


def json_object(path: Path, limit: int = MAX_JSON) -> tuple[dict[str, Any], str]:
    """Return the object in a JSON file, and an empty text; or an empty object, and why it cannot be used."""
    wrong = read_trouble(path)
    if wrong is not None:
        return {}, wrong.words
    data = start_of(path, limit + 1)
    if len(data) > limit:
        return {}, ""
    if data.startswith(POINTER):
        return {}, f"{path} is a pointer of Git LFS and holds nothing"
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        why = f": {error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        return {}, f"{path} is empty" if not data.strip() else f"{path} is no JSON{why}"
    return (value, "") if isinstance(value, dict) else ({}, f"{path} holds no JSON object")


def shards_of(index: Path) -> frozenset[str]:
    """Return the files that an index of shards names; none where it names none."""
    found = status(index)
    return frozenset() if isinstance(found, Trouble) else _shards(index, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=8)
def _shards(index: Path, _changed: int, _size: int) -> frozenset[str]:
    named = json_object(index, MAX_INDEX)[0].get("weight_map")
    return frozenset(one for one in named.values() if isinstance(one, str)) if isinstance(named, dict) else frozenset()


def json_trouble(path: Path) -> str:
    """Return why a JSON file that may be large cannot be used; empty where nothing is seen."""
    wrong = read_trouble(path)
    if wrong is not None:
        return wrong.words
    try:
        with opened(path) as (stream, size):
            if size > MAX_PARSED:
                begin = stream.read(1 << 12).lstrip()
                stream.seek(-(1 << 12), os.SEEK_END)
                whole = begin.startswith(b"{") and stream.read().rstrip().endswith(b"}")
                return "" if whole else f"{path} is cut off or no JSON"
    except (OSError, BadFile):
        return ""
    return json_object(path)[1]


def safetensors_trouble(path: Path) -> str:
    """Return why a safetensors file cannot be loaded; empty where nothing is seen."""
    found = status(path)
    return found.words if isinstance(found, Trouble) else _safetensors(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=1024)
def _safetensors(path: Path, _changed: int, _size: int) -> str:
    """Kept, because all shards of a large model take a third of a second and a screen asks again and again."""
    try:
        found = read_safetensors(path)
    except TooLarge:
        return ""
    except BadFile as error:
        return f"{path.name} {error}"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}"
    if found.size < found.needed:
        return f"{path.name} is cut off: it holds {found.size:,} bytes of {found.needed:,}"
    if found.size > found.needed:
        return f"{path.name} is damaged: it holds {found.size:,} bytes, and its head tells of {found.needed:,}"
    return ""


def gguf_of(path: Path) -> Gguf | str:
    """Return the header of a GGUF file, or why it cannot be read; an empty text where it is too large."""
    found = status(path)
    if isinstance(found, Trouble):
        return found.words
    return _gguf(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=8)
def _gguf(path: Path, _changed: int, _size: int) -> Gguf | str:
    """Kept, because a vocabulary takes a tenth of a second and a screen asks again and again."""
    try:
        return read_gguf(path)
    except TooLarge:
        return ""
    except BadFile as error:
        return f"{path.name} {error}"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}"


def shown(names: Sequence[str], most: int = 3) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
