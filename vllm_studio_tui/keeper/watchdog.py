"""Noticing an engine that lives and does not work: requests without tokens, or no answer for minutes."""

from __future__ import annotations

from collections.abc import Mapping

from vllm_studio_tui.domain.spec import Restart
from vllm_studio_tui.keeper.verdict import Verdict

#: Counters that move with every step of an engine that works; of each engine the first it has.
MOVING = ("progress", "generation_tokens", "prompt_tokens")


class Watchdog:
    """Watches one attempt. Times are of the monotonic clock."""

    def __init__(self, rule: Restart) -> None:
        self._rule = rule
        self._moved: tuple[float | None, ...] | None = None
        self._still_since: float | None = None
        self._silent_since: float | None = None
        self.running = 0

    def begin(self) -> None:
        """Forget the last engine: a new one begins."""
        self._moved, self._still_since, self._silent_since, self.running = None, None, None, 0

    def counted(self, values: Mapping[str, float], now: float) -> None:
        """Take the engine's counters, just read."""
        moved = tuple(values.get(name) for name in MOVING)
        self.running = int(values.get("running", 0))
        if self.running == 0 or moved != self._moved or all(one is None for one in moved):
            self._still_since = None
        elif self._still_since is None:
            self._still_since = now
        self._moved = moved

    def answered(self, ok: bool, now: float) -> None:
        """Take whether the engine answered its health check."""
        if ok:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now

    def verdict(self, now: float) -> Verdict | None:
        """Return why it should be ended and started again; None while it works, or may."""
        limit = self._rule.stall_after
        if limit and self._still_since is not None and now - self._still_since >= limit:
            title = f"{self.running} requests run and no token has come for {now - self._still_since:.0f} s"
            return Verdict("stalled", title, "Its log may say what it waits for. `restart.stall_after` sets the limit.")
        limit = self._rule.hang_after
        if limit and self._silent_since is not None and now - self._silent_since >= limit:
            title = f"has not answered for {now - self._silent_since:.0f} s although its process lives"
            return Verdict("hung", title, "Its log may say what it waits for. `restart.hang_after` sets the limit.")
        return None
