"""Recognising a command that a person pasted: which program it runs, and the arguments after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vllm_studio_tui.backends.common import cmdline


@dataclass(frozen=True, slots=True)
class Pasted:
    """A pasted command that runs a known engine.

    Attributes:
        arguments: The words after the program and its subcommand.
        fields: Fields of a recipe that name the program, where the command gives its path.
    """

    arguments: tuple[str, ...]
    fields: Mapping[str, str] = field(default_factory=dict)


def runs_program(words: Sequence[str], name: str, *subcommand: str, keep: str | None = None) -> Pasted | None:
    """Return the command if it runs the program `name` with this subcommand.

    Args:
        keep: The field of a recipe that takes the program where it is given by a path.
    """
    end = 1 + len(subcommand)
    if not words or words[0].rpartition("/")[2] != name or tuple(words[1:end]) != subcommand:
        return None
    return Pasted(tuple(words[end:]), {keep: words[0]} if keep and "/" in words[0] else {})


def as_typed(line: Sequence[str]) -> list[str]:
    """Return the command line of a running process as a person would type it: a script without its interpreter."""
    found = cmdline.program(line)
    if found is None or found.kind != "program" or PurePosixPath(str(line[0])).name == found.name:
        return list(line)
    script = len(line) - len(found.rest) - 1
    return [str(one) for one in line[script:]]


def runs_module(words: Sequence[str], module: str, *subcommand: str) -> Pasted | None:
    """Return the command if it is `python -m MODULE`; an interpreter that is given by a path becomes `python_path`."""
    if not words or not words[0].rpartition("/")[2].startswith("python"):
        return None
    rest = list(words[1:])
    while rest and rest[0] in ("-u", "-O", "-B", "-I", "-s", "-E"):  # of the interpreter, and none of the engine's
        del rest[0]
    end = 2 + len(subcommand)
    if rest[:end] != ["-m", module, *subcommand]:
        return None
    return Pasted(tuple(rest[end:]), {"python_path": words[0]} if "/" in words[0] else {})
