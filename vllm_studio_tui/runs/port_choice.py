"""Choose the port of a launch and hold it until its keeper has it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence

from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.keeper.port import why_not
from vllm_studio_tui.kit.ports import hold
from vllm_studio_tui.runs.read import RunView

#: How many ports are tried from the first one up.
PORTS = 1000


def likely_port(runs: Iterable[RunView], first_port: int) -> int:
    """Return the port that a launch gets which names none, as far as the live runs tell."""
    claimed = {one.port for one in runs}
    ports = range(first_port, min(first_port + PORTS, 65536))
    return next((one for one in ports if one not in claimed), first_port)


def next_port(runs: Iterable[RunView], recipe_id: str, host: str, first_port: int) -> int:
    """Return the port that a launch gets now which names none; a live run of the recipe gives its own up first."""
    claimed = {one.port: one.recipe_id for one in runs if one.live}
    for candidate in range(first_port, min(first_port + PORTS, 65536)):
        if candidate in claimed:
            if claimed[candidate] == recipe_id:
                return candidate
            continue
        try:
            hold(host, candidate).close()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                continue
        return candidate  # also where no port would do: the launch says why
    return first_port


def choose_port(runs: Sequence[RunView], host: str, port: int | None, first_port: int) -> socket.socket:
    """Return a port that is held: no other program gets it until the keeper releases it for its engine."""
    claimed = {one.port: one for one in runs if one.port is not None}
    if port is not None:
        if port in claimed:
            other = claimed[port]
            raise LaunchRefused(
                f"port {port} is taken",
                cause=f"{other.run_id} ({other.state}) has it.",
                advice="Use --force to stop that run, or another port.",
                in_the_way=True,
            )
        try:
            return hold(host, port)
        except OSError as error:
            raise _port_refused(error, host, port) from None
    last = min(first_port + PORTS, 65536)
    failed: OSError | None = None
    for candidate in range(first_port, last):
        if candidate not in claimed:
            try:
                return hold(host, candidate)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):  # another port would not help
                    raise _port_refused(error, host, candidate) from None
                failed = error
    raise LaunchRefused(
        f"no free port from {first_port} up",
        cause=f"Ports {first_port} to {last - 1} were tried on {host}: {failed.strerror if failed else 'all in use'}.",
        advice="Name a `port` in the recipe, or another VLLM_STUDIO_INFERENCE_PORT.",
    )


def _port_refused(error: OSError, host: str, port: int) -> LaunchRefused:
    _, title, cause, advice = why_not(error, host, port)
    return LaunchRefused(title, cause=cause, advice=advice)
