"""How busy the processes of runs keep a core: an engine whose GPU waits for one is told by that."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.run import ANSWERING

if TYPE_CHECKING:
    from vllm_studio_tui.probes.process_table import ProcessTable
    from vllm_studio_tui.runs.read import RunView

#: Seconds from one look to the next.
EVERY = 2.0


class ProcessLoad:
    """Reads what the busiest process of each run has of a core."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._table: ProcessTable | None = None
        self._at = 0.0
        self._last: dict[str, float] = {}

    def read(self, runs: Iterable[RunView]) -> dict[str, float]:
        """Return percent of a core by run id, of runs that answer; none at the first look at a run."""
        answering = [run for run in runs if run.state in ANSWERING and run.spec is not None]
        if not answering:
            self._last, self._table = {}, None
            return {}
        now = time.monotonic()
        if now - self._at < self._every - 0.1:
            return self._last
        self._at = now
        from vllm_studio_tui.services.watching.processes import roots_of  # not before an engine runs

        if self._table is None:
            from vllm_studio_tui.probes.process_table import ProcessTable

            self._table = ProcessTable()
        found: dict[str, float] = {}
        for one in self._table.read({}, [roots_of(run) for run in answering]):
            if one.run_id is not None and one.cpu is not None:
                found[one.run_id] = max(found.get(one.run_id, 0.0), one.cpu)
        self._last = found
        return found
