"""Secrets by reference: `env:NAME` and `file:PATH`. Only references are stored; values are read when needed.

Standard library only: the keeper imports this. No message here ever holds a value.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

#: A larger file is not a key.
MAX_FILE = 64 * 1024

_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)\Z")
_FILE = re.compile(r"file:([^\0\n]+)\Z")


def is_reference(text: str) -> bool:
    """Return whether the text is a reference to a secret rather than a secret."""
    return bool(_ENV.match(text) or _FILE.match(text))


def resolve(ref: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the secret that a reference names: a variable, or the first line of a file.

    Args:
        ref: `env:NAME` or `file:PATH`; `~` in a path is the user's home.
        environ: Where variables are looked up; None: the environment of this process.

    Raises:
        ValueError: It is no reference, or there is nothing to read. The message names the reference only.
    """
    if match := _ENV.match(ref):
        value = (os.environ if environ is None else environ).get(match[1], "").strip()
        if not value:
            raise ValueError(f"{ref}: the variable is not set or empty")
        return value
    if match := _FILE.match(ref):
        return _first_line(ref, os.path.expanduser(match[1]))  # noqa: PTH111, RUF100
    # What was given may be the secret itself, so it is not repeated.
    raise ValueError("not a reference to a secret: use env:NAME or file:PATH")


def _first_line(ref: str, path: str) -> str:
    try:
        # A named pipe must not make us wait, hence O_NONBLOCK; it is refused below.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"{ref}: {error.strerror or 'cannot be opened'}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{ref}: not a regular file")
        if status.st_size > MAX_FILE:
            raise ValueError(f"{ref}: larger than {MAX_FILE // 1024} KiB")
        data = os.read(fd, MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"{ref}: {error.strerror or 'cannot be read'}") from None
    finally:
        os.close(fd)
    if len(data) > MAX_FILE:
        raise ValueError(f"{ref}: larger than {MAX_FILE // 1024} KiB")
    try:
        value = data.split(b"\n", 1)[0].decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{ref}: the first line is not text") from None
    if not value:
        raise ValueError(f"{ref}: the first line is empty")
    return value
