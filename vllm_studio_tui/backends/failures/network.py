"""Causes in ports and addresses."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_PORT = "Choose another port, or leave it empty to have a free one."

NETWORK: tuple[Failure, ...] = (
    Failure(
        r"Port (\d+) is currently in use\. Switching to (\d+)",
        "port_moved",
        "port {1} was taken, and the engine silently moved to port {2}",
        _PORT,
        fatal=True,
        fixes=({"port": None},),
    ),
    start_failure(
        r"gaierror.{0,20}(?:Name or service not known|No address associated)|Name or service not known$",
        "bad_address",
        "the address in host has no such name in this network",
        "Correct host in the recipe: 127.0.0.1 for this machine only, 0.0.0.0 for all.",
    ),
    start_failure(
        r"Cannot assign requested address|\[Errno 99\]",
        "bad_address",
        "the address in host is not one of this machine",
        "Correct host in the recipe: 127.0.0.1 for this machine only, 0.0.0.0 for all.",
    ),
    start_failure(
        r"(?:bind|binding|listen).{0,120}Permission denied|\[Errno 13\].{0,40}(?:bind|port)",
        "port_denied",
        "this user may not listen on that port",
        "Choose a port from 1024 on, or leave it empty to have a free one.",
        fixes=({"port": None},),
    ),
    Failure(
        r"couldn't bind HTTP server socket, hostname: ([^\s,]{1,200}), port: (\d{1,5})",
        "port_in_use",
        "it cannot listen on port {2} of {1}: the port is taken, or that is no address of this machine",
        # It does not take a port over from another engine's closed connections (TIME_WAIT).
        "Wait a minute if another engine was stopped there just now: its closed connections still hold the port. "
        "Otherwise choose another port; correct host if it is not 127.0.0.1 or 0.0.0.0.",
        fixes=("free_port",),
    ),
    Failure(
        r"server socket has failed to listen.{0,80}port: (\d{1,5}).{0,120}(?:EADDRINUSE|in use)",
        "port_in_use",
        "port {1}, over which the engine's own processes find each other, is taken",
        "End the other engine, or name another one: MASTER_PORT in env_vars, dist_init_addr or nccl_port in "
        "extra_args (SGLang).",
        fixes=("free_port",),
    ),
    Failure(
        r"Address already in use|\[Errno 98\]|error while attempting to bind"
        r"|port is already allocated",
        "port_in_use",
        "its port is taken by another program",
        _PORT,
        fixes=("free_port",),
    ),
)
