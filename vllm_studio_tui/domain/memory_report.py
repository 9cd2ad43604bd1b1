"""What an engine said of its memory when it started: bytes by part and device, and what its cache holds.

An engine's log is text from outside: every figure that makes no sense is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_studio_tui.domain.fit import PARTS
from vllm_studio_tui.kit import numbers

GIB = 1 << 30
MIB = 1 << 20
#: More than any device has, in bytes, and more than any cache holds, in tokens: such a figure is none.
MOST_BYTES = 64 << 40
MOST_TOKENS = 10**12
#: Devices and characters of a name that are kept.
MOST_DEVICES = 128
MOST_NAME = 64
#: What the memory of the host is called, on which everything lies that no GPU has.
HOST = "host"


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """A pattern of a log line that tells of memory. Its groups are named by what they tell.

    `weights`, `kv`, `activations`, `graphs`, `overhead` are bytes in `unit`; so are `outputs` (added to the
    activations), `consumed` (weights and overhead together), `room` (what is left for the cache), `total` and `limit`.
    `kv_tokens`, `context`, `slots` are counts, `concurrency` a number, `device` and `version` text. A digit behind a
    name is not part of it: `kv1` and `kv2` of one line are added.

    Attributes:
        word: What every such line has; the pattern is only tried on lines with it.
        pattern: A regular expression, searched in one line without colours.
        unit: Bytes of what its groups count.
        adds: Several such lines of one device are added; else the last one counts.
    """

    word: str
    pattern: str
    unit: int = GIB
    adds: bool = False


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """What an engine holds of one device.

    Attributes:
        name: As the engine calls it, `CUDA0`, or the rank, `TP1`; empty: it has one, or said it of all.
        parts: Bytes by the name of the part, see `PARTS`.
    """

    name: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return `device` and its parts."""
        return {"device": self.name or None, "parts": dict(self.parts)}


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What an engine said of its memory when it started.

    Attributes:
        room: Bytes that it found free for its cache.
        kv_tokens: Tokens that the whole cache holds.
        context: Tokens of the longest text that it takes.
        slots: Texts at once, where they share the cache in equal parts.
        concurrency: Texts of `context` tokens at once, as it reckons.
        total: Bytes of a device.
        limit: Bytes of a device that it lets itself take.
        rounding: Bytes by which each figure may be wrong, because it was printed with few digits.
        version: Of the engine, as it says itself; empty: it does not.
    """

    devices: tuple[DeviceMemory, ...] = ()
    room: int | None = None
    kv_tokens: int | None = None
    context: int | None = None
    slots: int | None = None
    concurrency: float | None = None
    total: int | None = None
    limit: int | None = None
    rounding: Mapping[str, int] = field(default_factory=dict)
    version: str = ""

    @property
    def parts(self) -> dict[str, int]:
        """Return the bytes of the fullest GPU by part; of the host where it takes no GPU."""
        gpus = [one for one in self.devices if one.name != HOST] or list(self.devices)
        # What is said of no device in particular holds for each.
        shared = next((one.parts for one in gpus if not one.name), {})
        named = [one.parts for one in gpus if one.name] or [{}]
        fullest = max(named, key=lambda parts: sum(parts.values()))
        return {name: fullest.get(name, shared.get(name, 0)) for name in PARTS if name in fullest or name in shared}

    @property
    def everywhere(self) -> dict[str, int]:
        """Return the bytes of all devices together by part."""
        return {
            name: sum(one.parts.get(name, 0) for one in self.devices)
            for name in PARTS
            if any(name in one.parts for one in self.devices)
        }

    @property
    def kv_bytes_per_token(self) -> float | None:
        """Return what a token takes of the cache of the fullest device."""
        held = self.parts.get("kv") or self.room
        return held / self.kv_tokens if held and self.kv_tokens else None

    def to_json(self) -> dict[str, Any]:
        """Return the report as `runs show --json` prints it, and as it is kept."""
        return {
            "devices": [one.to_json() for one in self.devices],
            "parts": self.parts,
            "kv_room": self.room,
            "kv_tokens": self.kv_tokens,
            "kv_bytes_per_token": None if self.kv_bytes_per_token is None else round(self.kv_bytes_per_token, 1),
            "context": self.context,
            "slots": self.slots,
            "concurrency": self.concurrency,
            "memory": self.total,
            "limit": self.limit,
            "rounding": dict(self.rounding),
            "engine_version": self.version or None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MemoryReport:
        """Return what was kept. Whatever is not as it should be is left out."""
        devices = data.get("devices")
        return cls(
            tuple(_device(one) for one in (devices if isinstance(devices, list) else [])[:MOST_DEVICES]),
            sensible_bytes(data.get("kv_room")),
            sensible_count(data.get("kv_tokens")),
            sensible_count(data.get("context")),
            sensible_count(data.get("slots")),
            sensible_number(data.get("concurrency")),
            sensible_bytes(data.get("memory")),
            sensible_bytes(data.get("limit")),
            _parts(data.get("rounding"), any_name=True),
            str(data.get("engine_version") or "")[:MOST_NAME],
        )


#: What people call the parts.
_WORDS = {"weights": "weights", "kv": "cache", "activations": "steps", "graphs": "graphs", "overhead": "overhead"}


def memory_words(report: MemoryReport) -> str:
    """Return a report in a line: `weights 15.3 GiB, cache 50.2 GiB (411 648 tokens), graphs 0.6 GiB`."""
    parts = report.parts
    if "kv" not in parts and report.room is not None:
        parts["kv"] = report.room
    told = []
    for name in PARTS:
        if name in parts:
            tokens = f" ({report.kv_tokens} tokens)" if name == "kv" and report.kv_tokens else ""
            told.append(f"{_WORDS[name]} {numbers.size(parts[name])}{tokens}")
    if "kv" not in parts and report.kv_tokens:
        told.append(f"cache {report.kv_tokens} tokens")
    many = sum(1 for one in report.devices if one.name not in ("", HOST))
    return ", ".join(told) + (f", on the fullest of {many} GPUs" if many > 1 else "")


def sensible_bytes(value: Any) -> int | None:
    """Return a number of bytes that a device may have; None for any other value."""
    number = sensible_number(value)
    return None if number is None or number > MOST_BYTES else round(number)


def sensible_count(value: Any) -> int | None:
    """Return a number of tokens or texts, from 1; None for any other value."""
    number = sensible_number(value)
    return None if number is None or not 1 <= number <= MOST_TOKENS else int(number)


def sensible_number(value: Any) -> float | None:
    """Return a finite number, not below 0; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _device(data: Any) -> DeviceMemory:
    if not isinstance(data, Mapping):
        return DeviceMemory()
    return DeviceMemory(str(data.get("device") or "")[:MOST_NAME], _parts(data.get("parts")))


def _parts(data: Any, *, any_name: bool = False) -> dict[str, int]:
    if not isinstance(data, Mapping):
        return {}
    known = {name: sensible_bytes(data.get(name)) for name in (*PARTS, *(("room",) if any_name else ()))}
    return {name: value for name, value in known.items() if value is not None}
