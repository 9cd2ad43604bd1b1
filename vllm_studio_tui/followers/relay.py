"""A port of this machine that leads to a server elsewhere: what comes in at one end goes out at the other.

The port is bound from the start, so that nobody else takes it, and listens once there is where to lead to: before, a
connection is refused, as by an engine that still loads.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable

#: Bytes that are taken at once, and that may wait for a slow reader before no more are taken.
PIECE = 64 * 1024
MOST_WAITING = 4 * PIECE
#: Seconds that a connection to the server elsewhere may take.
CONNECT = 10.0
#: Connections that may wait to be taken.
BACKLOG = 128

#: Host and port; a host that begins with a slash is the path of a unix socket.
Address = tuple[str, int]


class _Flow:
    """One direction of a connection: what was read at one end and not yet written to the other."""

    __slots__ = ("data", "ended", "shut", "sink", "source")

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.data = bytearray()
        self.ended = self.shut = False

    @property
    def done(self) -> bool:
        return self.ended and not self.data


class Relay:
    """The port of a run, led to where it is served. One thread does all of it."""

    def __init__(self, host: str, port: int) -> None:
        """Bind the port.

        Raises:
            OSError: Somebody has it.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((host, port))
        except OSError:
            self._listener.close()
            raise
        self._target: Address | None = None
        self._listening = False
        self._selector = selectors.DefaultSelector()
        self._flows: dict[socket.socket, tuple[_Flow, _Flow]] = {}
        self._wake, self._woken = socket.socketpair()
        self._ends = threading.Event()
        self._todo: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def lead_to(self, target: Address | None) -> None:
        """Lead connections from now on there; None: nowhere, and they end at once."""
        self._target = target
        if target is None or self._listening:
            return
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._listening = True
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection, and let go of the port."""
        self._ends.set()
        with contextlib.suppress(OSError):
            self._wake.send(b".")
        if self._thread is not None:
            self._thread.join(5.0)
        self._listener.close()

    # --- in the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ends.is_set():
            for key, events in self._selector.select(30.0):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    self._do()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._flows:
                    self._move(key.fileobj, events)
        for one in list(self._flows):
            one.close()

    def _do(self) -> None:
        with contextlib.suppress(OSError):
            self._woken.recv(4096)
        with self._lock:
            todo, self._todo = self._todo, []
        for one in todo:
            one()

    def _accept(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except OSError:
            return
        target = self._target
        if target is None:
            caller.close()
            return
        # To connect may take seconds, and others are served meanwhile.
        threading.Thread(target=self._connect, args=(caller, target), daemon=True).start()

    def _connect(self, caller: socket.socket, target: Address) -> None:
        try:
            if target[0].startswith("/"):
                server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                server.settimeout(CONNECT)
                server.connect(target[0])
            else:
                server = socket.create_connection(target, timeout=CONNECT)
        except OSError:
            caller.close()
            return
        with self._lock:
            self._todo.append(lambda: self._join(caller, server))
        with contextlib.suppress(OSError):
            self._wake.send(b".")

    def _join(self, caller: socket.socket, server: socket.socket) -> None:
        forth, back = _Flow(caller, server), _Flow(server, caller)
        for one in (caller, server):
            one.setblocking(False)
            with contextlib.suppress(OSError):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flows[caller] = (forth, back)
        self._flows[server] = (back, forth)
        for one in (caller, server):
            self._selector.register(one, selectors.EVENT_READ)

    def _move(self, one: socket.socket, events: int) -> None:
        out, into = self._flows[one]  # what is read of it, and what is written to it
        try:
            if events & selectors.EVENT_READ and not out.ended:
                piece = one.recv(PIECE)
                out.data += piece
                out.ended = not piece
                self._write(out)
            if events & selectors.EVENT_WRITE:
                self._write(into)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._drop(one)
            return
        if out.done and into.done:
            self._drop(one)
            return
        for end in (out.source, out.sink):
            self._watch(end)

    def _write(self, flow: _Flow) -> None:
        if flow.data:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                sent = flow.sink.send(flow.data)
                del flow.data[:sent]
        if flow.done and not flow.shut:
            flow.shut = True
            with contextlib.suppress(OSError):
                flow.sink.shutdown(socket.SHUT_WR)

    def _watch(self, one: socket.socket) -> None:
        out, into = self._flows[one]
        events = 0 if out.ended or len(out.data) > MOST_WAITING else selectors.EVENT_READ
        events |= selectors.EVENT_WRITE if into.data else 0
        known = one in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(one)
        elif known:
            self._selector.modify(one, events)
        else:
            self._selector.register(one, events)

    def _drop(self, one: socket.socket) -> None:
        forth, _ = self._flows[one]
        for end in (forth.source, forth.sink):
            self._flows.pop(end, None)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()
