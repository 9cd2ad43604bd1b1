"""The engine's log: which stage it has reached, why it failed, and keeping it within its size.

The engine writes straight to the file. The keeper only reads, and frees the middle when it grows too large.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllm_studio_tui.domain.spec import Failure, Stage
from vllm_studio_tui.keeper.causes import Cause, find, informs_only

#: Bytes read at once: a flood is skipped over, it is not followed.
CHUNK = 256 * 1024
#: Of a log that is too large this much of the head stays: the cause of a failure is there.
HEAD = 2 * 1024 * 1024
LINE = 4096
#: So many of the lines that came between two looks are looked at.
LINES = 4000
#: A longer number is none that an engine counts.
DIGITS = 15

_COLOUR = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_NOISE = re.compile(
    r"^\s*$|% Completed \||\d/\d{1,15} \[[\d:?<, ]|^\s*[~^]+\s*$|^\s+File \"|^Traceback |^\s{4,}\S"
    r"|^nanobind: |^ - (?:leaked |\.\.\. skipped)|^\s+warnings\.warn\("
    r"|^\S{1,300}\(\S{0,300}\+0x[0-9a-f]{1,16}\) ?\[0x[0-9a-f]{1,16}\]$"  # frames of a native backtrace
)


#: What a follower, or `srun --label`, puts before a line that one of several ranks, pods or replicas wrote.
_LABEL = re.compile(
    r"^(?:\d{1,5}: |\[(?!(?i:vllm-studio|info|warn|warning|error|debug|trace|fatal|critical)\])"
    r"(?:\d{1,5} [^\]\s]{1,253}|[A-Za-z0-9][\w.-]{0,252})\] )"
)


def plain(raw: bytes, *, labelled: bool = False) -> list[str]:
    """Return lines of a log without colours; a carriage return ends a line as a progress bar means it to.

    Args:
        labelled: Who wrote a line may stand before it, and is taken off.
    """
    text = _COLOUR.sub("", raw.replace(b"\0", b"").decode("utf-8", errors="replace")).replace("\r", "\n")
    lines = [line[:LINE] for line in text.split("\n")]
    return [_LABEL.sub("", line, count=1) for line in lines] if labelled else lines


def not_blank(lines: Sequence[str]) -> list[str]:
    """Return the lines that are not blank: of millions of those none says anything."""
    return [line for line in lines if line and not line.isspace()]


class LogWatch:
    """Follows one attempt of an engine through its log.

    Args:
        labelled: See `plain`.
    """

    def __init__(
        self, path: Path, stages: Sequence[Stage], failures: Sequence[Failure], *, labelled: bool = False
    ) -> None:
        self._path, self._labelled = path, labelled
        self._stages = [(re.compile(stage.pattern), stage.name) for stage in stages]
        self.failures = failures
        self._fatal = [row for row in failures if row.fatal]
        #: A line that says that this start cannot come to a good end, though the engine goes on.
        self.fatal: Cause | None = None
        self._offset = self._begin = self.size()
        self._rest = b""
        self.stage: str | None = None
        self.progress: float | None = None
        #: Every stage in the order in which it was first reached; several may be passed between two looks.
        self.reached: list[str] = []
        self.anything = False

    def size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    @property
    def begin(self) -> int:
        """Where in the file this attempt begins, in bytes."""
        return self._begin

    def begin_at(self, offset: int) -> None:
        """Follow from an earlier place, as after an adoption."""
        self._offset = self._begin = offset
        self._rest = b""

    def follow(self) -> bool:
        """Read what is new; True when the stage or its progress moved."""
        before = (self.stage, self.progress)
        size = self.size()
        if size < self._offset:  # somebody cut the file
            self._offset = self._begin = 0
            self._rest = b""
        if size == self._offset:
            return False
        self.anything = True
        if size - self._offset > CHUNK:
            self._offset, self._rest = size - CHUNK, b""
        with contextlib.suppress(OSError), self._path.open("rb") as stream:
            stream.seek(self._offset)
            raw = self._rest + stream.read(CHUNK)
            self._offset = stream.tell()
            cut = max(raw.rfind(b"\n"), raw.rfind(b"\r")) + 1
            self._rest = raw[cut:][-LINE:]
            for line in not_blank(plain(raw[:cut], labelled=self._labelled))[-LINES:]:
                self._note(line)
        return (self.stage, self.progress) != before

    def _note(self, line: str) -> None:
        if self._fatal and self.fatal is None:
            self.fatal = find([line], self._fatal)
        for pattern, name in self._stages:
            found = pattern.search(line)
            if found is None:
                continue
            self.stage = name
            if name not in self.reached:
                self.reached.append(name)
            self.progress = _share(found.groupdict())
            return

    def attempt_lines(self) -> list[str]:
        """Return the lines of this attempt: its head, where causes are, and its tail."""
        with contextlib.suppress(OSError), self._path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            begin = min(self._begin, size)
            stream.seek(begin)
            raw = stream.read(HEAD)
            if size - begin > HEAD:
                stream.seek(max(begin + HEAD, size - CHUNK))
                raw += b"\n" + stream.read(CHUNK)
            return not_blank(plain(raw, labelled=self._labelled))
        return []


def _share(groups: Mapping[str, str | None]) -> float | None:
    """What a stage's line says of its progress, 0-1: a count of a count, or percent. A number may be any text."""
    part, whole = (groups.get("n"), groups.get("m")) if groups.get("m") else (groups.get("percent"), "100")
    if part is None or whole is None or max(len(part), len(whole)) > DIGITS:
        return None
    try:
        share = float(part) / float(whole)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return min(1.0, max(0.0, share)) if math.isfinite(share) else None


