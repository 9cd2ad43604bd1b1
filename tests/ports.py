"""Ports for servers that tests start."""

from __future__ import annotations

import itertools
import os
import random

from vllm_studio_tui.kit.ports import port_free

#: Each worker of a test run has a range of its own, and takes its ports one after the other: when an engine is killed,
#: no engine of another test may be found at its port, and none may be given one that another is about to bind. They
#: lie below those that the kernel hands out, which any program may be given meanwhile.
_FIRST, _RANGE, _WORKERS = 10_000, 1_375, 16
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_PORTS = itertools.count(random.randrange(_RANGE))  # another run of the tests may go on beside this one


def free_port() -> int:
    """A port that nobody listens on and that no test has had lately."""
    while True:
        port = _FIRST + _WORKER * _RANGE + next(_PORTS) % _RANGE
        if port_free("127.0.0.1", port):
            return port
