"""Causes in the machine: disks, files, limits, the processor."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

SYSTEM: tuple[Failure, ...] = (
    start_failure(
        r"does not appear to support flock|No locks available|flock.{0,80}(?:Function not implemented|not supported)",
        "no_locks",
        "the file system that holds the cache of models cannot lock files",
        "Put the cache on a local disk (HF_HOME in env_vars), or have the share mounted with locks (Lustre: -o flock; "
        "NFS: its lock service).",
    ),
    start_failure(
        r"^(?!.*\b(?:SIGILL handler)\b).*Illegal instruction",
        "wrong_processor",
        "the engine was built for another processor: illegal instruction",
        "Use a build for this processor, or compile it here (llama.cpp: GGML_NATIVE).",
    ),
    start_failure(
        r"cannot execute binary file|Exec format error",
        "wrong_processor",
        "the program was built for another kind of machine, or is no program",
        "Check executable and python_path in the recipe, and that the build is for this architecture (uname -m).",
    ),
    start_failure(
        r"UnicodeEncodeError: 'ascii'|locale\.Error: unsupported locale",
        "locale",
        "the engine runs in a locale that cannot write its text",
        "Set LC_ALL=C.UTF-8 in env_vars.",
        fixes=({"env_vars.LC_ALL": "C.UTF-8"},),
    ),
    Failure(
        r"No space left on device",
        "disk_full",
        "a disk is full",
        "Free space: see `df -h`, the Hugging Face cache and /dev/shm.",
        restart=False,
    ),
    Failure(
        r"Disk quota exceeded|\[Errno 122\]",
        "disk_quota",
        "this user's quota of disk space is used up",
        "Free space, or put caches elsewhere: HF_HOME and VLLM_CACHE_ROOT in env_vars.",
        restart=False,
    ),
    Failure(
        r"File size limit exceeded|\[Errno 27\] File too large",
        "disk_quota",
        "a file became larger than this user may write",
        "Raise the limit: ulimit -f unlimited.",
        restart=False,
    ),
    Failure(
        r"Read-only file system(?:: '([^']{1,300})')?",
        "read_only",
        "the engine wants to write where nothing may be written {1}",
        "Set HF_HOME, VLLM_CACHE_ROOT, TRITON_CACHE_DIR and TMPDIR in env_vars to folders that can be written.",
        restart=False,
    ),
    Failure(
        r"(?:dev/shm|shared memory).{0,200}(?:insufficient|too small|bus error)|bus error encountered in worker",
        "shared_memory",
        "shared memory is too small",
        "Give the container more: docker.shm in the recipe (--shm-size 16g), or --ipc=host.",
        restart=False,
    ),
    Failure(
        r"\bBus error\b",
        "bus_error",
        "memory that stands for a file could not be read or written (bus error)",
        "Look whether the model file is whole, its disk or network share in order (`dmesg`), and /dev/shm not full; in "
        "a container raise docker.shm. llama.cpp: no_mmap in extra_args reads the file instead of mapping it.",
        restart=False,
    ),
    Failure(
        # vLLM's routine warning of a low limit quotes the error.
        r"^(?!.*\b(?:ulimit|WARNING)\b).*Too many open files",
        "too_many_files",
        "too many open files",
        "Raise the limit: ulimit -n 65535.",
        restart=False,
    ),
    Failure(
        r"libgomp: Thread creation failed|can't start new thread|OpenBLAS blas_thread_init: pthread_create failed"
        r"|Resource temporarily unavailable.{0,40}(?:thread|fork)"
        r"|(?:thread|fork).{0,80}Resource temporarily unavailable"
        r"|thread creation failed",
        "too_many_threads",
        "no more threads or processes may be started",
        "Raise the limit (ulimit -u; pids of the container), or use fewer: OMP_NUM_THREADS in env_vars.",
        restart=False,
    ),
)
