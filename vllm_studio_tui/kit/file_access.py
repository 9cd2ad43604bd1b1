"""Check whether a file can be read, or run as a program, and say why not. Nothing is started.

Nothing here raises, whatever stands on the disk: a look that fails is itself what there is to say.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from dataclasses import dataclass

#: What the kernel reads of a script to find its interpreter (BINPRM_BUF_SIZE).
FIRST_LINE = 256
#: Interpreters may be scripts themselves; the kernel follows no more than this.
DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a file cannot be used.

    Attributes:
        reason: `missing`, `broken_link`, `unreachable`, `folder`, `no_file`, `unreadable`, `not_executable`,
            `interpreter_missing`, `no_program`, `failed`.
        words: A sentence without its full stop; it names the file.
        advice: What to do, a sentence; empty where only the path can be wrong.
    """

    reason: str
    words: str
    advice: str = ""


def expanded(path: str) -> str:
    """Return the path with the home for a `~` before it; a stray `~name` stays as it is, as in a shell."""
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111, RUF100


def status(path: str | os.PathLike[str]) -> os.stat_result | Trouble:
    """Return the file's status (links followed), or why it cannot be found out."""
    name = os.fspath(path)
    try:
        return os.stat(name)  # noqa: PTH116, RUF100
    except (FileNotFoundError, NotADirectoryError):
        return _missing(name)
    except PermissionError:
        return _unreachable(name)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Trouble("failed", f"{name} cannot be looked at: {why}")


