"""The files below a folder that a person may mean: a walk that ends soon, and leaves out what is made by programs."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

#: Files and folders that are listed, folders that are read, and seconds that it takes at most.
MOST, MOST_FOLDERS, SECONDS = 20_000, 4_000, 2.0
#: Entries of one folder that are read, and bytes and lines of one list of what to ignore.
IN_ONE, IGNORE_BYTES, IGNORE_LINES = 5_000, 64 * 1024, 500
#: Folders that hold what programs made.
NOISE = frozenset({
    ".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".nox", ".mypy_cache",
    ".ruff_cache", ".pytest_cache", ".cache", ".idea", ".gradle", ".terraform", "target", "dist", "build",
    "site-packages", ".next", ".eggs", "wandb", "blobs",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found.

    Attributes:
        paths: Relative to the folder, with `/` between; those of folders end with it. Nearer ones come first.
        whole: Nothing was left out for want of time or room.
    """

    paths: tuple[str, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    base: str
    pattern: str
    keep: bool
    folders: bool
    anchored: bool

    def matches(self, path: str, name: str, *, folder: bool) -> bool:
        if self.folders and not folder:
            return False
        if not self.anchored:
            return fnmatchcase(name, self.pattern)
        return path.startswith(self.base) and fnmatchcase(path[len(self.base) :], self.pattern)


def walk(root: str | Path, *, hidden: bool = False, seconds: float = SECONDS) -> Walk:
    """Return the files and folders below a folder. Links to folders are not followed. Blocking; no folder raises.

    Args:
        hidden: Those whose names begin with a dot too.
    """
    until = time.monotonic() + seconds
    found: list[str] = []
    waiting: deque[tuple[str, tuple[_Rule, ...]]] = deque([("", ())])
    whole, read = True, 0
    while waiting:
        inside, rules = waiting.popleft()
        if len(found) >= MOST or read >= MOST_FOLDERS or time.monotonic() > until:
            return Walk(tuple(found[:MOST]), whole=False)
        read += 1
        names, all_of_it = _entries(os.path.join(root, inside))  # noqa: PTH118, RUF100
        whole = whole and all_of_it
        if any(name == ".gitignore" for name, _ in names):
            rules = (*rules, *_rules(os.path.join(root, inside, ".gitignore"), inside))  # noqa: PTH118, RUF100
        for name, folder in names:
            if (name.startswith(".") and not hidden) or (folder and name in NOISE):
                continue
            path = f"{inside}{name}"
            if _ignored(rules, path, name, folder=folder):
                continue
            found.append(f"{path}/" if folder else path)
            if folder:
                waiting.append((f"{path}/", rules))
    return Walk(tuple(found[:MOST]), whole=whole and len(found) <= MOST)


def _entries(folder: str) -> tuple[list[tuple[str, bool]], bool]:
    """Return names and whether each is a folder, files first, by name; and whether that is all."""
    found: list[tuple[str, bool]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(found) >= IN_ONE:
                    return sorted(found, key=_order), False
                try:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    usable = is_folder or entry.is_file()
                    entry.name.encode()
                except (OSError, UnicodeEncodeError):
                    continue
                if usable and entry.name.isprintable():
                    found.append((entry.name, is_folder))
    except (OSError, ValueError):
        return [], True
    return sorted(found, key=_order), True


def _order(entry: tuple[str, bool]) -> tuple[bool, str]:
    return entry[1], entry[0].lower()


def _rules(path: str, base: str) -> list[_Rule]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123, RUF100
            text = file.read(IGNORE_BYTES).decode(errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines()[:IGNORE_LINES]:
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep = pattern.startswith("!")
        pattern = pattern.lstrip("!")
        folders = pattern.endswith("/")
        pattern = pattern.rstrip("/")
        if pattern.startswith("**/"):
            pattern = pattern[3:]
            anchored = "/" in pattern
            pattern = f"*{pattern}" if anchored else pattern
        else:
            anchored = "/" in pattern
        pattern = pattern.lstrip("/")
        if pattern and pattern.count("*") <= 8:
            found.append(_Rule(base, pattern, keep, folders, anchored))
    return found


def _ignored(rules: tuple[_Rule, ...], path: str, name: str, *, folder: bool) -> bool:
    for rule in reversed(rules):  # the last one that matches holds
        if rule.matches(path, name, folder=folder):
            return not rule.keep
    return False
