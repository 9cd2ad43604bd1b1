"""Unix sockets by their paths, also those longer than an address can be (107 bytes). Standard library only."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 107


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Yield the address of a socket: a path that is too long is named by a descriptor of its directory."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def bind(path: Path) -> socket.socket:
    """Return a socket that is bound to a path at which there is nothing; only its owner may connect.

    Raises:
        OSError: It cannot be made there.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(path) as name:
            bound.bind(name)
        path.chmod(0o600)
    except BaseException:
        bound.close()
        raise
    return bound


def answers(path: Path) -> bool:
    """Return whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            with address_of(path) as name:
                return probe.connect_ex(name) == 0
        except OSError:
            return False
