"""What every ssh of ours is started with, how it is ended, and what is said where it cannot connect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.remote.address import Address

#: What a connection that is dead is noticed by.
ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")


def destination(address: Address) -> list[str]:
    """Return the arguments that name a host."""
    port = ["-p", str(address.port)] if address.port is not None else []
    user = ["-l", address.user] if address.user is not None else []
    return [*port, *user, "--", address.host]


def cannot_connect(name: str, host: str, words: str) -> StudioError:
    """Return the error of an ssh that ended with 255, in its own words."""
    advice = f"See whether `ssh {host} true` works without a question."
    if "Permission denied (" in words:
        secret = "password" in words or "keyboard-interactive" in words
        asks = "It would take a password, and nobody is asked for one here" if secret else "It takes none of your keys"
        advice = f"{asks}: give it a key (`ssh-copy-id {host}`), or start an agent that has one."
    elif "Host key verification failed" in words:
        advice = f"Say once whether its key is right: `ssh {host} true`."
    return StudioError(f"ssh cannot connect to {name}", cause=words, advice=advice)


def tell_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to ssh and what it started: a ProxyCommand, the ssh of a ProxyJump."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def end_group(process: asyncio.subprocess.Process, grace: float) -> None:
    """End ssh and what it started."""
    tell_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await process.wait()
    tell_group(process.pid, signal.SIGKILL)  # a ProxyCommand may outlive its ssh
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await process.wait()
