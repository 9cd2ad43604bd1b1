"""Doing something as a user without rights: root may read everything, and would see nothing wrong."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def as_nobody(act: Callable[[], str]) -> str:
    """What `act` returns when a child of ours does it as nobody, or as whoever we are where we are not root."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(into, act().encode()[:60_000])
            code = 0
        except BaseException:  # noqa: BLE001, RUF100
            os.write(into, traceback.format_exc().encode()[:60_000])
        finally:
            os._exit(code)
    os.close(into)
    with os.fdopen(out, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, text
    return text


@contextmanager
def enterable_folder() -> Iterator[Path]:
    """A folder that every user can enter: pytest's own ones are for their owner alone."""
    with tempfile.TemporaryDirectory(prefix="vllm-studio-access-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            for one in sorted(folder.rglob("*")):
                if one.is_dir():
                    one.chmod(0o700)
