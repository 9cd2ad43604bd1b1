"""Reads from an engine's log what it said of its memory while it started.

The log is hostile text: it is read within bounds, and a figure that makes no sense is left out. Nothing here raises
for what a log holds.
"""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.fit import PARTS
from vllm_studio_tui.domain.memory_report import (
    HOST,
    MOST_DEVICES,
    MOST_NAME,
    DeviceMemory,
    MemoryLine,
    MemoryReport,
    sensible_bytes,
    sensible_count,
    sensible_number,
)
from vllm_studio_tui.kit.regex import regex
from vllm_studio_tui.kit.sanitize import strip_ansi

if TYPE_CHECKING:
    from vllm_studio_tui.domain.spec import Stage

#: Bytes of a start that are read, and characters of each line.
MOST = 2 * 1024 * 1024
LINE = 600
_ATTEMPT = b"[vllm-studio] attempt "
_BYTES = (*PARTS, "outputs", "consumed", "room", "total", "limit")
_COUNTS = ("kv_tokens", "context", "slots")
#: Devices of llama.cpp's that are the host's memory: `CPU`, `CPU_Mapped`, `CPU_REPACK`, `CUDA_Host`.
_HOST = r"(?i)^cpu(?:_|$)|_host$"


def report_of_log(
    path: Path, patterns: Sequence[MemoryLine], stages: Sequence[Stage] = (), *, attempt: int = 1
) -> MemoryReport | None:
    """Return what the engine of a log said of its memory at its latest start. Blocking.

    Args:
        stages: Reading ends where the stage `serving` begins: what comes after it may be the words of a request.
        attempt: Which start of the run counts; from the second on it is looked for from the end.

    Returns:
        None where it said nothing, or the log cannot be read.
    """
    if not patterns:
        return None
    try:
        with path.open("rb") as stream:
            begin = _last_attempt(stream.fileno()) if attempt > 1 else 0
            stream.seek(begin)
            raw = stream.read(MOST)
    except (OSError, ValueError):
        return None
    lines = raw.decode("utf-8", "replace").replace("\r", "\n").split("\n")
    try:
        return report_of_lines((strip_ansi(line[:LINE]) for line in lines), patterns, stages)
    except re.error:  # the pattern of another package
        return None


def report_of_lines(
    lines: Iterable[str], patterns: Sequence[MemoryLine], stages: Sequence[Stage] = ()
) -> MemoryReport | None:
    """Return what these lines say of memory; None where they say nothing."""
    found = _Found()
    ends = [regex(stage.pattern) for stage in stages if stage.name == "serving"]
    for line in lines:
        if any(end.search(line) for end in ends):
            break
        for pattern in patterns:
            match = regex(pattern.pattern).search(line) if pattern.word in line else None
            if match is not None:
                found.take(pattern, {name: text for name, text in match.groupdict().items() if text})
                break
    return found.report()


class _Found:
    """What was read so far."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, int]] = {}
        self._figures: dict[str, int] = {}
        self._rounding: dict[str, int] = {}
        self._concurrency: float | None = None
        self._version = ""

    def take(self, line: MemoryLine, groups: dict[str, str]) -> None:
        device = self._device(groups.get("device", ""))
        told: dict[str, int] = {}
        for group, text in groups.items():
            name = group.rstrip("0123456789")
            if name in _BYTES:
                value = sensible_bytes(_number(text, line.unit))
                if value is not None:
                    told[name] = told.get(name, 0) + value
                    self._rounding[name] = self._rounding.get(name, 0) + _step(text, line.unit)
            elif name in _COUNTS:
                count = sensible_count(_number(text, 1))
                if count is not None:
                    self._figures[name] = count
            elif name == "concurrency":
                self._concurrency = sensible_number(_number(text, 1))
            elif name == "version":
                self._version = text[:MOST_NAME]
        for name, value in told.items():
            if name in ("room", "total", "limit"):
                self._figures[name] = value
            elif device is not None:
                parts = self._parts.setdefault(device, {})
                parts[name] = parts.get(name, 0) + value if line.adds else value

    def report(self) -> MemoryReport | None:
        devices = tuple(DeviceMemory(name, _settled(parts)) for name, parts in sorted(self._parts.items()))
        if not devices and not self._figures.keys() & {"room", "kv_tokens"}:
            return None
        figures = self._figures
        return MemoryReport(
            devices,
            figures.get("room"),
            figures.get("kv_tokens"),
            figures.get("context"),
            figures.get("slots"),
            self._concurrency,
            figures.get("total"),
            figures.get("limit"),
            {name: step for name, step in self._rounding.items() if step and name in (*PARTS, "room")},
            self._version,
        )

    def _device(self, name: str) -> str | None:
        name = HOST if regex(_HOST).search(name) else name[:MOST_NAME]
        return name if name in self._parts or len(self._parts) < MOST_DEVICES else None


def _settled(parts: dict[str, int]) -> dict[str, int]:
    """Return the parts by the names of `PARTS`: some engines tell other sums."""
    parts = dict(parts)
    outputs, consumed = parts.pop("outputs", 0), parts.pop("consumed", None)
    if outputs:
        parts["activations"] = parts.get("activations", 0) + outputs
    if consumed is not None and "overhead" not in parts:
        parts["overhead"] = max(0, consumed - parts.get("weights", 0))
    return {name: parts[name] for name in PARTS if name in parts}


def _number(text: str, unit: int) -> float | None:
    with contextlib.suppress(ValueError, OverflowError):
        return float(text.replace(",", "").replace("_", "")[:40]) * unit
    return None


def _step(text: str, unit: int) -> int:
    """Return half of what the last digit of a number stands for, in bytes."""
    digits = len(text.partition(".")[2])
    return int(unit / 10 ** min(digits, 9) / 2) if unit > 1 else 0


def _last_attempt(descriptor: int) -> int:
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as whole:
        at = whole.rfind(_ATTEMPT)
    return max(0, at)
