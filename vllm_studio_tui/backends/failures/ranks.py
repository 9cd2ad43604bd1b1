"""Causes of engines on several machines or with several processes: a rank is gone, or they do not find each other.

Most of these lines are printed by the ranks that are left. Their reasons are in `domain.ranks.FOLLOWER_REASONS`, so
that of a unit's ranks the one with a cause of its own is named.
"""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_GONE = (
    "The cause stands in the log of the rank that ended first. Where none has ended by itself, look at the network "
    "between the machines, and for memory that ran out (`dmesg`)."
)
_MEET = (
    "Start all ranks with the same master address, port and number of machines, and see that the first machine's ports "
    "can be reached from the others (firewall; containers with the host's network). Check dist_init_addr in extra_args "
    "(SGLang) or VLLM_HOST_IP in env_vars, there GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME, too."
)

RANKS: tuple[Failure, ...] = (
    Failure(
        r"gloo/transport/.{0,60}\] \w+ error (\[[0-9a-fA-F.:]{3,45}\]:\d{1,5}): (?:Connection reset|Broken pipe)"
        r"|gloo/transport/.{0,60}\] Connection closed by peer (\[[0-9a-fA-F.:]{3,45}\]:\d{1,5})",
        "peer_lost",
        "another rank is gone: {1}{2} closed its connection",
        _GONE,
        weak=True,
    ),
    Failure(
        r"gloo/transport/.{0,80}(?:closed by peer|reset by peer|Broken pipe)|ncclRemoteError"
        r"|remote process (?:exiting prematurely|exited or there was a network error)"
        r"|(?:NCCL WARN|socketProgress).{0,80}(?:closed by remote peer|Connection reset by peer)"
        r"|Connection was likely closed\. Did the remote server shutdown or crash"
        r"|TCPStore\.cpp:\d{1,5}\] \[c10d\] (?:sendBytes|recvBytes|recvVector|recvValue) failed",
        "peer_lost",
        "another rank is gone: it closed its connection",
        _GONE,
        weak=True,
    ),
    Failure(
        r"(?:ActorDiedError|ActorUnavailableError|WorkerCrashedError|NodeDiedError|RayActorError)\b",
        "ray_worker_lost",
        "a worker of Ray on another machine is gone",
        "See `ray status` and the worker's log in /tmp/ray/session_latest/logs on its machine: memory that ran out "
        "there, or a node that left the cluster.",
        weak=True,
    ),
    start_failure(
        r"Timed out after (\d{1,6}) seconds waiting for clients\. (\d{1,5})/(\d{1,5}) clients joined",
        "rendezvous",
        "{2} of {3} ranks came together in {1} s",
        _MEET,
        restart=True,
    ),
    start_failure(
        r"DistNetworkError: .{0,120}connect to (\([^)]{1,80}\))|client socket has timed out"
        r"|client socket has failed to connect|Gloo connectFullMesh failed",
        "rendezvous",
        "the ranks of the engine could not reach each other {1}",
        f"Start the one at that address first. {_MEET}",
        restart=True,
    ),
    start_failure(
        r"Did not receive response from front-end",
        "rendezvous",
        "the first rank did not answer: it is not there, or has ended",
        _MEET,
        restart=True,
    ),
    Failure(
        r"Watchdog caught collective operation timeout|gloo/transport/.{0,60}\] Timed out waiting \d{1,9}ms",
        "collective_timeout",
        "one of the GPUs' processes died or hung",
        "Look for the first error of any rank. Where there is none a GPU or its link hangs: see nvidia-smi and an Xid "
        "in `dmesg`; try disable_custom_all_reduce in extra_args, NCCL_P2P_DISABLE=1 in env_vars.",
        pointer=True,
    ),
)
