"""Disks without room and places that cannot be written: real ones where the tests may mount."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def _mount(*words: str) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
    return False


@contextlib.contextmanager
def own_disk(path: Path, megabytes: int) -> Iterator[Path | None]:
    """A small file system of its own; None where this user may not mount one."""
    path.mkdir(parents=True, exist_ok=True)
    mounted = _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    try:
        yield path if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int = 1) -> Iterator[Path]:
    """A small file system of its own; where none can be mounted the test is skipped."""
    with own_disk(path, megabytes) as disk:
        if disk is None:
            pytest.skip("only where a file system can be mounted")
        yield disk


def fill(disk: Path) -> Path:
    """Take all the room there is; the file that holds it."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Nothing below this directory can be written: for root by a mount, for others by the rights of directories."""
    if os.geteuid() == 0:
        if not (_mount("--bind", str(path), str(path)) and _mount("-o", "remount,bind,ro", str(path))):
            pytest.skip("root, and nothing can be mounted")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(path)], check=True)
        return
    inside = [path, *(one for one in path.rglob("*") if one.is_dir())]
    for one in inside:
        one.chmod(0o500)
    try:
        yield
    finally:
        for one in inside:
            one.chmod(0o700)
