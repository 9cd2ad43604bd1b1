"""What the readers of weight files return: tensors with type, shape and position; and their errors."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO


class BadFile(ValueError):
    """The file is damaged or of another format. The text says what is wrong, without the file's name."""


class TooLarge(ValueError):
    """The header of the file is larger than we read. The file may be valid; nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a file.

    Attributes:
        dtype: The type by the name that the format has for it, as `BF16` or `Q4_K`; of one we do not know, its number.
        begin: Where its bytes begin, from the start of the file.
        size: How many bytes it takes; None where its type is not known to us.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    size: int | None

    @property
    def count(self) -> int:
        """Return the number of elements."""
        return prod(self.shape)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file and yield it with its size in bytes; pipes and devices are refused.

    Raises:
        OSError: It cannot be opened.
        BadFile: It is no regular file, or its name is none.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in the name
        raise BadFile(str(error)) from None
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise BadFile("is no regular file")
        yield stream, found.st_size
