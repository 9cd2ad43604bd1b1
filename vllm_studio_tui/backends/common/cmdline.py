"""Reading the command lines of other processes, which may say anything.

Elements are compared as wholes and programs by the last part of their path: a file below a folder named `vllm` is no
vLLM, and neither is an editor that was given such a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_PYTHON = re.compile(r"(?:python|pypy)\d*(?:\.\d+)?t?\Z")
#: Options of the Python interpreter that take the next argument.
_WITH_VALUE = frozenset({"-W", "-X", "--check-hash-based-pycs"})
MAX_ARGUMENTS = 4096


@dataclass(frozen=True, slots=True)
class Program:
    """What a command line runs.

    Attributes:
        kind: `program` (an executable or a script), `module` (python -m) or `code` (python -c).
        name: The file's name, the module or the code.
        rest: The arguments after it.
    """

    kind: str
    name: str
    rest: tuple[str, ...]


def program(cmdline: Sequence[str]) -> Program | None:
    """Return what a command line runs, also behind a Python interpreter; None where that is unknown."""
    line = [str(one) for one in cmdline[:MAX_ARGUMENTS]]
    if not line or not line[0]:
        return None
    name = PurePosixPath(line[0]).name
    if not _PYTHON.match(name):
        return Program("program", name, tuple(line[1:]))
    at = 1
    while at < len(line):
        one = line[at]
        if one in ("-m", "-c"):
            if at + 1 >= len(line):
                return None
            return Program("module" if one == "-m" else "code", line[at + 1], tuple(line[at + 2 :]))
        if one in _WITH_VALUE:
            at += 2
        elif one.startswith("-"):
            at += 1
        else:
            return Program("program", PurePosixPath(one).name, tuple(line[at + 1 :])) if one else None
    return None


def option(arguments: Sequence[str], *names: str) -> str | None:
    """Return the value of an option, of several the last: `--port 8000`, `--port=8000`. Underscores count as dashes."""
    found: str | None = None
    for at, one in enumerate(arguments):
        name, equals, value = one.partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
        if name not in names:
            continue
        if equals:
            found = value
        elif at + 1 < len(arguments):
            found = arguments[at + 1]
    return found or None


def port_option(arguments: Sequence[str], default: int | None) -> int | None:
    """Return the port that `--port` names; the default where it names none, None where it is no port."""
    text = option(arguments, "--port")
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535:
        return int(text)
    return None
