"""Find out whether a port of this host is free, and hold it until a server takes it.

Standard library only: the keeper imports this.
"""

from __future__ import annotations

import errno
import queue
import socket
import threading

from vllm_studio_tui.kit.listeners import has_lingering_connections

#: Seconds that a name may take to resolve. The resolver's own patience is measured in minutes.
RESOLVE = 5.0


def resolve(host: str, port: int, timeout: float = RESOLVE) -> tuple[int, tuple[str | int, ...]]:
    """Return family and socket address of a host; for a name with several, an IPv4 one if there is one.

    Raises:
        socket.gaierror: The name is not known, or there was no answer within `timeout` seconds.
        OSError: There is no such port.
    """
    if not 0 <= port <= 65535:
        raise OSError(errno.EINVAL, f"there is no port {port}")
    try:
        found = _lookup(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = _lookup_within(host, port, timeout)
    family, address = next((one for one in found if one[0] == socket.AF_INET), found[0])
    return family, address


def _lookup(host: str, port: int, flags: int = 0) -> list[tuple[int, tuple[str | int, ...]]]:
    try:
        listed = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=flags)  # noqa: S104
    except (UnicodeError, ValueError) as error:  # a name that no name service could hold
        raise socket.gaierror(socket.EAI_NONAME, "no name that can be looked up") from error
    return [(int(family), (str(address[0]), *(int(part) for part in address[1:]))) for family, *_, address in listed]


def _lookup_within(host: str, port: int, timeout: float) -> list[tuple[int, tuple[str | int, ...]]]:
    """Look a name up in a thread of its own, because a resolver has no timeout."""
    answer: queue.SimpleQueue[list[tuple[int, tuple[str | int, ...]]] | OSError] = queue.SimpleQueue()

    def look() -> None:
        try:
            answer.put(_lookup(host, port))
        except OSError as error:
            answer.put(error)

    threading.Thread(target=look, name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=timeout)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer within {timeout:g} s") from None
    if isinstance(found, OSError):
        raise found
    return found


def hold(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the port: until it is closed, no other process can bind it.

    Without SO_REUSEADDR a socket that somebody bound and does not listen on yet counts as what it is: taken. With it
    the rest of closed connections (TIME_WAIT) does not count, which no server minds; so it is used where there is
    such a rest, and taken back at once, because two sockets that both have it may share a port until one listens.

    Raises:
        socket.gaierror: The host's name does not resolve.
        OSError: The port cannot be bound; `errno` says why.
    """
    family, address = resolve(host, port)
    try:
        return _bound(family, address, reuse=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not has_lingering_connections(port):
            raise
    return _bound(family, address, reuse=True)


def _bound(family: int, address: tuple[str | int, ...], *, reuse: bool) -> socket.socket:
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        held.bind(address)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except BaseException:
        held.close()
        raise
    return held


def port_free(host: str, port: int) -> bool:
    """Return whether a server could listen on the port now."""
    try:
        hold(host, port).close()
    except OSError:
        return False
    return True
