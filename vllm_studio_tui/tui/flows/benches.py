"""The benchmark that goes on, as every screen sees it: looked at beside the samples, told when it ends.

A benchmark is a process of its own, whoever began it; here it is only seen.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchProgress, BenchResult
    from vllm_studio_tui.services.protocols import StudioApi

T = TypeVar("T")
#: Seconds between two looks while something is measured, and while nothing is.
PACE, REST = 1.0, 5.0


class Around(Protocol):
    """What it needs of the app, see `tui.shell.Shell`."""

    @property
    def studio(self) -> StudioApi: ...
    def spawn(self, work: Coroutine[Any, Any, Any] | Awaitable[Any], *, group: str = "commands") -> Any: ...
    async def in_thread(self, work: Callable[[], T]) -> T: ...
    def tell(self, text: str, severity: str = "information") -> None: ...


class Benches:
    """The benchmark that is being made, and whether there are results at all.

    Args:
        changed: Called on the event loop when it is elsewhere than before, with whether results were added.
    """

    def __init__(self, shell: Around, changed: Callable[[bool], None], clock: Callable[[], float] = time.monotonic):
        self._shell = shell
        self._changed = changed
        self._clock = clock
        self._looked: float | None = None
        self._busy = self._again = False
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

    def tick(self) -> None:
        """Look, where it is time to; called with each sample."""
        pace = PACE if self.progress is not None else REST
        if self._looked is None or self._clock() - self._looked >= pace:
            self.look()

    def look(self) -> None:
        """Look now, or once more after the look that goes on."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        self._shell.spawn(self._look(), group="bench")

    async def _look(self) -> None:
        try:
            while True:
                self._again = False
                self._looked = self._clock()
                try:
                    found, last, some = await self._shell.in_thread(self._read)
                except StudioError:
                    return  # the screen says why nothing can be read
                self._take(found, last, some)
                if not self._again:
                    return
        finally:
            self._busy = False

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
