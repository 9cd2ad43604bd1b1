"""The settings file: read with the line of each setting, and only where nobody else can have written it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm_studio_tui.domain.errors import SettingsError

#: A larger file is not a settings file.
MAX_FILE = 256 * 1024


def read_file(path: Path, known: Callable[[str, str], None]) -> dict[str, tuple[Any, int]]:
    """Return key to value and line number; empty without a file.

    Args:
        known: Raises for a key that is no setting; its second argument says where it stands.
    """
    text = read_text(path)
    if text is None:
        return {}
    import yaml  # deferred: most homes have no settings file

    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise unreadable(where, getattr(error, "problem", None) or "not YAML") from None
    except (RecursionError, ValueError):  # nested too deep, or a date that does not exist
        raise unreadable(str(path), "not YAML that a settings file needs") from None
    if data is None:
        return {}
    if not isinstance(document, yaml.MappingNode) or not isinstance(data, dict):
        raise unreadable(str(path), "not a list of `key: value` lines")
    lines: dict[str, int] = {}
    for node, _ in document.value:
        key, line = str(node.value), node.start_mark.line + 1
        where = f"{path}, line {line}"
        known(key, where)
        if key in lines:
            raise SettingsError(
                f"{key} is set twice",
                cause=f"{where}, and line {lines[key]}.",
                advice="Remove one of the two.",
            )
        lines[key] = line
    if isinstance(data.get("models_dirs"), str):
        data["models_dirs"] = [data["models_dirs"]]
    return {key: (value, lines[key]) for key, value in data.items() if value is not None}


def read_text(path: Path) -> str | None:
    """Return the text of a file that only its owner can have written; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(str(path), error.strerror or "cannot be opened") from None
    with os.fdopen(fd, "rb") as stream:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise unreadable(str(path), "not a regular file")
        if found.st_size > MAX_FILE:
            raise unreadable(str(path), f"larger than {MAX_FILE // 1024} KiB")
        _refuse_shared(path, found)
        with contextlib.suppress(OSError):
            _refuse_shared(path.parent, path.parent.stat())
        try:
            return stream.read(MAX_FILE + 1).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            raise unreadable(str(path), "not text in UTF-8") from None


def _refuse_shared(path: Path, found: os.stat_result) -> None:
    """Refuse a settings file that others can write: settings name programs that are started as this user."""
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise SettingsError(
            "the settings can be written by other users",
            cause=f"{path} has mode {stat.S_IMODE(found.st_mode):04o}.",
            advice=f"chmod go-w {path}",
        )
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError(
            "the settings belong to another user",
            cause=f"{path} is owned by user {found.st_uid}.",
            advice="Copy the file, or set VLLM_STUDIO_HOME to a directory of yours.",
        )


def read_table(text: str, where: str) -> Any:
    """Return the value of a setting that is a table, written on one line.

    Raises:
        SettingsError: It is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise unreadable(where, "not a table in YAML or JSON") from None


def lines_of(text: str, key: str) -> tuple[int, int, str] | None:
    """Return the first and last line of a setting, from 0, and the comment behind it; None where it is not set."""
    import yaml

    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise unreadable(f"the text of {key}", getattr(error, "problem", None) or "not YAML") from None
    for name, value in document.value if isinstance(document, yaml.MappingNode) else ():
        if name.value == key:
            first, end = name.start_mark.line, value.end_mark
            # A list with a line for each entry ends where the next setting begins.
            last = max(first, end.line - 1 if end.column == 0 else end.line)
            lines = text.splitlines()
            while last > first and not lines[last].partition("#")[0].strip():
                last -= 1
            rest = lines[end.line][end.column :] if end.line == first else ""
            return first, last, rest if rest.strip().startswith("#") else ""
    return None


def unreadable(where: str, why: str) -> SettingsError:
    return SettingsError(
        "the settings cannot be read", cause=f"{where}: {why}", advice="Correct the file or remove it."
    )
