"""Recovery files: ends of answers that could not be kept, until a database takes them in.

Each is a JSON document of one answer, private, and written as a whole. It names the process that wrote it: while
that lives, the answer is its own business.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.kit.paths import private_dir, write_atomic
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.finished_answers import Ending, from_document, recover_ending, to_document
from vllm_studio_tui.store.messages import lease, lease_holds

_log = logging.getLogger(__name__)

FORMAT = "vllm-studio-unsaved"
MAX_BYTES = 512 * 1024 * 1024
#: Seconds to wait for others that are writing: whoever opens the chats must not wait for long.
PATIENCE = 0.3


def write_recovery(folders: Sequence[Path], ending: Ending) -> Path | None:
    """Write an ending, in place of an earlier file of it; None if no folder could be written."""
    document = {"format": FORMAT, "version": 1, "owner": lease(), "at": time.time(), "ending": to_document(ending)}
    data = json.dumps(document).encode()
    for folder in folders:
        try:
            if not _ours(private_dir(folder)):
                continue
            path = folder / f"{ending.key}.json"
            write_atomic(path, data)
        except OSError as error:
            _log.info("no recovery file in %s: %s", folder, error)
            continue
        forget_recovery([other for other in folders if other != folder], ending.key)
        return path
    return None


def forget_recovery(folders: Sequence[Path], key: str) -> None:
    """Delete the files of an ending that is saved."""
    for folder in folders:
        with contextlib.suppress(OSError):
            (folder / f"{key}.json").unlink(missing_ok=True)
            folder.rmdir()  # where it was the last one


def fold_recovered(db: Database, folders: Sequence[Path]) -> int:
    """Save the endings that dead processes left, and return how many. What fails stays for the next time."""
    if db.read_only:
        return 0
    taken = 0
    for path in sorted(_files(folders), key=_written):
        try:
            owner, ending = _read(path)
            if lease_holds(owner, _written(path), at=time.time()):
                continue
            recover_ending(db, ending, patience=PATIENCE)
        except StoreError as error:
            _log.info("%s is taken in later: %s", path, error)
            continue
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            _log.warning("%s cannot be read: %s", path, error)
            continue
        forget_recovery([path.parent], path.stem)
        taken += 1
    return taken


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        with contextlib.suppress(OSError):
            if _ours(folder):
                yield from folder.glob("*.json")


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _ours(folder: Path) -> bool:
    """Return whether only we can have made and can write a folder: some lie in folders that all may write."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _read(path: Path) -> tuple[str, Ending]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(fd, "rb") as file:
        document = json.loads(file.read(MAX_BYTES))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("no recovery file of ours")
    return str(document.get("owner")), from_document(document["ending"])
