"""Find the version of an installed engine without running it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_SITES = ("lib/python3*/site-packages", "lib64/python3*/site-packages", "lib/python3/dist-packages")


def installed_version(program: Path, package: str) -> str | None:
    """Return the version of a package in the environment that a program or interpreter belongs to.

    Read off the name of its dist-info directory, next to the program itself, what it links to, or the interpreter in
    its first line; None when it cannot be told.

    Raises:
        OSError: The program cannot be read.
    """
    for site in environments_of(program):
        for found in sorted(site.glob(f"{package}-*.dist-info"), reverse=True):
            version = found.name.removeprefix(f"{package}-").removesuffix(".dist-info")
            if version[:1].isdigit():
                return version
    return None


def environments_of(program: Path) -> Iterator[Path]:
    """Yield the folders of packages of the environment that a program or interpreter belongs to.

    Raises:
        OSError: The program cannot be read.
    """
    homes = [program.parent.parent, Path(os.path.realpath(program)).parent.parent]
    interpreter = _interpreter(program)
    if interpreter is not None:
        homes.append(interpreter.parent.parent)
    for home in homes:
        for pattern in _SITES:
            yield from sorted(home.glob(pattern), reverse=True)


def numbers(version: str | None) -> tuple[int, int] | None:
    """Return the major and minor number; None where a version begins otherwise."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None


def _interpreter(script: Path) -> Path | None:
    """Return the interpreter that a script's first line names."""
    with script.open("rb") as stream:
        line = stream.readline(1024)
    found = re.match(rb"#!\s*(/\S+/python[\d.]*)\s*$", line)
    return Path(os.fsdecode(found[1])) if found else None
