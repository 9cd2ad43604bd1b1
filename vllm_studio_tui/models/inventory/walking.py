"""Look through folders that may hold anything: bounded in entries, depth and time, and nothing raises."""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

#: Folders deep, entries in all and of one folder, and seconds, at most: a models folder may be the root of a disk.
DEPTH, MOST, IN_ONE, SECONDS = 6, 200_000, 20_000, 5.0
#: Troubles that are kept.
TROUBLES = 20
#: Folders that hold no models of people, and may be large.
NOISE = frozenset({".git", "node_modules", "__pycache__", "site-packages", "proc", "sys", "dev"})


@dataclass
class Budget:
    """What a look may still cost, and what went wrong on the way.

    Attributes:
        seen: Folders by device and inode: one that is reached again, by a link or a loop of links, is passed over.
    """

    entries: int = MOST
    seconds: float = SECONDS
    troubles: list[str] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> bool:
        """Return whether no more may be looked at."""
        return self.entries <= 0 or time.monotonic() - self._began > self.seconds

    def trouble(self, words: str) -> None:
        """Keep a sentence about something that could not be read."""
        if len(self.troubles) < TROUBLES and words not in self.troubles:
            self.troubles.append(words)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was read.

    Attributes:
        files: Names of regular files, links to them followed.
        folders: Names of the folders in it, links to them followed.
        broken: Names of links that lead nowhere.
    """

    path: str
    files: frozenset[str]
    folders: tuple[str, ...]
    broken: tuple[str, ...] = ()

    def under(self, name: str) -> str:
        """Return the path of an entry."""
        return os.path.join(self.path, name)  # noqa: PTH118, RUF100

    def status(self, name: str) -> tuple[int, float]:
        """Return the bytes of a file and when it last changed; nothing of one that has gone meanwhile. Blocking."""
        try:
            found = os.stat(self.under(name))  # noqa: PTH116, RUF100
        except (OSError, ValueError):
            return 0, 0.0
        return found.st_size, found.st_mtime


def read_folder(path: str, budget: Budget) -> Folder | None:
    """Return a folder; None where it cannot be read, or was read before in this look. Blocking; it never raises."""
    try:
        found = os.stat(path)  # noqa: PTH116, RUF100
        if not stat.S_ISDIR(found.st_mode) or (found.st_dev, found.st_ino) in budget.seen:
            return None
        budget.seen.add((found.st_dev, found.st_ino))
        with os.scandir(path) as entries:
            return _read(path, entries, budget)
    except FileNotFoundError:
        return None
    except PermissionError:
        budget.trouble(f"{path} cannot be read: permission denied")
    except (OSError, ValueError) as error:
        budget.trouble(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")
    return None


def _read(path: str, entries: Iterator[os.DirEntry[str]], budget: Budget) -> Folder:
    files: list[str] = []
    folders: list[str] = []
    broken: list[str] = []
    for count, entry in enumerate(entries):
        if count >= IN_ONE:
            budget.trouble(f"{path} has more than {IN_ONE} entries: the rest was not looked at")
            break
        budget.entries -= 1
        if budget.spent:
            budget.trouble(f"{path} was not read to its end: there is too much to look through")
            break
        try:
            entry.name.encode()
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                files.append(entry.name)
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110, RUF100
                broken.append(entry.name)
        except UnicodeEncodeError:
            budget.trouble(f"{path} has a name that is no UTF-8: it was passed over")
        except (OSError, ValueError):
            continue  # a loop of links
    return Folder(path, frozenset(files), tuple(sorted(folders)), tuple(broken))


def walk(root: str, budget: Budget, *, enter: Callable[[str], bool] | None = None) -> Iterator[Folder]:
    """Yield the folders below a root, the near ones first; whoever is told one may name what of it is entered.

    Args:
        enter: Asked for each folder that was yielded, by its path: whether what is in it is looked at, too.
    """
    waiting = deque([(root, 0)])
    while waiting:
        path, depth = waiting.popleft()
        if budget.spent:
            budget.trouble(f"{root} is too large to look through: not all of it was looked at")
            return
        folder = read_folder(path, budget)
        if folder is None:
            continue
        yield folder
        if enter is not None and not enter(path):
            continue
        inside = [name for name in folder.folders if name not in NOISE and not name.startswith(".")]
        if depth >= DEPTH:
            if inside:
                budget.trouble(f"{path} is {DEPTH} folders deep: what is below was not looked at")
            continue
        waiting.extend((folder.under(name), depth + 1) for name in inside)


def read_small(path: str, most: int) -> bytes | None:
    """Return the bytes of a small regular file; None where it is none, is larger, or cannot be read. Blocking."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            data = file.read(most + 1)
    except OSError:
        return None
    return data if len(data) <= most else None
