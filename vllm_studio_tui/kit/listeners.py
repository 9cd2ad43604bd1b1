"""Find the processes that listen on a port of this host, by sock_diag(7) and /proc (Linux).

Standard library only: the keeper imports this. Nothing here connects to anything.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_LISTEN = "0A"
_PIDFD_GETFD = 438
_NETLINK_SOCK_DIAG = 4


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `inode` identifies it as long as it exists; `user` is the id of its owner."""

    inode: int
    user: int


def listeners(port: int, address: str | None) -> list[Listener] | None:
    """Return the listening sockets that get connections to a numeric address; None if the kernel does not tell.

    As the kernel chooses: a socket bound to the very address goes before one bound to all, one of IPv4 before one of
    IPv6. More than one where processes of one user share a port (SO_REUSEPORT).

    Args:
        address: None: all that listen on the port, wherever.
    """
    wanted = _ranks(address) if address is not None else None
    table = _asked(port)
    if table is None:
        table = _read(port)
    if table is None:
        return None
    found: dict[int, list[Listener]] = {}
    for where, user, inode in table:
        rank = 0 if wanted is None else wanted.get(where)
        if rank is not None:
            found.setdefault(rank, []).append(Listener(inode, user))
    return found[min(found)] if found else []


def _asked(port: int) -> list[tuple[str, int, int]] | None:
    """Return address, user and inode of each listening socket of a port, by sock_diag(7); None if it is not available.

    /proc goes through the table of all connections, which costs fifty times as much.
    """
    found = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
            link.settimeout(1.0)
            for family, width in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
                which = (
                    struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 1 << 10) + struct.pack(">H", port) + bytes(46)
                )
                link.send(struct.pack("=IHHII", 16 + len(which), 20, 0x301, 0, 0) + which)
                for message in _answers(link):
                    where = _hex(message[8 : 8 + width])
                    user, inode = struct.unpack_from("=II", message, 64)
                    if message[:1] == bytes([family]) and struct.unpack_from(">H", message, 4)[0] == port:
                        found.append((where, user, inode))
    except (OSError, struct.error):
        return None
    return found


def _answers(link: socket.socket) -> Iterator[bytes]:
    """Yield the messages of one netlink dump.

    Raises:
        OSError: The kernel refuses it.
    """
    while True:
        data = link.recv(65536)
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind == 3:  # done
                return
            if kind != 20 or length < 16:
                raise OSError("no dump of sockets")
            yield data[at + 16 : at + length]
            at += (length + 3) & ~3


def _read(port: int) -> list[tuple[str, int, int]] | None:
    """Return the same from /proc/net/tcp and tcp6."""
    found, any_row = [], False
    for name in ("tcp", "tcp6"):
        for local, state, user, inode in _table(name):
            any_row = True
            if state != _LISTEN:
                break  # listening sockets come first, and connections may be thousands
            where, _, number = local.partition(":")
            if int(number, 16) == port:
                found.append((where, user, inode))
    return found if any_row or (PROC / "net" / "tcp").exists() else None


def _ranks(address: str) -> dict[str, int]:
    """Return the local addresses, as /proc writes them, that accept connections to this one; the smallest wins."""
    plain = address.partition("%")[0]
    if ":" in plain:
        return {_hex(socket.inet_pton(socket.AF_INET6, plain)): 0, "0" * 32: 1}
    raw = socket.inet_pton(socket.AF_INET, plain)
    mapped = b"\0" * 10 + b"\xff\xff" + raw
    return {_hex(raw): 0, _hex(mapped): 1, "0" * 8: 2, "0" * 32: 3}


def _hex(raw: bytes) -> str:
    """Format an address as the kernel prints it: words of 32 bits in the processor's byte order."""
    return "".join(f"{int.from_bytes(raw[at : at + 4], sys.byteorder):08X}" for at in range(0, len(raw), 4))


def _table(name: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield local address, state, user and inode of each row of /proc/net/tcp or tcp6."""
    with contextlib.suppress(OSError), (PROC / "net" / name).open(encoding="ascii", errors="replace") as rows:
        next(rows, None)
        for row in rows:
            fields = row.split(maxsplit=10)
            if len(fields) > 9 and fields[7].isdigit() and fields[9].isdigit():
                yield fields[1], fields[3], int(fields[7]), int(fields[9])


def ports_of(pids: Iterable[int]) -> dict[int, bool]:
    """Return the ports on which processes listen, as far as we may see; True: on every address of the host."""
    inodes = {
        link[8:-1] for pid in pids for _, link in descriptors(pid) if link.startswith("socket:[") and link[-1] == "]"
    }
    found: dict[int, bool] = {}
    for name in ("tcp", "tcp6") if inodes else ():
        for local, state, _, inode in _table(name):
            if state != _LISTEN:
                break  # listening sockets come first
            where, _, number = local.partition(":")
            if str(inode) in inodes:
                port = int(number, 16)
                found[port] = found.get(port, False) or not where.strip("0")
    return found


def has_lingering_connections(port: int) -> bool:
    """Return whether the port has connections that a server left behind, and no listener."""
    rows = [state for name in ("tcp", "tcp6") for at, state, _, _ in _table(name) if at.endswith(f":{port:04X}")]
    return bool(rows) and _LISTEN not in rows


def holders(inode: int, pids: Iterable[int]) -> list[int]:
    """Return those of the processes that have the socket open, as far as we may see."""
    return [pid for pid in pids if any(link == f"socket:[{inode}]" for _, link in descriptors(pid))]


def descriptors(pid: int) -> Iterator[tuple[int, str]]:
    """Yield number and target of a process's open files; nothing if we may not look."""
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError, ValueError):
                yield int(entry.name), os.readlink(entry.path)  # noqa: PTH115, RUF100


def descriptors_readable(pid: int) -> bool:
    """Return whether we may look at a process's open files."""
    return os.access(f"/proc/{pid}/fd", os.R_OK | os.X_OK)


def all_pids() -> list[int]:
    """Return the ids of all processes."""
    try:
        with os.scandir(PROC) as entries:
            return [int(entry.name) for entry in entries if entry.name.isdigit()]
    except OSError:
        return []


def bound_not_listening(port: int, pids: Iterable[int]) -> int | None:
    """Return the one of these processes that has bound the port and does not listen on it; None if none is seen.

    No table lists such sockets, and trying to bind would take the port from a server that is just about to: so the
    descriptors are copied (pidfd_getfd, Linux 5.6) and asked.
    """
    for pid in pids:
        sockets = [number for number, link in descriptors(pid) if link.startswith("socket:")]
        if not sockets:
            continue
        try:
            process = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if any(_bound_to(process, number, port) for number in sockets):
                return pid
        finally:
            os.close(process)
    return None


def _bound_to(process: int, number: int, port: int) -> bool:
    """Return whether a descriptor of a process is a TCP socket that is bound to the port but not in use yet."""
    import ctypes

    copied = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, number, 0)
    if copied < 0:
        return False
    try:
        with socket.socket(fileno=copied) as one:
            if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
                return False
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or one.getsockname()[1] != port:
                return False
            with contextlib.suppress(OSError):
                one.getpeername()
                return False  # a connection
            return True
    except OSError:
        return False
