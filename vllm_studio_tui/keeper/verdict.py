"""Verdicts: why an engine ended, is ended or cannot start, in words for a person and a slug for programs."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, field
from pathlib import Path

from vllm_studio_tui.domain.spec import Fix
from vllm_studio_tui.keeper.causes import Cause
from vllm_studio_tui.keeper.explanation import Explanation, explain
from vllm_studio_tui.keeper.log_watch import LogWatch, meaningful
from vllm_studio_tui.keeper.port import passing, why_not

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
class Verdict:
    """Why an engine is no longer there.

    Attributes:
        reason: A slug, for programs.
        title: In words.
        retry: Whether another try could help.
        fixes: What answers it, the best first, see `domain.spec.Fix`.
        groups: What the groups of the pattern matched by which the log told it.
    """

    reason: str
    title: str
    advice: str = ""
    evidence: list[str] = field(default_factory=list)
    retry: bool = True
    fixes: list[Fix] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


#: The rule that answers a port that cannot be had.
FREE_PORT = "free_port"
#: Reasons that only say that it ended.
NO_CAUSE = ("process_exited", "exit_unknown", "keeper_lost", "engine_died")
#: Signals that come from outside: no line of the log outranks them.
_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: SGLang ends itself by a signal when one of its processes has failed.
_KILLS_ITSELF = "Received sigquit from a child process"
#: Exit codes of a command line that was not understood, or of a program that cannot be run: no try changes that.
_LASTING_CODES = (2, 126, 127)


def describe_exit(code: int | None, number: int | None) -> tuple[str, str, str]:
    """Return slug, words and advice for an exit code or a signal; both None: not known."""
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


NO_SPEC = Verdict(
    "spec_unreadable",
    "its spec.json cannot be read: it is watched, and cannot be started again",
    "Stop it, and launch its recipe again.",
    retry=False,
)
HOST_REBOOTED = Verdict("host_rebooted", "the host was restarted", "Launch it again, or use `restore` at boot.")
KEEPER_LOST = Verdict(
    "keeper_lost",
    "its keeper was killed, and the engine ended meanwhile",
    "Its exit code is not known. Launch it again.",
)


def port_unavailable(error: OSError, host: str, port: int) -> Verdict:
    """Return the verdict on a port that cannot be bound: somebody else listens there, or it is not ours to use."""
    reason, title, cause, advice = why_not(error, host, port)
    fixes: list[Fix] = [FREE_PORT] if reason == "port_in_use" else []
    return Verdict(reason, title, f"{cause} {advice}", retry=passing(error, port), fixes=fixes)


def verdict_of_line(cause: Cause) -> Verdict:
    """Return the verdict of a fatal line of the log, while the engine still lives."""
    failure = cause.failure
    return Verdict(
        failure.reason, cause.title, cause.advice, [cause.line[:400]], failure.restart, cause.fixes, list(cause.groups)
    )


def start_timeout(limit: float | None, stage: str | None, heard: str | None = None) -> Verdict:
    """Return the verdict on a start that took longer than the recipe allows."""
    last = (f", last stage: {stage}" if stage else "") + (f"; {heard}" if heard else "")
    title = f"was not ready within {limit or 0:g} s{last}"
    return Verdict("start_timeout", title, "Raise `ready_timeout` in the recipe if it only needs more time.")


def explain_exit(
    watch: LogWatch, code: int | None, number: int | None, *, was_ready: bool, ooms_before: int | None = None
) -> Verdict:
    """Return why the engine ended.

    Before it was ready its log tells best. After that only what stands right before the end may tell, a signal comes
    first, and another try is always worth it: one refused request is no reason to give up an engine.
    `ooms_before` is what `oom_kills` said when the keeper started: if it has grown, a SIGKILL is explained.
    """
    lines = watch.attempt_lines()
    evidence = meaningful(lines)
    found = explain(lines, watch.failures, served=was_ready)
    reason, title, advice = describe_exit(code, number)
    killed = number in _OUTSIDE and not (found is not None and any(_KILLS_ITSELF in line for line in lines[-400:]))
    if killed and (was_ready or found is None or not found.row or found.pointer):
        kills = oom_kills() if reason == "killed" and ooms_before is not None else None
        if kills is not None and ooms_before is not None and kills > ooms_before:
            title = "killed by the kernel: the memory limit was reached"
            advice = "Use less memory, or raise the limit of the container."
            return Verdict("system_ram_oom", title, advice, evidence)
        return Verdict(reason, title, advice, evidence)
    if code == 0 and was_ready and found is not None and not found.pointer:
        found = None  # it left in order, whatever it may have logged of its requests
    if found is not None:
        return _verdict_of_log(found, evidence, code, number if was_ready and not killed else None, title)
    retry = was_ready or code not in _LASTING_CODES
    if code == 0 and not was_ready:
        title = "ended by itself with exit code 0 before it was ready"
        advice = (
            "Its command did something else than to serve: check executable, python_path and command in the recipe; "
            "`recipes command` shows it."
        )
    elif not evidence and code not in (None, 0):
        advice = "It wrote nothing to its log. Try its command in a shell: `recipes command` shows it."
    return Verdict(reason, title, advice, evidence, retry)


def _verdict_of_log(
    found: Explanation, evidence: list[str], code: int | None, number: int | None, words: str
) -> Verdict:
    """Return what the log says, its line first; the title begins with a signal that the engine sent itself."""
    line = found.line[:400]
    evidence = [line, *[one for one in evidence if one != line][-5:]]
    title, retry = found.title, found.retry
    if number is not None and not found.pointer:
        title = f"{words}: {title}"
    elif not found.row and code and found.reason == "engine_error":
        title = f"{title} (exit code {code})"
        retry = retry and code not in _LASTING_CODES
    return Verdict(found.reason, title, found.advice, evidence, retry, list(found.fixes), list(found.groups))


def oom_kills(cgroup: Path = Path("/sys/fs/cgroup/memory.events")) -> int | None:
    """Return how often the kernel killed something in this memory limit; None where it does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in cgroup.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None
