"""Read the parts that a GPU is divided into: each is a device of its own, and any of its values may be missing."""

from __future__ import annotations

import re
from typing import Any

from vllm_studio_tui.domain.gpus import MigDevice
from vllm_studio_tui.probes.gpu import validation

#: The profile in a part's name: `NVIDIA H100 80GB HBM3 MIG 3g.40gb`.
_PROFILE = r"\bMIG (\d{1,2}(?:c\.\d{1,2})?g\.\d{1,4}gb\S{0,16})"


def read(library: Any, handle: Any) -> tuple[MigDevice, ...] | None:
    """Return the parts of a GPU; None if it tells of none, which one without any in use does too.

    Raises:
        Exception: What the library raised when it was asked how many there can be.
    """
    most = validation.whole(library.nvmlDeviceGetMaxMigDeviceCount(handle), 0, validation.MAX_MIG)
    found = []
    for index in range(most or 0):
        part = _try(library, "nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
        if part is not None:
            found.append(_part(library, part, index))
    return tuple(found) or None


def _part(library: Any, part: Any, index: int) -> MigDevice:
    name = validation.text(_try(library, "nvmlDeviceGetName", part)) or f"part {index}"
    profile = re.search(_PROFILE, name, re.IGNORECASE)
    newer = getattr(library, "nvmlMemory_v2", None)
    memory = validation.memory(newer and _try(library, "nvmlDeviceGetMemoryInfo", part, newer))
    memory = memory or validation.memory(_try(library, "nvmlDeviceGetMemoryInfo", part))
    using: set[int] = set()
    for kind in ("Compute", "Graphics"):
        listed = validation.processes(_try(library, f"nvmlDeviceGet{kind}RunningProcesses", part)) or ()
        using.update(pid for pid, _ in listed)
    return MigDevice(
        validation.text(_try(library, "nvmlDeviceGetUUID", part)) or "",
        profile[1] if profile else name,
        memory.used if memory else None,
        memory.total if memory else None,
        tuple(sorted(using)),
    )


def _try(library: Any, function: str, *arguments: Any) -> Any:
    """Return what a function returns; None if it fails."""
    try:
        return getattr(library, function)(*arguments)
    except Exception:  # noqa: BLE001, RUF100
        return None
