"""The built-in tools that read files of one folder. No `..` and no link leads out: each step of a path is opened by
itself, below the one before, and links are not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.tools import Tool
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.tools.functions import Function, schema, text_of, whole_of
from vllm_studio_tui.tools.results import ToolFault

#: Lines that are given of a file, bytes that are read of it.
LINES = 400
MOST_LINES = 5000
MAX_BYTES = 4 * 1024 * 1024
#: Names of a listing, folders and bytes that a search looks at, hits that it gives.
MOST_NAMES = 500
MOST_FOLDERS = 2000
MOST_SEARCHED = 64 * 1024 * 1024
MOST_HITS = 100


def folder_tools(folder: Path) -> list[Function]:
    """Return the tools for a folder."""

    def tool(
        title: str,
        description: str,
        work: Callable[[Path, Mapping[str, Any]], str],
        properties: dict[str, Any],
        *,
        required: list[str],
    ) -> Function:
        async def made(arguments: Mapping[str, Any]) -> str:
            return await asyncio.get_running_loop().run_in_executor(None, work, folder, arguments)

        return Function(
            Tool(f"builtin__{title}", "builtin", title, description, schema(properties, required=required)), made
        )

    where = {"type": "string", "description": "A path below the folder, such as src/main.py."}
    inside = {"type": "string", "description": "A folder below it; without it the folder itself."}
    return [
        tool(
            "read_file",
            f"Read a text file of the folder {folder.name}.",
            _read_file,
            {
                "path": where,
                "first_line": {"type": "integer", "description": "Begin at this line; 1 without it."},
                "lines": {"type": "integer", "description": f"How many lines: 1 to {MOST_LINES}, {LINES} without it."},
            },
            required=["path"],
        ),
        tool(
            "list_files",
            f"List the files of the folder {folder.name}.",
            _list_files,
            {"path": inside},
            required=[],
        ),
        tool(
            "search_files",
            f"Find a text in the files of the folder {folder.name}, and their lines.",
            _search_files,
            {
                "text": {"type": "string", "description": "What to find, as it is written; case counts."},
                "path": inside,
                "names": {"type": "string", "description": "Only files called like this, such as *.py."},
            },
            required=["text"],
        ),
    ]


# --- in a thread ----------------------------------------------------------------------------------------


def _read_file(folder: Path, arguments: Mapping[str, Any]) -> str:
    path = text_of(arguments, "path")
    first = whole_of(arguments, "first_line", 1, 1, 10**9)
    count = whole_of(arguments, "lines", LINES, 1, MOST_LINES)
    with opened(folder, path) as fd:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise ToolFault(f"{path} is a folder; list_files shows what is in it")
        data, size = _bytes(fd), status.st_size
    if b"\0" in data[:8192]:
        raise ToolFault(f"{path} is no text: {numbers.size(size)}")
    lines = data.decode("utf-8", "replace").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    part = lines[first - 1 : first - 1 + count]
    if not part and lines:
        raise ToolFault(f"{path} has {len(lines)} lines")
    whole = size <= MAX_BYTES
    of = f"{len(lines)}" if whole else f"more than {len(lines)}"
    return f"{path}, lines {first} to {first - 1 + len(part)} of {of}\n" + "\n".join(part)


def _list_files(folder: Path, arguments: Mapping[str, Any]) -> str:
    path = text_of(arguments, "path", ".") if arguments.get("path") else "."
    with opened(folder, path) as fd:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise ToolFault(f"{path} is a file; read_file reads it")
        found = _names(fd)
        lines = [_line(fd, name) for name in found[:MOST_NAMES]]
    more = f"\n[{len(found) - MOST_NAMES} more]" if len(found) > MOST_NAMES else ""
    return f"{path}: {len(found)} names\n" + "\n".join(lines) + more


def _search_files(folder: Path, arguments: Mapping[str, Any]) -> str:
    wanted = text_of(arguments, "text", most=500).encode("utf-8", "replace")
    path = text_of(arguments, "path", ".") if arguments.get("path") else "."
    names = text_of(arguments, "names", "*", most=100) if arguments.get("names") else "*"
    hits: list[str] = []
    looked = files = 0
    with opened(folder, path) as top:
        if not stat.S_ISDIR(os.fstat(top).st_mode):
            raise ToolFault(f"{path} is a file; read_file reads it")
    for name, fd in _walk(folder, "/".join(one for one in path.split("/") if one not in ("", "."))):
        if not fnmatchcase(name.rsplit("/", 1)[-1], names):
            continue
        if looked > MOST_SEARCHED or len(hits) >= MOST_HITS:
            hits.append("[cut: there is more; name a folder, or what the files are called]")
            break
        data = _bytes(fd)
        looked, files = looked + len(data), files + 1
        if wanted not in data or b"\0" in data[:8192]:
            continue
        for number, line in enumerate(data.split(b"\n"), 1):
            if wanted in line and len(hits) < MOST_HITS:
                hits.append(f"{name}:{number}: {line[:300].decode('utf-8', 'replace').strip()}")
    return f"{len(hits)} lines in {files} files\n" + "\n".join(hits)


def _walk(folder: Path, top: str) -> Iterator[tuple[str, int]]:
    """Yield the regular files below a folder with a descriptor of each, closed afterwards. Hidden ones are left out."""
    left = [top]
    for _ in range(MOST_FOLDERS):
        if not left:
            return
        place = left.pop()
        with contextlib.suppress(ToolFault), opened(folder, place) as fd:
            folders = []
            for name in _names(fd):
                shown = f"{place}/{name}" if place else name
                if name.startswith("."):
                    continue
                with contextlib.suppress(OSError), _inside(fd, name) as inner:
                    kind = os.fstat(inner).st_mode
                    if stat.S_ISDIR(kind):
                        folders.append(shown)
                    elif stat.S_ISREG(kind):
                        yield shown, inner
            left += reversed(folders)


#: A named pipe must not make us wait, hence O_NONBLOCK.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@contextlib.contextmanager
def _inside(fd: int, name: str) -> Iterator[int]:
    inner = os.open(name, _FLAGS, dir_fd=fd)
    try:
        yield inner
    finally:
        os.close(inner)


@contextlib.contextmanager
def opened(folder: Path, path: str) -> Iterator[int]:
    """Open a file or folder below a folder, and close it at the end.

    Raises:
        ToolFault: There is none, it may not be read, or the path leads out, through a link, or to no file.
    """
    if "\0" in path:
        raise ToolFault("a path has no zero byte in it")
    parts = [one for one in path.split("/") if one not in ("", ".")]
    if path.startswith(("/", "~")) or ".." in parts or len(parts) > 100:
        raise ToolFault(f"{path[:200]}: only paths below the folder are read, written as src/main.py")
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError as error:
        raise ToolFault(f"the folder {folder.name} cannot be opened: {error.strerror}") from None
    try:
        for part in parts:
            inner = os.open(part, _FLAGS, dir_fd=fd)
            os.close(fd)
            fd = inner
        if not stat.S_ISREG(kind := os.fstat(fd).st_mode) and not stat.S_ISDIR(kind):
            raise ToolFault(f"{path} is neither a file nor a folder")
        yield fd
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ToolFault(f"{path} goes through a link, and links are not followed") from None
        raise ToolFault(f"{path} cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)


def _names(fd: int) -> list[str]:
    return sorted(os.listdir(fd))


def _line(fd: int, name: str) -> str:
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return name
    if stat.S_ISDIR(status.st_mode):
        return f"{name}/"
    if stat.S_ISLNK(status.st_mode):
        return f"{name}  a link"
    return f"{name}  {numbers.size(status.st_size)}"


def _bytes(fd: int) -> bytes:
    found = bytearray()
    while len(found) < MAX_BYTES and (piece := os.read(fd, min(1 << 20, MAX_BYTES - len(found)))):
        found += piece
    return bytes(found)
