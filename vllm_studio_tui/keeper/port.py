"""The port of a run: holding it, and saying why it cannot be had."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket
from pathlib import Path

from vllm_studio_tui.kit import listeners, ports

OTHER_PORT = "Choose another port, or `port: null` for the first free one."


def why_not(error: OSError, host: str, port: int) -> tuple[str, str, str, str]:
    """Return slug, title, cause and advice for a port that could not be bound."""
    words = (error.strerror or str(error)).rstrip(".")
    if isinstance(error, socket.gaierror):
        advice = "Correct `host` in the recipe: an address of this machine, 127.0.0.1, or 0.0.0.0 for all."
        return "host_unknown", f"the host name {host} does not resolve", f"{words}.", advice
    if passing(error, port):
        cause = "A server has just ended there, and the system keeps its closed connections for up to a minute."
        return "port_in_use", f"port {port} is not free yet", cause, f"Try again in a minute. {OTHER_PORT}"
    if error.errno == errno.EADDRINUSE:
        return "port_in_use", f"port {port} is taken by another program", taken_by(host, port), OTHER_PORT
    if error.errno in (errno.EACCES, errno.EPERM):
        cause = f"{words}: the system reserves it."
        if port < 1024:
            cause = f"{words}: ports below 1024 are for root or for programs with CAP_NET_BIND_SERVICE."
        return "port_forbidden", f"port {port} may not be used", cause, "Choose a port from 1024 up, such as 8000."
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        advice = "Use 127.0.0.1, an address that `ip address` lists, or 0.0.0.0 for all."
        return "host_not_here", f"{host} is no address of this machine", f"{words}.", advice
    return "port_unusable", f"{host}:{port} cannot be listened on", f"{words}.", "Correct `host` and `port`."


def passing(error: OSError, port: int) -> bool:
    """Return whether only closed connections of an earlier server keep the port (TIME_WAIT): it is free in a minute."""
    return error.errno == errno.EADDRINUSE and listeners.has_lingering_connections(port)


def taken_by(host: str, port: int) -> str:
    """Return who has a port, in a sentence."""
    address: str | None = None
    with contextlib.suppress(OSError):
        address = str(ports.resolve(host, port, 1.0)[1][0])
    found = listeners.listeners(port, None if address in ("0.0.0.0", "::") else address)  # noqa: S104
    if not found:
        return "Another program has it, and does not listen there yet."
    pids = listeners.holders(found[0].inode, listeners.all_pids())
    words = process_words(min(pids) if pids else None, found[0].user)
    return f"{words[:1].upper()}{words[1:]} listens there."


def process_words(pid: int | None, user: int) -> str:
    """Return a process by number and name; one that cannot be seen by its user."""
    if pid is not None:
        return f"process {pid} ({name_of(pid)})"
    return f"a process of {user_name(user)}"


def name_of(pid: int) -> str:
    """Return what a process is called, in characters that show."""
    try:
        text = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        text = ""
    return "".join(c for c in text if c.isprintable())[:40] or "?"


def user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


class HeldPort:
    """The run's port while no engine has it. What cannot be held is tried again before the next start."""

    def __init__(self, host: str, port: int, given: int | None = None) -> None:
        self._host, self._port = host, port
        self._socket: socket.socket | None = None
        if given is not None:
            with contextlib.suppress(OSError):
                self._socket = socket.socket(fileno=given)
                os.set_inheritable(given, False)

    def take(self) -> None:
        """Hold the port from now on.

        Raises:
            OSError: It cannot be had; see `why_not`.
        """
        if self._socket is None:
            self._socket = ports.hold(self._host, self._port)

    def try_to_take(self) -> None:
        with contextlib.suppress(OSError):
            self.take()

    def let_go(self) -> None:
        """Free the port for the engine, which is started next."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
