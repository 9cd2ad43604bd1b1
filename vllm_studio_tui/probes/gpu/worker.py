"""`python -m vllm_studio_tui.probes.gpu.worker`: reads the GPUs for one parent, over pipes, until its input closes.

Each line on stdin is a JSON object `{"n": NUMBER, "processes": BOOL}`; each is answered by one line of
`probes.gpu.protocol`, within about `PATIENCE` seconds, with what is known by then. A thread of its own does the
reading, so that the end of the input is noticed, and obeyed, while a call into the driver hangs.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading

from vllm_studio_tui.probes.gpu import protocol
from vllm_studio_tui.probes.gpu.provider import GpuReader

#: Seconds for one reading: half a tick and more, so that an answer comes within the tick.
PATIENCE = 0.7
#: Seconds after which a call that does not return ends this process, and those for which the driver has refused all:
#: the library that it has is the one that was there when it began, and a new process may see the driver that is there
#: now. A process that never saw a GPU is as good as a new one, unless the driver is not the library's.
RENEW = 60.0
RENEW_REFUSED = 5.0
RENEW_MISMATCH = 300.0


def serve(requests: queue.SimpleQueue[tuple[int, bool]], out: int) -> None:
    """Answer requests for ever; ends the process when nobody reads the answers."""
    reader = GpuReader()
    while True:
        number, processes = requests.get()
        line = protocol.dump(reader.read(processes, PATIENCE), number)
        try:
            while line:
                line = line[os.write(out, line) :]
        except OSError:
            os._exit(0)
        if reader.log is None:
            from vllm_studio_tui.probes.gpu.kernel_log import KernelLog  # not before the first answer

            reader.log = KernelLog()
        reader.look_at_log()
        if reader.hanging > RENEW or reader.refused > (RENEW_REFUSED if reader.read_some else RENEW_MISMATCH):
            os._exit(0)


def main() -> int:
    """Read requests until the input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c on the terminal is for the parent
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    requests: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()
    threading.Thread(target=serve, args=(requests, out), daemon=True).start()
    for line in sys.stdin.buffer:
        try:
            asked = json.loads(line)
            requests.put((int(asked["n"]), bool(asked["processes"])))
        except (ValueError, KeyError, TypeError):
            continue
    # Not a return: a thread that hangs in the driver must not keep the process.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
