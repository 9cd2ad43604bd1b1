"""`python -m vllm_studio_tui.probes.gpu.holders [GPU ...]`: in words, who holds the memory of GPUs that are full.

Prints nothing where a GPU has room, or where nobody can be named. It is asked by a keeper whose engine has just
ended for lack of memory: what holds it then is not the engine's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from vllm_studio_tui.domain.gpus import Gpu
from vllm_studio_tui.probes.gpu.provider import read_once

#: Seconds after which a driver that hangs is given up.
DEADLINE = 3.0
#: Share of the memory that is worth naming once nothing of the engine is on the GPU any more.
MUCH = 0.25
#: So many processes of a GPU are named, those that hold most.
MOST_NAMED = 3
#: Characters of a command.
MOST_COMMAND = 60
GIB = 1024**3


def sentences(gpus: Sequence[Gpu]) -> list[str]:
    """Return one sentence for each GPU of which a large part is held by processes that can be named."""
    found = []
    for gpu in gpus:
        if not gpu.memory_total or gpu.memory_used is None or gpu.memory_used < MUCH * gpu.memory_total:
            continue
        holders = sorted(
            (one for one in gpu.processes if one.gpu_memory), key=lambda one: one.gpu_memory or 0, reverse=True
        )[:MOST_NAMED]
        if not holders:
            continue
        named = ", ".join(
            f"{one.run_id or (one.command or 'a process')[:MOST_COMMAND]} "
            f"({', '.join(part for part in (f'pid {one.pid}', one.user) if part)}) "
            f"{(one.gpu_memory or 0) / GIB:.1f} GiB"
            for one in holders
        )
        free = max(0, gpu.memory_total - gpu.memory_used) / GIB
        found.append(f"GPU {gpu.index} has {free:.1f} of {gpu.memory_total / GIB:.1f} GiB free; it is held by {named}.")
    return found


def main(which: Sequence[str]) -> int:
    """Print the sentences and return 0, whatever the driver does."""
    gpus = read_once(DEADLINE).gpus
    wanted = [
        gpu for gpu in gpus if not which or any(one == str(gpu.index) or gpu.uuid.startswith(one) for one in which)
    ]
    sys.stdout.write(" ".join(sentences(wanted)))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    # Not sys.exit: a call that hangs in the driver must not hold the end of the process.
    os._exit(main(sys.argv[1:]))
