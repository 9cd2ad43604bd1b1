"""What is known of a host. Light: the screen of hosts has it before anything is asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host
    from vllm_studio_tui.domain.errors import StudioError
    from vllm_studio_tui.domain.host_overview import HostOverview


@dataclass(frozen=True, slots=True)
class Answered:
    """What a host answered, and how many seconds it took."""

    overview: HostOverview
    seconds: float


@dataclass(frozen=True, slots=True)
class HostState:
    """What is known of a host.

    Attributes:
        overview: What it said last; None: it never answered.
        seen_at: When that was, in seconds since the epoch.
        seconds: How long it took to answer then.
        error: Why it does not answer now; None: it does, or was not asked yet.
        since: Since when it does not.
        here: It is this machine.
    """

    name: str
    host: Host | None = None
    overview: HostOverview | None = None
    seen_at: float | None = None
    seconds: float | None = None
    error: StudioError | None = None
    since: float | None = None
    here: bool = False

    @property
    def answers(self) -> bool:
        return self.overview is not None and self.error is None

    @property
    def agentless(self) -> bool:
        """Return whether it is only looked at over ssh: there is no studio to go to."""
        return self.host is not None and self.host.agentless

    @property
    def how(self) -> str:
        """Return in words how it is reached."""
        if self.here or self.host is None:
            return "this host"
        scheme, _, rest = self.host.connect.partition("://")
        if not rest:
            return ""
        more = ", key" if self.host.api_key else ", look" if self.host.agentless else ""
        return {"unix": "socket"}.get(scheme, scheme) + more

    def answered(self, found: Answered) -> HostState:
        """Return it after an answer."""
        return replace(
            self, overview=found.overview, seen_at=time.time(), seconds=found.seconds, error=None, since=None
        )

    def lost(self, error: StudioError) -> HostState:
        """Return it after a question without an answer; since when it does not answer stays."""
        return replace(self, error=error, since=self.since if self.since is not None else time.time())
