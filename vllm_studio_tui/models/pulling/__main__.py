"""`python -m vllm_studio_tui.models.pulling DOWNLOAD_DIRECTORY --lock-fd N`: the process of one download."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from vllm_studio_tui.models.pulling.directory import DownloadSpec, read_spec
from vllm_studio_tui.models.pulling.worker import Worker


def main() -> int:
    """Work on the download. The starting process returns at once: whoever started us has no child to wait for."""
    folder, lock = Path(sys.argv[1]), int(sys.argv[sys.argv.index("--lock-fd") + 1])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c is for the face
    os.set_inheritable(lock, False)
    spec = read_spec(folder)
    if spec is None:
        return 1
    # A request to pause that comes before we listen must wait, not kill us.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if os.fork():
        return 0
    os.setsid()
    worker = _worker_for(spec)(folder, spec)

    def pause(*_: Any) -> None:
        worker.stop.set()

    signal.signal(signal.SIGTERM, pause)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        worker.run()
    finally:
        sys.stderr.flush()
        os._exit(0)  # a thread may still wait for a server that is silent


def _worker_for(spec: DownloadSpec) -> type[Worker]:
    if spec.endpoint.startswith("simulated:"):
        from vllm_studio_tui.models.pulling.simulated import SimulatedWorker

        return SimulatedWorker
    return Worker


if __name__ == "__main__":
    sys.exit(main())
