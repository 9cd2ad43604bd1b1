"""Reading the engine's log in a thread of its own: a flood or an odd line must not keep a stop waiting."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.log_watch import LogWatch
from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.keeper.verdict import Verdict, explain_exit
from vllm_studio_tui.keeper.worker import Worker

#: Reasons that say that the memory of a GPU was not enough: whoever holds it is named.
OF_GPU_MEMORY = frozenset({"out_of_memory", "gpu_memory_taken"})
#: Seconds that asking for it may take, and characters of the answer.
HOLDERS, WORDS = 6.0, 600


@dataclass(frozen=True, slots=True)
class LogResult:
    """The result of reading the log.

    Attributes:
        kind: follow or explain.
        moved: The stage or its progress moved.
        ending: Why the engine ended.
        fault: What went wrong on our side.
    """

    kind: str
    moved: bool = False
    ending: Verdict | None = None
    fault: BaseException | None = None


class LogReader:
    """Follows the log of one attempt after the other, and explains how an engine ended."""

    def __init__(self, spec: RunSpec, path: Path) -> None:
        self._spec, self._path = spec, path
        self._worker = Worker("log")
        self.watch = self._watch()

    @property
    def wake_read(self) -> int:
        return self._worker.wake_read

    def begin(self, offset: int | None = None) -> None:
        """Begin a new attempt, at the end of the log or at an earlier offset in bytes."""
        self.watch = self._watch()
        if offset is not None:
            self.watch.begin_at(offset)

    def _watch(self) -> LogWatch:
        spec = self._spec
        return LogWatch(self._path, spec.stages, spec.failures, labelled=bool(spec.follow))

    def follow(self) -> None:
        """Ask for what is new in the log to be read."""
        watch = self.watch
        self._worker.ask("follow", lambda: (watch, watch.follow()))

    def explain(
        self,
        code: int | None,
        number: int | None,
        *,
        was_ready: bool,
        ooms_before: int | None,
        blame: Callable[[Verdict], Verdict],
    ) -> None:
        """Ask why the engine ended; `blame` looks for another server as the reason, where it never got ready."""
        watch = self.watch

        def work() -> tuple[LogWatch, Verdict]:
            found = explain_exit(watch, code, number, was_ready=was_ready, ooms_before=ooms_before)
            if found.reason in OF_GPU_MEMORY and self._spec.holders_argv:
                words = holders(self._spec.holders_argv)
                found = replace(found, advice=f"{found.advice} {words}".strip())
            return watch, found if was_ready else blame(found)

        self._worker.ask("explain", work)

    def answers(self) -> list[LogResult]:
        """Return what has been read since; of an earlier attempt nothing counts any more."""
        found = []
        for done in self._worker.answers():
            if done.fault is not None:
                found.append(LogResult(done.kind, fault=done.fault))
                continue
            watch, value = done.value
            if watch is self.watch:
                found.append(
                    LogResult(done.kind, ending=value)
                    if isinstance(value, Verdict)
                    else LogResult(done.kind, moved=bool(value))
                )
        return found


def holders(argv: Sequence[str]) -> str:
    """Return who holds the memory of the GPUs, in words; empty where nobody does or nothing can be asked."""
    env = {key: value for key, value in os.environ.items() if key != VARIABLE}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, timeout=HOLDERS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return " ".join(done.stdout[: 4 * WORDS].decode("utf-8", "replace").split())[:WORDS]
