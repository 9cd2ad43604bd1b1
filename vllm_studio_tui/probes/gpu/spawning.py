"""Start the process that reads the GPUs. Nothing large is imported: it is begun before anything else is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

COMMAND = (sys.executable, "-P", "-m", "vllm_studio_tui.probes.gpu.worker")


def spawn(command: Sequence[str] = COMMAND) -> tuple[subprocess.Popen[bytes], int]:
    """Start it; the process, and where what it prints beside its answers can be read.

    Raises:
        OSError: It cannot be started.
    """
    errors, theirs = os.pipe()
    for end in (errors, theirs):  # a library that prints without end must not be kept waiting for a reader
        os.set_blocking(end, False)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,  # the terminal's ctrl+c and hang-up are ours to handle
        )
    except OSError:
        os.close(errors)
        raise
    finally:
        os.close(theirs)
    return process, errors
