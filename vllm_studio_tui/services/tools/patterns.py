"""Patterns of arguments that a person may want to allow, made from those of one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Arguments that hold a command line, and those that hold a path.
COMMANDS = frozenset({"command", "cmd", "script", "commandline", "command_line"})
PATHS = frozenset({"path", "file", "filename", "file_path", "filepath", "directory", "dir", "folder", "uri"})
#: Characters of what a pattern is made from.
LONGEST = 200


def patterns_for(arguments: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Return patterns that cover a call, the narrowest first, each with what it stands for in words.

    Each is narrower than `whatever its arguments`; a call that none can be made for safely has none.
    """
    exact = {name: str(value) for name, value in arguments.items()}
    if not exact or any("*" in value or len(value) > LONGEST for value in exact.values()):
        return []  # an asterisk of the call would stand for anything
    found = [("with exactly these arguments", exact)]
    for name, value in arguments.items():
        if not isinstance(value, str) or not value.isprintable():
            continue
        program, parted, _ = value.partition(" ")
        if name.lower() in COMMANDS and parted and program:
            found.append((f"with {program} …", {**exact, name: f"{program} *"}))
        folder, parted, _ = value.rpartition("/")
        if name.lower() in PATHS and parted and folder:
            found.append((f"in {folder}", {**exact, name: f"{folder}/*"}))
    return found
