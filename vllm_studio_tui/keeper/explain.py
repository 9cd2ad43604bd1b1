"""How an engine ended, in words."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_studio_tui.keeper.causes import NO_LEAD, Cause
from vllm_studio_tui.keeper.logwatch import LogWatch, meaningful
from vllm_studio_tui.keeper.port import why_not

_SIGNALS = {
    signal.SIGKILL: (
        "killed",
        "killed by SIGKILL",
        "The kernel kills what takes too much memory: see `dmesg` or the memory limit of the container.",
    ),
    signal.SIGSEGV: (
        "native_crash",
        "crashed: segmentation fault (SIGSEGV)",
        "A bug in native code. Try another attention backend or an eager run, and look for an Xid in `dmesg`.",
    ),
    signal.SIGABRT: (
        "native_crash",
        "aborted itself (SIGABRT)",
        "The last lines of the log usually say why.",
    ),
    signal.SIGBUS: (
        "native_crash",
        "crashed: bus error (SIGBUS)",
        "Often a full /dev/shm or a model file that changed while mapped.",
    ),
    signal.SIGILL: (
        "native_crash",
        "crashed: illegal instruction (SIGILL)",
        "This build was made for another processor.",
    ),
    signal.SIGFPE: ("native_crash", "crashed: arithmetic error (SIGFPE)", ""),
    signal.SIGTERM: (
        "terminated",
        "ended by SIGTERM that the studio did not send",
        "Somebody or something else stopped it.",
    ),
    signal.SIGINT: ("terminated", "interrupted (SIGINT) by somebody else", ""),
    signal.SIGHUP: (
        "terminated",
        "ended by SIGHUP",
        "It was hung up on although it has a session of its own.",
    ),
    signal.SIGPIPE: ("native_crash", "ended by a broken pipe (SIGPIPE)", ""),
}

_CODES = {
    0: "ended by itself with exit code 0",
    2: "exit code 2: its command line was not understood",
    126: "exit code 126: the command cannot be executed",
    127: "exit code 127: the command was not found",
    137: "exit code 137: killed by SIGKILL inside a wrapper, often for too much memory",
    143: "exit code 143: terminated inside a wrapper",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an engine is no longer there.

    Attributes:
        reason: A slug, for programs.
        title: In words.
        retry: Whether another try could help.
        fix: Changes of the recipe that answer it, see `domain.spec.Failure`.
    """

    reason: str
    title: str
    advice: str = ""
    evidence: list[str] = field(default_factory=list)
    retry: bool = True
    fix: dict[str, Any] = field(default_factory=dict)


#: The advice for an error that no row of the table knows.
UNKNOWN_ERROR = "No rule knows this error: the lines around it in the log are the best lead."


def in_words(code: int | None, number: int | None) -> tuple[str, str, str]:
    """Slug, words and advice for an exit code or a signal; both None: not known."""
    if number is not None:
        if number in _SIGNALS:
            return _SIGNALS[signal.Signals(number)]
        name = f"signal {number}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
        return "native_crash", f"ended by {name}", ""
    if code is None:
        return "exit_unknown", "ended while no keeper could see its exit code", ""
    return "process_exited", _CODES.get(code, f"exit code {code}"), "The last lines of its log may say why."


KEEPER_LOST = Ending(
    "keeper_lost",
    "its keeper was killed, and the engine ended meanwhile",
    "Its exit code is not known. Launch it again.",
)


def no_port(error: OSError, host: str, port: int) -> Ending:
    """The port of the run cannot be had: somebody else listens there, or it is not ours to use."""
    reason, title, cause, advice = why_not(error, host, port)
    return Ending(reason, title, f"{cause} {advice}", retry=False)


def told(cause: Cause) -> Ending:
    """What a line of the log says while the engine still lives."""
    failure = cause.failure
    return Ending(failure.reason, cause.title, cause.advice, [cause.line[:400]], failure.restart, cause.fix)


def too_slow(limit: float | None, stage: str | None, heard: str | None = None) -> Ending:
    """A start that took longer than the recipe allows."""
    last = (f", last stage: {stage}" if stage else "") + (f"; {heard}" if heard else "")
    title = f"was not ready within {limit or 0:g} s{last}"
    return Ending("start_timeout", title, "Raise `ready_timeout` in the recipe if it only needs more time.")


def ending(
    watch: LogWatch, code: int | None, number: int | None, *, was_ready: bool, ooms_before: int | None = None
) -> Ending:
    """Why the engine ended, from its log first and its exit code second.

    `ooms_before` is what `oom_kills` said when the keeper started: if it has grown, a SIGKILL is explained.
    """
    lines = watch.attempt_lines()
    # An engine that served and left in order may have logged the troubles of a request.
    in_order = code == 0 and was_ready and watch.last_pointer(lines) is None
    found = None if in_order else watch.cause(lines)
    evidence = meaningful(lines)
    if found is not None and (number is None or not found.failure.pointer):
        title, lead, advice = found.title, found.line, found.advice
        if found.failure.pointer:
            error = watch.first_error(lines[: watch.last_pointer(lines)])
            if error is not None:
                title, lead = f"{title}: {error[1][:200]}", lines[error[0]].strip()
            elif found.failure.reason == "engine_died":
                advice = NO_LEAD
        if lead[:400] not in evidence:
            evidence = [lead[:400], *evidence[-5:]]
        return Ending(found.failure.reason, title, advice, evidence, found.failure.restart, found.fix)
    reason, title, advice = in_words(code, number)
    kills = oom_kills() if reason == "killed" and ooms_before is not None else None
    if kills is not None and ooms_before is not None and kills > ooms_before:
        title = "killed by the kernel: the memory limit was reached"
        advice = "Use less memory, or raise the limit of the container."
        return Ending("system_ram_oom", title, advice, evidence)
    if code == 0 and not was_ready:
        reason, title = "process_exited", "ended by itself with exit code 0 before it was ready"
    error = watch.first_error(lines) if reason == "process_exited" and code else None
    if error is not None:
        line = lines[error[0]].strip()[:400]
        evidence = evidence if line in evidence else [line, *evidence[-5:]]
        return Ending("engine_error", f"{error[1][:200]} (exit code {code})", UNKNOWN_ERROR, evidence)
    if not evidence and code not in (None, 0):
        advice = "It wrote nothing to its log. Try its command in a shell."
    return Ending(reason, title, advice, evidence)


def oom_kills(cgroup: Path = Path("/sys/fs/cgroup/memory.events")) -> int | None:
    """How often the kernel killed something in this memory limit; None where it does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in cgroup.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None
