"""Reads files that other programs left, of a bounded size."""

from __future__ import annotations

import os
from pathlib import Path


def read_bounded(path: str, most: int) -> bytes:
    """Return the bytes of a file, one more than are allowed of one that is larger. Blocking.

    Raises:
        OSError: It cannot be read.
    """
    try:
        fd = os.open(Path(path).expanduser(), os.O_RDONLY | os.O_CLOEXEC)
    except (ValueError, RuntimeError) as error:  # a name that is none, a home that there is not
        raise OSError(None, str(error)) from None
    with os.fdopen(fd, "rb") as file:
        return file.read(most + 1)


def unwritten(path: str) -> list[str]:
    """Say that a database has changes that are not in its file yet. Blocking."""
    try:
        waits = Path(f"{Path(path).expanduser()}-wal").stat().st_size > 0
    except (OSError, ValueError, RuntimeError):
        return []
    return ["its last changes are not in the file yet: end the program that has it open, then import again"] * waits