def version_mark(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    """Return what is another after the file was written or replaced (time in ns, bytes, inode); None: there is none."""
    found = status(path)
    return None if isinstance(found, Trouble) else (found.st_mtime_ns, found.st_size, found.st_ino)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether the path leads to a folder that we can see."""
    found = status(path)
    return not isinstance(found, Trouble) and stat.S_ISDIR(found.st_mode)


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether the path leads to a regular file that we can see."""
    found = status(path)
    return not isinstance(found, Trouble) and stat.S_ISREG(found.st_mode)


def read_trouble(path: str | os.PathLike[str], *, folder: bool = False) -> Trouble | None:
    """Return why we cannot read a file, or list a folder; None if we can."""
    name, found = os.fspath(path), status(path)
    if isinstance(found, Trouble):
        return found
    if folder != stat.S_ISDIR(found.st_mode):
        return Trouble("no_folder", f"{name} is no folder") if folder else Trouble("folder", f"{name} is a folder")
    if not folder and not stat.S_ISREG(found.st_mode):
        return Trouble("no_file", f"{name} is no regular file")
    if not os.access(name, os.R_OK | os.X_OK if folder else os.R_OK):
        verb = "listed" if folder else "read"
        advice = f"Give {_user(os.getuid())} the right to read it: chmod or chown."
        return Trouble("unreadable", f"{name} cannot be {verb} by {_user(os.getuid())} ({_rights(found)})", advice)
    return None


def program_trouble(path: str | os.PathLike[str], search: str | None = None, _depth: int = 0) -> Trouble | None:
    """Return why a file cannot be run; None if nothing speaks against it.

    Args:
        search: The PATH in which `#!/usr/bin/env NAME` will look.
    """
    name, found = os.fspath(path), status(path)
    if isinstance(found, Trouble):
        return found
    if stat.S_ISDIR(found.st_mode):
        return Trouble("folder", f"{name} is a folder", "Name the program inside it.")
    if not stat.S_ISREG(found.st_mode):
        return Trouble("no_file", f"{name} is no regular file")
    if not os.access(name, os.X_OK):
        return _not_executable(name, found)
    head = _head(name)
    if head is None or head.startswith(b"\x7fELF"):
        return None  # one may run what one may not read
    if not head.startswith(b"#!"):
        if b"\0" in head:
            return None  # the kernel may know more formats than we do
        what = "is text without a first line `#!`" if head else "is empty"
        return Trouble("no_program", f"{name} {what}, and no program", "Name the engine's program.")
    return _script(name, head, search, _depth)


def explain_program(program: str, search: str | None = None) -> Trouble | None:
    """Return why `program`, a path or a name for PATH, cannot be run; None if it can."""
    if "/" in program:
        return program_trouble(program, search)
    found = shutil.which(program, path=search)
    if found:
        return program_trouble(found, search)
    for folder in (search if search is not None else os.environ.get("PATH", os.defpath)).split(os.pathsep):
        place = f"{folder}/{program}"
        if folder and is_file(place):
            return program_trouble(place, search)
    return Trouble("missing", f"{program} is not in PATH")


def _missing(name: str) -> Trouble:
    try:
        target = os.readlink(name)  # noqa: PTH115, RUF100
    except (OSError, ValueError):
        return Trouble("missing", f"{name} does not exist")
    words = f"{name} is a link to {target}, which does not exist"
    return Trouble("broken_link", words, "Make again what it leads to, or name another.")


def _unreachable(name: str) -> Trouble:
    """Name the first folder on the way that may not be entered."""
    parts = os.path.abspath(name).split("/")[1:-1]  # noqa: PTH100, RUF100
    place = ""
    for part in parts:
        place = f"{place}/{part}"
        if not os.access(place, os.X_OK):
            try:
                rights = f" ({_rights(os.stat(place))})"  # noqa: PTH116, RUF100
            except OSError:
                rights = ""
            user = _user(os.getuid())
            words = f"{name} cannot be looked at: {user} may not enter {place}{rights}"
            return Trouble("unreachable", words, f"Let {user} in: chmod or chown, or move it.")
    return Trouble("unreachable", f"{name} cannot be looked at: permission denied")


def _not_executable(name: str, found: os.stat_result) -> Trouble:
    if not found.st_mode & 0o111:
        words = f"{name} is not executable ({_rights(found)})"
        return Trouble("not_executable", words, f"Is it the program? Then: chmod +x {name}")
    try:
        if os.statvfs(name).f_flag & os.ST_NOEXEC:
            words = f"{name} lies on a file system that is mounted noexec"
            return Trouble("not_executable", words, "Move it to another file system, or mount this one with exec.")
    except OSError:
        pass
    user = _user(os.getuid())
    words = f"{name} cannot be executed by {user} ({_rights(found)})"
    return Trouble("not_executable", words, f"Give {user} the right to execute it.")


def _head(name: str) -> bytes | None:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(handle, FIRST_LINE)
    except OSError:
        return None
    finally:
        os.close(handle)


def _script(name: str, head: bytes, search: str | None, depth: int) -> Trouble | None:
    line, _, _ = head[2:].partition(b"\n")
    words = [os.fsdecode(one) for one in line.strip(b" \t").split(maxsplit=1)]
    if line.endswith(b"\r") and words:
        # The kernel takes the carriage return for a part of the name.
        text = f"{name} has lines that end in CR LF, and so its interpreter {words[0]} is not found"
        return Trouble("interpreter_missing", text, f"Write it with Unix line ends: sed -i 's/\\r$//' {name}")
    if not words or not words[0].startswith("/") or depth >= DEEPEST:
        return None
    interpreter = words[0]
    inner = program_trouble(interpreter, search, depth + 1)
    if inner is None and os.path.basename(interpreter) == "env" and len(words) > 1:  # noqa: PTH119, RUF100
        called = words[1].split()[0]
        if not called.startswith("-") and "=" not in called:
            inner = None if shutil.which(called, path=search) else Trouble("missing", f"{called} is not in PATH")
    if inner is None:
        return None
    said = f"{name} is a script whose interpreter cannot be run: {inner.words}"
    return Trouble(
        "interpreter_missing",
        said,
        "An environment that was moved, or whose Python was removed, has to be made again; the path may be an old one.",
    )


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _rights(found: os.stat_result) -> str:
    """Return mode and owner as `ls -l` prints them."""
    owner = _user(found.st_uid).removeprefix("user ")
    return f"mode {stat.S_IMODE(found.st_mode):04o}, owner {owner}"
