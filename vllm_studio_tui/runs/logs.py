"""Reading an engine's log: its end at once however large it is, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.masking import is_secret
from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.runs.read import RunView

CHUNK = 64 * 1024


def known_secrets(run: RunView) -> list[str]:
    """Return the secrets that a run was given, as far as this environment can resolve them: no view may show them."""
    if run.spec is None:
        return []
    values = [value for name, value in run.spec.env.items() if is_secret(name, value)]
    for reference in (*run.spec.env_refs.values(), run.spec.api_key_ref):
        try:
            if reference:
                values.append(secrets.resolve(reference, os.environ))
        except ValueError:
            continue  # not ours to read here: patterns still mask what looks like a key
    return values


def masked_lines(run: RunView, count: int) -> list[str]:
    """Return the last `count` lines of a run's log, known secrets masked.

    Raises:
        OSError: There is no such log.
    """
    hidden = known_secrets(run)
    return [redact(line, hidden) for line in last_lines(run.log, count)]


def follow_masked(run: RunView, *, until: Callable[[], bool]) -> Iterator[str]:
    """Yield lines as they are added to a run's log, known secrets masked, until `until()` is true and all is read."""
    hidden = known_secrets(run)
    for line in follow(run.log, until=until):
        yield redact(line, hidden)


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last `count` lines, read from the end; holes of a trimmed log are skipped.

    Raises:
        OSError: There is no such log.
    """
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            step = min(CHUNK, position)
            position -= step
            stream.seek(position)
            piece = stream.read(step)
            if not piece.strip(b"\0"):
                position = _before_hole(stream.fileno(), position)
                continue
            data = piece.replace(b"\0", b"") + data
    lines = data.decode("utf-8", errors="replace").splitlines()
    return lines[-count:] if count else []


def _before_hole(fd: int, position: int) -> int:
    """Return the start of the hole that ends at `position` (bisected: SEEK_DATA only walks forward)."""
    low, high = 0, position
    while high - low > CHUNK:
        middle = (low + high) // 2
        try:
            data = os.lseek(fd, middle, os.SEEK_DATA)
        except OSError:
            data = position
        if data >= position:
            high = middle
        else:
            low = middle
    return high


def follow(path: Path, *, until: Callable[[], bool], pause: float = 0.2) -> Iterator[str]:
    """Yield lines as they are added, until `until()` is true and everything is read."""
    position = path.stat().st_size if path.exists() else 0
    rest = b""
    while True:
        over = until()
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position, rest = 0, b""
        while size > position:
            with path.open("rb") as stream:
                stream.seek(position)
                data = stream.read(CHUNK)
            if not data:
                break
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", errors="replace").rstrip("\r")
        if over:
            if rest:
                yield rest.decode("utf-8", errors="replace")
            return
        time.sleep(pause)
