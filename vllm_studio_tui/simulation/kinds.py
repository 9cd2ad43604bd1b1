"""The kinds of GPU that can be simulated: memory as the driver tells it, compute capability, power limit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from vllm_studio_tui.simulation.marks import GPUS


class Kind(NamedTuple):
    """A kind of GPU.

    Attributes:
        name: As its driver tells it.
        mib: Its memory.
        capability: Of its processors, major and minor.
        watts: Its power limit.
        pcie: The generation of its link.
        nvlink: It has links to other GPUs; `ecc` a memory that counts its errors, `hbm` one that tells its heat.
        rests: It goes to another performance state where nothing runs.
    """

    name: str
    mib: int
    capability: tuple[int, int]
    watts: float
    pcie: int = 4
    nvlink: bool = False
    ecc: bool = False
    hbm: bool = False
    rests: bool = True

    @property
    def memory(self) -> int:
        return self.mib * 1024 * 1024

    @property
    def power(self) -> float:
        """Return what it draws in parts of what an H100 does."""
        return self.watts / 700.0


GIB = 1024**3
#: Watts of a GPU without an engine, and what an engine takes on top.
IDLE, CONTEXT = 70.0, 42.0
#: Counting begins here: 2026-01-01T00:00:00Z.
EPOCH = 1_767_225_600.0
USUAL = "h100"
KINDS: Mapping[str, Kind] = {
    "h100": Kind("NVIDIA H100 80GB HBM3", 81_559, (9, 0), 700.0, 5, nvlink=True, ecc=True, hbm=True, rests=False),
    "h200": Kind("NVIDIA H200", 143_771, (9, 0), 700.0, 5, nvlink=True, ecc=True, hbm=True, rests=False),
    "a100": Kind("NVIDIA A100-SXM4-80GB", 81_920, (8, 0), 400.0, nvlink=True, ecc=True, hbm=True, rests=False),
    "l40s": Kind("NVIDIA L40S", 46_068, (8, 9), 350.0, ecc=True),
    "rtx4090": Kind("NVIDIA GeForce RTX 4090", 24_564, (8, 9), 450.0),
    "rtx4080": Kind("NVIDIA GeForce RTX 4080", 16_376, (8, 9), 320.0),
    "rtx3060": Kind("NVIDIA GeForce RTX 3060", 12_288, (8, 6), 170.0),
    "rtx4060": Kind("NVIDIA GeForce RTX 4060", 8_188, (8, 9), 115.0),
}


def kind_here() -> Kind:
    """Return the kind of GPU that the environment asks for; without any, the usual one."""
    for item in os.environ.get(GPUS, "").split(","):
        name, _, value = item.strip().partition("=")
        if name == "kind" and value in KINDS:
            return KINDS[value]
    return KINDS[USUAL]


def machine(text: str) -> str | None:
    """Return what `VLLM_STUDIO_SIMULATE_GPUS` is for a machine such as `8xh100`, `rtx4090` or `none`; None: no such."""
    words = text.strip().lower()
    if words == "none":
        return "1,fault=nodriver"
    found = re.fullmatch(r"(?:([0-9]{1,2})x)?([a-z0-9]+)", words)
    if found is None or found[2] not in KINDS or not 1 <= int(found[1] or 1) <= 16:
        return None
    return f"{int(found[1] or 1)},kind={found[2]}"
