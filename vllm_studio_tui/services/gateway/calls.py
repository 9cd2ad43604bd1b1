"""Make rows of the lines that LiteLLM's callback wrote. Doing it twice changes nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.gateway_call import GatewayCall
from vllm_studio_tui.kit.outside_values import as_count, as_number
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.kit.process import start_ticks
from vllm_studio_tui.store.gateway_calls import GatewayCallRows

if TYPE_CHECKING:
    from vllm_studio_tui.store.database import Database

#: The entry of the configuration that takes every name of no recipe.
OTHERS = "*"
#: A larger file was not written by the callback.
MOST_BYTES = 4 * 1024 * 1024
#: Seconds to wait for others that write to the database.
PATIENCE = 0.5


def calls_folder(places: Places) -> Path:
    """Return where the callback's lines lie."""
    return places.data / "gateway" / "calls"


def fold_calls(folder: Path, db: Database) -> int:
    """Keep what the callback wrote, and remove the files that it writes to no more; return how many were read.

    A file that it still writes to is read again each time; it is small, because a full one is followed by another.

    Raises:
        StoreError: Nothing could be kept; the files stay.
    """
    if db.read_only:
        return 0
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
    except OSError:
        return 0
    last = {_writer(path): path for path in files}
    found = 0
    for path in files:
        # Looked at before it is read: what a process that ends now still writes is read the next time.
        done = last[_writer(path)] != path or not _alive(path)
        calls = list(_read(path))
        if calls:
            GatewayCallRows(db).add(calls, patience=PATIENCE)
        found += len(calls)
        if done:
            with contextlib.suppress(OSError):
                path.unlink()
    return found


def _writer(path: Path) -> str:
    return path.stem.rpartition("-")[0]


def _alive(path: Path) -> bool:
    """Return whether the process that a file is named by lives; another one of its number keeps the file, no more."""
    with contextlib.suppress(ValueError):
        return start_ticks(int(path.stem.partition("-")[0])) is not None
    return False


def _read(path: Path) -> Iterator[GatewayCall]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES)
    except OSError:
        return
    for line in data.split(b"\n"):
        if (call := call_of(line)) is not None:
            yield call


def call_of(line: bytes) -> GatewayCall | None:
    """Return what a line says; None for one that is torn or says nothing."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    name, status, at = _text(data, "call"), _text(data, "status"), as_number(data.get("at"))
    if name is None or status not in ("success", "failure") or at is None:
        return None
    return GatewayCall(
        name,
        at,
        status,
        _text(data, "response"),
        _text(data, "kind"),
        _text(data, "model"),
        None if data.get("recipe") == OTHERS else _text(data, "recipe"),
        _text(data, "key"),
        data.get("cache_hit") is True,
        as_number(data.get("cost")),
        as_count(data.get("prompt_tokens")),
        as_count(data.get("completion_tokens")),
        as_number(data.get("seconds")),
        data["streamed"] if isinstance(data.get("streamed"), bool) else None,
        _text(data, "error"),
        _text(data, "http_status"),
    )


def _text(data: dict[str, Any], name: str) -> str | None:
    value = data.get(name)
    return value[:300] if isinstance(value, str) and value else None
