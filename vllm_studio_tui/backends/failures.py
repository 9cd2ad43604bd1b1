"""Why engines fail: lines of their logs, the cause in words, and what to do.

One table for all engines, since wrappers, shared libraries and the hub print the same lines in each. The lines were
taken from the engines' sources (vLLM 0.33, SGLang 0.5.23, llama.cpp) and from recorded runs; a warning or the log of
a start that succeeded must match none of them. Patterns are searched in single lines without regard to case; of one
line the first row that matches counts, so the particular stands before the general.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.backends.lasting_failures import FETCH, FIXED, Row
from vllm_studio_tui.domain.spec import Failure

_MEMORY = (
    "Use a smaller quantization, more GPUs (tensor_parallel_size), or a smaller max_model_len and max_num_seqs; "
    "look for other processes on the GPU."
)

#: Causes that may be gone at the next try.
_PASSING: tuple[Row, ...] = (
    (
        r"^(?:.{0,80}: line \d+: +\d+ )?Killed(?:\s|$)|Out of memory: Killed process",
        "killed",
        "killed by SIGKILL",
        "The kernel kills what takes too much memory: see `dmesg` or the memory limit of the container.",
    ),
    (
        r"Free memory on device \S*\s*\(([\d.]+)/([\d.]+) GiB\) on startup is less than "
        r"(?:desired GPU memory utilization|the engine's budget.{0,80}) \(([\d.]+)",
        "gpu_memory_taken",
        "only {1} of {2} GiB are free on the GPU, less than gpu_memory_utilization {3} asks for",
        "Something else uses this GPU: see `vllm-studio gpus`. Stop it, or lower gpu_memory_utilization.",
    ),
    (
        r"CUDA out of memory.{0,80}?Tried to allocate ([\d.]+ \w+)",
        "out_of_memory",
        "the GPU is out of memory: {1} more were needed",
        _MEMORY,
    ),
    (
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|cudaMalloc failed: out of memory"
        r"|unable to allocate \S+ buffer|DefaultCPUAllocator: can't allocate memory",
        "out_of_memory",
        "out of memory",
        _MEMORY,
    ),
    (
        r"Capture (?:cuda|prefill CUDA|decode CUDA) graph failed",
        "out_of_memory",
        "there is no memory left for CUDA graphs",
        "Lower gpu_memory_utilization or cuda_graph_max_bs_decode, or switch graphs off.",
    ),
    (
        r"Address already in use|\[Errno 98\]|couldn't bind HTTP server socket|error while attempting to bind",
        "port_in_use",
        "its port is taken by another program",
        "Choose another port, or leave it empty to have a free one.",
    ),
    (
        r"Max retries exceeded.{0,300}huggingface|Temporary failure in name resolution"
        r"|Failed to resolve '\S{0,80}huggingface",
        "offline",
        "the hub cannot be reached",
        FETCH,
    ),
    (
        r"ncclUnhandledCudaError|ncclSystemError|ncclRemoteError|NCCL error",
        "nccl",
        "the GPUs cannot talk to each other (NCCL)",
        "Set NCCL_DEBUG=INFO to see why; try NCCL_P2P_DISABLE=1, NCCL_IB_DISABLE=1, or set NCCL_SOCKET_IFNAME.",
    ),
    (
        r"device-side assert|illegal memory access|CUBLAS_STATUS_(?!SUCCESS)",
        "gpu_crash",
        "a GPU kernel crashed",
        "Try another attention_backend or enforce_eager; look for an Xid in `dmesg`.",
    ),
    (
        r"Timed out waiting for engine|did not become ready",
        "start_timeout",
        "a part of the engine did not start in time",
        "Raise VLLM_ENGINE_READY_TIMEOUT_S in env_vars.",
    ),
)

#: Lines that follow from an earlier cause.
_POINTERS: tuple[Row, ...] = (
    (
        r"Watchdog caught collective operation timeout|DistBackendError",
        "nccl",
        "one of the GPUs' processes died or hung",
        "Look for the first error of any rank, and at the host's memory.",
    ),
    (
        r"failed to load model|error loading model|exiting due to model loading error",
        "model_unreadable",
        "the model cannot be loaded",
        "Check the file and its shards, or use a newer llama-server.",
    ),
    (
        # vLLM's async_llm.py names EngineDeadError too when it was stopped in an orderly way while it streamed.
        r"WorkerProc initialization failed|Engine core initialization failed|EngineCore encountered a fatal error"
        r"|(?:proc\S{0,40}|Worker) \S{1,80} died unexpectedly|MPClient: engine core exited unexpectedly"
        r"|^(?!.*async_llm\.py).*EngineDeadError",
        "engine_died",
        "the engine's core process died",
        "The cause stands above, in the first traceback of its log.",
    ),
)


#: What ends a start although the engine goes on: it would serve otherwise than it was asked to.
_FATAL: tuple[Row, ...] = (
    (
        r"Port (\d+) is currently in use\. Switching to (\d+)",
        "port_moved",
        "port {1} was taken, and the engine silently moved to port {2}",
        "Choose another port, or leave it empty to have a free one.",
        {"port": None},
    ),
)


def _fix(row: Row) -> Mapping[str, Any]:
    return row[4] if len(row) == 5 else {}


FAILURES: tuple[Failure, ...] = (
    *(Failure(*row[:4], fatal=True, fix=_fix(row)) for row in _FATAL),
    *(Failure(*row[:4], restart=False, fix=_fix(row)) for row in FIXED),
    *(Failure(*row[:4], fix=_fix(row)) for row in _PASSING),
    *(Failure(*row[:4], restart=row[1] != "model_unreadable", pointer=True) for row in _POINTERS),
)
