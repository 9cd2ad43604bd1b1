"""An engine of two ranks for a test: rank 0 is the simulated engine, another one works as long as it reaches that.

python ranked.py RANK HEAD MEET PORT
"""

from __future__ import annotations

import os
import socket
import sys
import time


def main() -> None:
    """Become rank 0, or hold a connection to it."""
    rank, head, meet, port = sys.argv[1:]
    if rank == "0":
        listener = socket.create_server(("0.0.0.0", int(meet)))  # noqa: S104
        other, _ = listener.accept()
        os.set_inheritable(other.fileno(), True)
        print("rank 1 is here", flush=True)
        engine = ["-m", "vllm_studio_tui.simulation.engine", "--host", "0.0.0.0", "--port", port]  # noqa: S104
        os.execv(sys.executable, [sys.executable, *engine, "--model", "ranked", "--api-key-env", "RANKED_KEY"])  # noqa: S606
    for _ in range(100):
        try:
            link = socket.create_connection((head, int(meet)), 5)
            break
        except OSError:
            time.sleep(0.1)
    else:
        sys.exit(5)
    print(f"rank {rank} holds on to {head}", flush=True)
    link.settimeout(None)
    link.recv(1)  # until rank 0 is gone
    sys.exit(4)


if __name__ == "__main__":
    main()
