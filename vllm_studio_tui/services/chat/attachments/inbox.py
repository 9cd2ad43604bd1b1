"""Files that another terminal hands to the chat that is open: a folder of small files, each taken once."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from vllm_studio_tui.kit import safe_json
from vllm_studio_tui.kit.paths import Places, private_dir, write_atomic
from vllm_studio_tui.kit.process import alive, start_ticks

#: Files that are taken at once, and bytes of one.
MOST, MOST_BYTES = 50, 64 * 1024


def folder(places: Places) -> Path:
    """Return where the files lie."""
    return places.state / "attach"


def hand_over(places: Places, paths: Sequence[str]) -> bool:
    """Leave paths for the chat that is open; return whether one is. Blocking.

    Raises:
        OSError: The folder cannot be written.
    """
    where = private_dir(folder(places))
    name = f"{time.time_ns():020d}-{os.getpid()}.json"
    write_atomic(where / name, json.dumps(list(paths)).encode(errors="surrogateescape"))
    return any(_lives(one) for one in where.glob("open-*"))


def take(places: Places) -> list[str]:
    """Return the paths that were left, oldest first; each goes to one studio alone. Blocking; never raises."""
    found: list[str] = []
    try:
        names = sorted(one.name for one in folder(places).iterdir() if one.suffix == ".json" and one.name[:1] != ".")
    except OSError:
        return found
    for name in names[:MOST]:
        path = folder(places) / name
        try:
            with path.open("rb") as file:
                given = safe_json.loads(file.read(MOST_BYTES))
            path.unlink()  # who could do that has it
        except ValueError:
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        except OSError:
            continue
        found += [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
    return found


def changed(places: Places) -> int:
    """Return a number that changes when something was left."""
    try:
        return folder(places).stat().st_mtime_ns
    except OSError:
        return 0


def set_open(places: Places, *, on: bool) -> None:
    """Say that a chat of this process is open, or no longer. Blocking; a folder that cannot be written is no error."""
    pid = os.getpid()
    with contextlib.suppress(OSError):
        mark = private_dir(folder(places)) / f"open-{pid}"
        if on:
            mark.write_text(str(start_ticks(pid) or ""))
        else:
            mark.unlink()


def _lives(mark: Path) -> bool:
    try:
        pid, start = int(mark.name.removeprefix("open-")), mark.read_text()
    except (OSError, ValueError):
        return False
    if alive(pid, int(start) if start.isdigit() else None):
        return True
    with contextlib.suppress(OSError):
        mark.unlink()
    return False