def meaningful(lines: Sequence[str], count: int = 6) -> list[str]:
    """Return the last lines that say something: no blanks, no source excerpts of a traceback, no repeats.

    Where any line is more than information, those that merely inform are left out.
    """
    telling = [line for line in lines if not informs_only(line) and not _NOISE.search(line)]
    own = [line for line in telling if not line.startswith("[vllm-studio]")]
    chosen: list[str] = []
    for line in reversed(own or lines):
        text = line.strip()
        if _NOISE.search(line) or text.startswith("[vllm-studio]") or text in chosen:
            continue
        chosen.append(text[:400])
        if len(chosen) == count:
            break
    return chosen[::-1]


def mark(path: Path, attempt: int) -> None:
    """Write a line between attempts, so that a reader sees where one ends. A full disk is no error."""
    line = f"[vllm-studio] attempt {attempt} at {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n"
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)


def trim(path: Path, limit: int) -> bool:
    """Free the middle of a log that takes more than `limit` bytes on the disk; True when it did.

    The file keeps its length: the hole reads as zero bytes, which every reader here passes over. Where the file
    system cannot punch holes the head is copied aside and the file is cut; the engine appends at its new end.
    """
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_blocks * 512 <= limit:
        return False
    head = min(HEAD, limit // 4)
    tail = max(limit // 2, 1)
    begin, end = head, found.st_size - tail
    if end <= begin:
        return False  # the file system has set space aside behind its end: there is no middle
    with contextlib.suppress(OSError), path.open("r+b") as stream:
        error = _punch(stream.fileno(), begin, end - begin)
        if error not in (0, errno.EOPNOTSUPP, errno.ENOSYS):
            return False  # another time, perhaps: nothing that this says is a reason to lose the log
        if error:
            aside = path.with_name(path.name + ".head")
            if not aside.exists():
                stream.seek(0)
                aside.write_bytes(stream.read(head))
                aside.chmod(0o600)
            stream.truncate(0)
        return True
    return False


def _punch(fd: int, offset: int, length: int) -> int:
    """Free a part of a file, which keeps its length: FALLOC_FL_PUNCH_HOLE of fallocate(2). Returns errno."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):
        call = libc.fallocate
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
        return 0 if call(fd, 0x02 | 0x01, offset, length) == 0 else ctypes.get_errno()
    return errno.ENOSYS
