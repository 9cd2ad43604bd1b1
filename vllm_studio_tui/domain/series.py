"""Names of the series that history keeps and charts show."""

from __future__ import annotations

from enum import StrEnum


class TotalSeries(StrEnum):
    """Names of the history series over all runs or all GPUs: tokens per second, requests, watts."""

    OUTPUT = "all/out"
    RUNNING = "all/running"
    POWER = "all/power"


class HostSeries(StrEnum):
    """Names of the history series of the host: percent 0-100, share 0-1."""

    CPU = "host/cpu"
    MEMORY = "host/memory"


class RunSeries(StrEnum):
    """Names of the history series of a run: tokens per second, requests, share 0-1, seconds (95th percentile)."""

    OUTPUT = "out"
    INPUT = "in"
    RUNNING = "running"
    WAITING = "waiting"
    KV_CACHE = "kv"
    TTFT = "ttft"
    ITL = "itl"

    def of(self, run_id: str) -> str:
        """Return the name of this series for one run."""
        return f"run/{run_id}/{self}"


class GpuSeries(StrEnum):
    """Names of the history series of a GPU: percent 0-100, share 0-1, watts."""

    UTILIZATION = "util"
    MEMORY = "memory"
    POWER = "power"

    def of(self, uuid: str) -> str:
        """Return the name of this series for one GPU."""
        return f"gpu/{uuid}/{self}"
