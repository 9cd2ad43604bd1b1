"""`python -m vllm_studio_tui.probes.energy [GPU ...]`: the energy counters of the GPUs, once, on one line.

Prints `{"gpus": {UUID: MILLIJOULES}, "at": SECONDS, "boot_id": ".."}`, with `error` when nothing could be read, and
exits 0. The counters run since the driver was loaded, so a caller that misses some readings misses no energy. A GPU
is an index, or a UUID or the beginning of one; none given: all.
"""

from __future__ import annotations

import json
import os
import sys
import time

from vllm_studio_tui.kit.paths import boot_id
from vllm_studio_tui.probes.gpu.nvml import NvmlReader

#: Seconds after which a driver that hangs is given up.
DEADLINE = 10.0


def main(argv: list[str], deadline: float = DEADLINE) -> int:
    """Print the line and return 0, whatever the driver does."""
    counts, error = NvmlReader().energies(argv, deadline)
    at = time.time()
    document: dict[str, object] = {"gpus": counts, "at": at, "boot_id": boot_id()}
    if error:
        document["error"] = error
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    # Not sys.exit: a call that hangs in the driver must not hold the end of the process.
    os._exit(main(sys.argv[1:]))
