"""What the prober learns of the engine, kept in the run's state: why it is not ready, and who answers instead."""

from __future__ import annotations

import dataclasses
import time

from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.port import OTHER_PORT
from vllm_studio_tui.keeper.port_owner import Stranger
from vllm_studio_tui.keeper.probe import Answer, address_of, named, ownership
from vllm_studio_tui.keeper.verdict import FREE_PORT, Verdict

#: Seconds that an engine which says that it serves may share its port with a stranger: it will never get it.
PATIENCE = 20.0
SERVING = "serving"


def not_served(answer: Answer) -> str:
    """Return what a run that was ready is now."""
    return answer.detail if answer.stranger is not None else f"does not answer: {answer.detail}"


class Readiness:
    """Tracks one attempt. Times are of the monotonic clock, but those in the state, which are for people."""

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self.stranger: Stranger | None = None
        self._hopeless_since: float | None = None

    def begin(self, state: RunState) -> None:
        """Forget the last engine: a new one begins."""
        self.stranger, self._hopeless_since = None, None
        state.heard = state.heard_at = None
        state.stranger = {}
        state.server_pid = state.server_start = None

    def take(self, state: RunState, answer: Answer, now: float) -> bool:
        """Keep an answer in the state; return True when it says something new."""
        heard = None if answer.ok else answer.detail
        stranger = answer.stranger.to_json() if answer.stranger else {}
        self.stranger = answer.stranger
        if answer.stranger is None or state.stage != SERVING:
            self._hopeless_since = None
        elif self._hopeless_since is None:
            self._hopeless_since = now
        if (heard, stranger) == (state.heard, state.stranger):
            return False
        if heard != state.heard:
            state.heard, state.heard_at = heard, time.time() if heard else None
        state.stranger = stranger
        return True

    def verdict(self, now: float) -> Verdict | None:
        """Return why a start should be ended: its engine says that it serves, and somebody else has its port."""
        if self.stranger is None or self._hopeless_since is None or now - self._hopeless_since < PATIENCE:
            return None
        return self._taken(self.stranger)

    def blame(self, verdict: Verdict) -> Verdict:
        """The same end with the name of who has the port, where that is why: nothing of our engine is left now."""
        unexplained = verdict.reason == "process_exited" and self.stranger is not None
        if verdict.reason != "port_in_use" and not unexplained:
            return verdict
        now = ownership(self._spec).look().stranger
        if now is not None:
            now = named(now, address_of(self._spec.host), self._spec.port)
        found = now or (self.stranger if verdict.reason == "port_in_use" else None)
        if found is None:
            return verdict
        told = self._taken(found)
        return dataclasses.replace(
            told, evidence=verdict.evidence, fixes=verdict.fixes or told.fixes, groups=verdict.groups
        )

    def _taken(self, stranger: Stranger) -> Verdict:
        title = f"port {self._spec.port} is taken: {stranger.words(self._spec.port)}"
        return Verdict("port_in_use", title, OTHER_PORT, retry=False, fixes=[FREE_PORT])
