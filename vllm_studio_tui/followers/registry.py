"""The systems that can be followed."""

from __future__ import annotations

import importlib
from typing import cast

from vllm_studio_tui.domain.job import Cause
from vllm_studio_tui.followers.system import Job, System, SystemTrouble

#: The file of each kind and the class in it.
SYSTEMS = {
    "ranks": ("ranks", "Ranks"),
    "slurm": ("slurm", "Slurm"),
    "ray-serve": ("ray_serve", "RayServe"),
    "kubernetes": ("kubernetes", "Kubernetes"),
    "skypilot": ("skypilot", "SkyPilot"),
}


def system_of(job: Job) -> System:
    """Return the reader of a job's system.

    Raises:
        SystemTrouble: This version knows no such system.
    """
    kind = str(job.plan.get("kind") or "")
    module, name = SYSTEMS.get(kind, ("", ""))
    if not module:
        raise SystemTrouble(Cause("unknown_system", f"nothing is known of the system {kind!r}", retry=False))
    found = getattr(importlib.import_module(f"vllm_studio_tui.followers.{module}"), name)
    return cast("System", found(job))
