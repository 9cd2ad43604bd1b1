"""`python -m vllm_studio_tui.probes.energy [--run RUN] [GPU ...]`: the energy counters of the GPUs, once, on one line.

Prints `{"gpus": {UUID: MILLIJOULES}, "at": SECONDS, "boot_id": ".."}`, with `error` when nothing could be read, and
exits 0. The counters run since the driver was loaded, so a caller that misses some readings misses no energy. A GPU
is an index, or a UUID or the beginning of one; none given: all. With `--run` there is `"used": [UUID]` besides: the
GPUs on which a process of this run is, for an engine that takes what GPUs it finds.
"""

from __future__ import annotations

import json
import os
import sys
import time

from vllm_studio_tui.kit.paths import boot_id
from vllm_studio_tui.probes.gpu.provider import GpuReader

#: Seconds after which a GPU that hangs is given up, twice with `--run`: the keeper waits ten for all.
DEADLINE = 4.0


def main(argv: list[str], deadline: float = DEADLINE) -> int:
    """Print the line and return 0, whatever the driver does."""
    run = argv[1] if len(argv) > 1 and argv[0] == "--run" else None
    reader = GpuReader()
    counts, error = reader.energies(argv[2:] if run else argv, deadline)
    at = time.time()
    document: dict[str, object] = {"gpus": counts, "at": at, "boot_id": boot_id()}
    if run:
        gpus = reader.read(patience=deadline).gpus if counts else ()
        document["used"] = [gpu.uuid for gpu in gpus if any(one.run_id == run for one in gpu.processes)]
    if error:
        document["error"] = error
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    # Not sys.exit: a call that hangs in the driver must not hold the end of the process.
    os._exit(main(sys.argv[1:]))
