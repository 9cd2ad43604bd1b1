"""What is looked up of a run for its page: read in threads, once, and again only when something has changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.last_lines import LastLines, LogEnd
from vllm_studio_tui.services.launching.endpoint import Endpoint, endpoint_of, endpoint_of_serve
from vllm_studio_tui.services.run_logs.run_log import open_log
from vllm_studio_tui.tui.flows.run_facts import fixes

if TYPE_CHECKING:
    from vllm_studio_tui.runs.diagnose import Diagnosis
    from vllm_studio_tui.runs.log_index import LogIndex
    from vllm_studio_tui.runs.log_text import LogText
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.run_story import RunStory
    from vllm_studio_tui.services.recipes.changes import Proposal
    from vllm_studio_tui.tui.shell import Shell

#: Lines of a log that are kept for the page, as many as a tall terminal has room for.
LINES = 40
#: Samples after which the database is asked again for requests of a run that goes on.
AGAIN = 5


class Knowledge:
    """What is known of one run beside its state.

    Args:
        changed: Called when something was found out that a picture should show.
    """

    def __init__(self, shell: Shell, run_id: str, changed: Callable[[], None]) -> None:
        self.run_id = run_id
        self.story: RunStory | None = None
        self.endpoint: Endpoint | None = None
        self.served: Endpoint | None = None
        self.diagnosis: Diagnosis | None = None
        self.fixes: list[Proposal] = []
        self.end: LogEnd | None = None
        self.missing = False
        self._shell = shell
        self._changed = changed
        self._log: LastLines | None = None
        self._seen: tuple[object, ...] = ()
        self._ticks = 0
        self._busy = False

    def look(self, run: RunView | None) -> None:
        """Look again, unless that is still going on. From the event loop."""
        if not self._busy:
            self._busy = True
            self._shell.spawn(self._look(run), group="run-page")

    async def _look(self, run: RunView | None) -> None:
        try:
            before = self._known()
            await self._shell.in_thread(lambda: self._read(run))
            if before != self._known():
                self._changed()
        finally:
            self._busy = False

    def _known(self) -> tuple[object, ...]:
        return (self.story, self.endpoint, self.served, self.diagnosis, self.fixes, self.end, self.missing)

    def close(self) -> None:
        """Close the log; the next look opens it again."""
        if not self._busy:
            self.close_log()

    def close_log(self) -> None:
        if self._log is not None:
            self._log.close()

    def _read(self, run: RunView | None) -> None:
        """Find out what is not known or may have changed. Blocking."""
        status = run.status if run is not None else None
        seen = (status.state, status.attempt, status.reason, status.title) if status is not None else (None,)
        news = seen != self._seen
        self._ticks += 1
        if news or (run is not None and run.live and self._ticks % AGAIN == 0):
            try:
                self.story = self._shell.studio.run_story(self.run_id)
            except StudioError:
                self.missing = self.story is None and run is None
        if run is None:
            self._seen = seen
            return
        if news or (run.live and self._ticks % AGAIN == 0):
            alone = self.endpoint = endpoint_of(run)
            self.served = endpoint_of_serve(self._shell.studio, alone) if alone is not None and run.live else None
        if news:
            troubled = run.state in (State.FAILED, State.UNHEALTHY, State.BACKOFF)
            self.diagnosis = self._shell.studio.runs.diagnosis(run) if troubled else None
            self.fixes = fixes(self._shell, run) if run.state is State.FAILED else []
            root = self.diagnosis.line_number if self.diagnosis is not None and run.state is State.FAILED else None
            self.close_log()
            self._log = LastLines(partial(self._opened, run), around=root)
        if self._log is not None:
            self.end = self._log.look(LINES)
        self._seen = seen

    def _opened(self, run: RunView) -> tuple[LogText, LogIndex]:
        log = open_log(self._shell.studio, run)
        return log.file, log.index()
