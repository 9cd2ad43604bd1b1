"""The benchmark that goes on, as every screen sees it: looked at beside the samples, told when it ends.

A benchmark is a process of its own, whoever began it; here it is only seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.flows.looking import Looking

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchProgress, BenchResult
    from vllm_studio_tui.tui.flows.looking import Around


class Benches(Looking):
    """The benchmark that is being made, and whether there are results at all.

    Args:
        changed: Called on the event loop when it is elsewhere than before, with whether results were added.
    """

    GROUP = "bench"

    def __init__(self, shell: Around, changed: Callable[[bool], None], clock: Callable[[], float] = time.monotonic):
        super().__init__(shell, changed, clock)
        #: Where it is; None: nothing is measured.
        self.progress: BenchProgress | None = None
        #: Ids of those that this program began: they end with it.
        self.began: set[str] = set()
        #: Whether there are results; None: nobody has looked yet.
        self.any: bool | None = None

    @property
    def ours(self) -> BenchProgress | None:
        """Where the benchmark is that ends when this program does."""
        return self.progress if self.progress is not None and self.progress.id in self.began else None

    @property
    def chip(self) -> str:
        """What the header says of it: `bench 6/7`; empty where nothing is measured."""
        now = self.progress
        if now is None:
            return ""
        return f"bench {now.step}/{now.of}" if now.of and now.step else f"bench {now.step or ''}".rstrip()

    @property
    def goes_on(self) -> bool:
        return self.progress is not None

    async def once(self) -> None:
        self._take(*await self._shell.in_thread(self._read))

    def _read(self) -> tuple[BenchProgress | None, BenchResult | None, bool]:
        """Return where it is, the result of the one that has just ended, and whether there are results. Blocking."""
        bench = self._shell.studio.bench
        found, before = bench.under_way(), self.progress
        ended = before is not None and (found is None or found.id != before.id)
        last = bench.get(before.id) if ended and before is not None else None
        if found is not None or (self.any is not None and not ended):
            return found, last, found is not None or bool(self.any)
        some = bool(bench.list(limit=1))  # it asks the database, which is not done again and again
        return found, last, some

    def _take(self, found: BenchProgress | None, last: BenchResult | None, some: bool) -> None:
        before, self.progress = self.progress, found
        was, self.any = self.any, some
        if last is not None:
            self._tell(last)
        if before != found or was != some:
            step = (before.id, before.step) if before is not None else None
            now = (found.id, found.step) if found is not None else None
            self._changed(step != now or was != some)

    def _tell(self, last: BenchResult) -> None:
        what = f"The benchmark of {last.title}"
        if last.state == "done":
            self._shell.tell(f"{what} is done: {len(last.steps)} {'step' if len(last.steps) == 1 else 'steps'}.")
        elif last.state == "stopped":
            self._shell.tell(f"{what} is stopped; {len(last.steps)} of its steps are kept.")
        else:
            self._shell.tell(f"{what} {last.state}: {last.error or 'it does not say why'}", "error")
