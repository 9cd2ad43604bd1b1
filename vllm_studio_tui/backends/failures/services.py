"""Causes in what starts and ends engines as a service: systemd, Slurm and the killers of memory."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

SERVICES: tuple[Failure, ...] = (
    start_failure(
        r"Failed to locate executable (\S{1,300}):|Failed at step EXEC spawning (\S{1,300}):",
        "program_missing",
        "there is no program {1}{2}, which the systemd unit is to start",
        "Correct ExecStart in the unit (systemctl cat NAME shows it; then systemctl daemon-reload), or put the program "
        "there.",
    ),
    start_failure(
        r"Failed at step (\w{1,40}) spawning (\S{1,300}): (.{1,120})",
        "service",
        "systemd could not start {2} ({1}): {3}",
        "Correct the unit (systemctl cat NAME): User for USER, WorkingDirectory for CHDIR, EnvironmentFile, limits.",
    ),
    Failure(
        r"Detected \d{1,6} oom[_-]kill|srun: error: [^:]{1,200}: tasks? [^:]{1,80}: Out Of Memory",
        "killed",
        "Slurm ended it: it took more of the machine's memory than the job had asked for",
        "Ask for more (--mem), or use less: a smaller model or cache, fewer workers.",
        restart=False,
    ),
    Failure(
        r"CANCELLED AT \S{1,40} DUE TO (\w[\w ]{1,40})",
        "terminated",
        "Slurm ended it: {1}",
        "Ask for more time (--time) or another partition; `sacct -j JOB` shows what happened.",
        restart=False,
    ),
    Failure(
        r"(systemd-oomd) killed|(earlyoom).{0,20}sending SIG",
        "killed",
        "{1}{2} ended it: the machine's memory was short",
        "Use a smaller model or cache, more layers on the GPU, or add memory or swap. In the unit "
        "ManagedOOMPreference=omit takes it out of systemd-oomd's choice.",
        restart=False,
    ),
    Failure(
        r"unit has been killed by the OOM killer|Failed with result 'oom-kill'",
        "killed",
        "the kernel killed it for lack of memory",
        "Use a smaller model or cache, add memory or swap, or raise MemoryMax of the systemd unit.",
        restart=False,
    ),
)
