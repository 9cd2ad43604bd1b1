"""What follows after an engine ended that nobody stopped: a restart, or the end of the run."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.keeper.verdict import Verdict
from vllm_studio_tui.kit.durations import duration_words


@dataclass(frozen=True, slots=True)
class Next:
    """The state that follows; `delay` seconds of backoff; `note` is put before the advice."""

    state: State
    delay: float = 0.0
    note: str = ""


@dataclass(slots=True)
class CrashBudget:
    """Counts failures within a window. Times are of the monotonic clock."""

    rule: Restart
    failures: list[float] = field(default_factory=list)

    def after(self, verdict: Verdict, now: float, *, by_itself: bool) -> Next:
        """Decide.

        Args:
            verdict: Why the engine ended.
            now: Monotonic seconds.
            by_itself: It had been ready and then exited with code 0.
        """
        if by_itself and self.rule.policy != "always":
            return Next(State.EXITED)
        self.failures = [at for at in self.failures if now - at < self.rule.window] + [now]
        if self.rule.policy == "never":
            return Next(State.FAILED)
        if not verdict.retry:
            return Next(State.FAILED, note="Not started again: it would fail the same way.")
        if len(self.failures) >= self.rule.budget:
            return Next(
                State.FAILED,
                note=f"{len(self.failures)} failures within {duration_words(self.rule.window)}: not started again.",
            )
        delay = min(self.rule.max_delay, self.rule.delay * 2 ** (len(self.failures) - 1))
        # Jitter, so that engines that died together do not start together.
        return Next(State.BACKOFF, delay * random.uniform(0.8, 1.2))  # noqa: RUF100, S311
