"""Memory of the host: what models need, what engines hold, what there is. Unknown is None."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.file_access import expanded
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.demo.model import resolve_model
from vllm_studio_tui.models.local import WEIGHTS
from vllm_studio_tui.runs.read import RunView

#: What an engine takes beside the weights, at least: program, buffers, KV cache.
BESIDE = 256 * 1024**2


def model_bytes(places: Places, model_path: str) -> int | None:
    """Return the bytes that a model takes in the host's memory, by the size of its files; None: they are not here."""
    try:
        path = Path(expanded(resolve_model(places, model_path)))
        size = _bytes(path, path.stat().st_mtime_ns)
    except (StudioError, OSError, ValueError):
        return None
    return size + BESIDE if size else None


@lru_cache(maxsize=256)
def _bytes(path: Path, _changed: int) -> int:
    if path.is_file():
        begin, shard, _ = path.name.partition("-00001-of-")
        parts = [one for one in path.parent.iterdir() if one.name.startswith(f"{begin}-0")] if shard else [path]
        return sum(one.stat().st_size for one in parts)
    return sum(one.stat().st_size for one in path.iterdir() if one.suffix in WEIGHTS)


def held_memory(run: RunView) -> int | None:
    """Return the bytes of the host's memory that a run's processes hold, weights that are mapped counted."""
    return _sum(run, ("RssAnon", "RssFile", "RssShmem"))


def free_memory(runs: Iterable[RunView]) -> int | None:
    """Return the bytes that there were for models if none of these ran; None: not known.

    Weights that are mapped from a file count as available already.
    """
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    available = _field(text, "MemAvailable")
    if available is None:
        return None
    return available + sum(_sum(one, ("RssAnon", "RssShmem")) or 0 for one in runs)


def _sum(run: RunView, names: tuple[str, ...]) -> int | None:
    pids = {run.status.pid, *(int(pid) for pid in run.status.members if pid.isdigit())} - {None}
    total: int | None = None
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = [value for name in names if (value := _field(text, name)) is not None]
        total = (total or 0) + sum(found) if found else total
    return total


def _field(text: str, name: str) -> int | None:
    """Return a field of one of the kernel's tables in bytes."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            value = line.split()[1]
            return int(value) * 1024 if value.isdigit() else None
    return None
