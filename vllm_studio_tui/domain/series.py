"""Names of the series that history keeps and charts show."""

from __future__ import annotations

from enum import StrEnum


class TotalSeries(StrEnum):
    """Names of the history series over all runs or all GPUs: tokens per second, requests, watts."""

    OUTPUT = "all/out"
    RUNNING = "all/running"
    POWER = "all/power"


class HostSeries(StrEnum):
    """Names of the history series of the host: percent 0-100, shares 0-1."""

    CPU = "host/cpu"
    MEMORY = "host/memory"
    SWAP = "host/swap"
    DISK = "host/disk"


class RunSeries(StrEnum):
    """Names of the history series of a run: tokens per second, requests, share 0-1, seconds (95th percentile).

    PREFILL and CACHED are prompt tokens per second that were computed and that were found in the cache, HITS their
    share; TTFT50 and ITL50 medians; PREEMPTIONS per second; STEP tokens in a step of the engine; CPU percent of a core
    that its busiest process has.
    """

    OUTPUT = "out"
    INPUT = "in"
    PREFILL = "prefill"
    CACHED = "cached"
    HITS = "hits"
    RUNNING = "running"
    WAITING = "waiting"
    KV_CACHE = "kv"
    KV_TOKENS = "kv_tokens"
    QUEUE = "queue"
    TTFT = "ttft"
    TTFT50 = "ttft50"
    ITL = "itl"
    ITL50 = "itl50"
    E2E = "e2e"
    PREEMPTIONS = "preemptions"
    STEP = "step"
    CPU = "cpu"

    def of(self, run_id: str) -> str:
        """Return the name of this series for one run."""
        return f"run/{run_id}/{self}"

    def of_recipe(self, recipe_id: str) -> str:
        """Return the name of this series for all runs of a recipe, one after the other."""
        return f"recipe/{recipe_id}/{self}"


class GpuSeries(StrEnum):
    """Names of the history series of a GPU: percent 0-100, share 0-1, watts, degrees C, MHz.

    PCIE is bytes per second both ways, THROTTLE 1 while something slows it down, so that a mean is a share of time.
    """

    UTILIZATION = "util"
    MEMORY = "memory"
    POWER = "power"
    TEMPERATURE = "temperature"
    CLOCK = "clock"
    PCIE = "pcie"
    THROTTLE = "throttle"

    def of(self, uuid: str) -> str:
        """Return the name of this series for one GPU."""
        return f"gpu/{uuid}/{self}"
