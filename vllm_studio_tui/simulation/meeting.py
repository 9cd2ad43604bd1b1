"""Ranks of one simulated engine on several hosts: they meet at the first one's address, and none outlives another.

As the real ones: a rank waits for the others before it loads; where a connection breaks it fails with the words of the
library that carries it, and a link that only stands still is not noticed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

from vllm_studio_tui.simulation.loading_log import stamp
from vllm_studio_tui.simulation.startup_log import log

#: Seconds for which the others are waited for.
PATIENCE = 600.0


class Meeting:
    """Where the ranks of one engine meet.

    Args:
        rank: Of this process; the first one, 0, is where the others come to.
        count: How many ranks there are.
    """

    def __init__(self, rank: int, count: int, address: str, port: int) -> None:
        self._rank, self._count, self._place = rank, count, (address.strip("[]"), port)
        self._others: list[socket.socket] = []
        self._ending = threading.Event()

    def join(self) -> None:
        """Wait until all are there; from then on each is watched.

        Raises:
            OSError: They do not come, or cannot be reached.
        """
        deadline = time.monotonic() + PATIENCE
        if self._rank == 0:
            family = socket.AF_INET6 if ":" in self._place[0] else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(self._place)
                listener.listen(self._count)
                while len(self._others) < self._count - 1:
                    listener.settimeout(max(0.1, deadline - time.monotonic()))
                    self._others.append(listener.accept()[0])
            for one in self._others:
                one.sendall(b"go")
        else:
            self._others.append(self._reach(deadline))
        for one in self._others:
            threading.Thread(target=self._watch, args=(one,), daemon=True).start()

    def leave(self) -> None:
        """End in order: the others notice, and this rank does not mind."""
        self._ending.set()

    def _reach(self, deadline: float) -> socket.socket:
        while True:
            try:
                one = socket.create_connection(self._place, timeout=5.0)
                one.settimeout(max(0.1, deadline - time.monotonic()))
                if one.recv(2):
                    one.settimeout(None)
                    return one
                one.close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _watch(self, one: socket.socket) -> None:
        one.settimeout(None)
        gone = b""
        with contextlib.suppress(OSError):
            gone = one.recv(1)
        if not gone and not self._ending.is_set():
            lost(self._place)


def lost(place: tuple[str, int], leave: Callable[[int], None] = os._exit) -> None:
    """Fail as an engine whose other rank is gone."""
    begin = f"(EngineCore pid={os.getpid()}) ERROR {stamp('vllm', time.time())} [core.py:1140]"
    log(f"{begin} EngineCore encountered a fatal error.")
    log(f"{begin} Traceback (most recent call last):")
    log(
        f"{begin} RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] "
        f"Connection closed by peer [{place[0]}]:{place[1]}"
    )
    leave(1)
