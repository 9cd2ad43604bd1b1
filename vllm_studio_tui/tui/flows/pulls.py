"""What comes from the hub, as every screen sees it: looked at beside the samples, told when it ends.

A download is a process of its own and outlives this program; here it is only seen.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vllm_studio_tui.domain.download import DownloadState
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.paint.downloads import name_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.download import Download
    from vllm_studio_tui.services.protocols import StudioApi

T = TypeVar("T")
#: Seconds between two looks while something comes, and while nothing does.
PACE, REST = 1.0, 5.0


class Around(Protocol):
    """What it needs of the app, see `tui.shell.Shell`."""

    @property
    def studio(self) -> StudioApi: ...
    def spawn(self, work: Coroutine[Any, Any, Any] | Awaitable[Any], *, group: str = "commands") -> Any: ...
    async def in_thread(self, work: Callable[[], T]) -> T: ...
    def tell(self, text: str, severity: str = "information") -> None: ...


class Pulls:
    """The downloads of the studio.

    Args:
        changed: Called on the event loop when they are others than before, with whether a model became whole.
    """

    def __init__(self, shell: Around, changed: Callable[[bool], None], clock: Callable[[], float] = time.monotonic):
        self._shell = shell
        self._changed = changed
        self._clock = clock
        self._looked: float | None = None
        self._busy = self._again = False
        #: All that are known, those first that began last; None: nobody has looked yet.
        self.all: tuple[Download, ...] | None = None
        #: Why they cannot be seen.
        self.error: StudioError | None = None

    @property
    def unfinished(self) -> list[Download]:
        """Those that have not ended well, those that come first."""
        found = [one for one in self.all or () if one.state is not DownloadState.DONE]
        return sorted(found, key=lambda one: (one.state is not DownloadState.RUNNING, not one.state.live))

    @property
    def going(self) -> list[Download]:
        return [one for one in self.unfinished if one.state.live]

    def tick(self) -> None:
        """Look, where it is time to; called with each sample."""
        pace = PACE if self.going else REST
        if self._looked is None or self._clock() - self._looked >= pace:
            self.look()

    def look(self) -> None:
        """Look now, or once more after the look that goes on."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        self._shell.spawn(self._look(), group="pulls")

    async def _look(self) -> None:
        try:
            while True:
                self._again = False
                self._looked = self._clock()
                try:
                    found = tuple(await self._shell.in_thread(self._shell.studio.downloads.list))
                except StudioError as error:
                    self.error = error
                    return
                self.error = None
                self._take(found)
                if not self._again:
                    return
        finally:
            self._busy = False

    def _take(self, found: tuple[Download, ...]) -> None:
        before, self.all = self.all, found
        if before is None and not found:
            return
        whole = False
        lived = {one.id for one in before or () if one.state.live}
        for one in found:
            if one.id not in lived or one.state.live:
                continue
            if one.state is DownloadState.DONE:
                whole = True
                self._shell.tell(f"{name_of(one)} is whole.")
            elif one.error:
                words = " ".join(part for part in (one.error, one.advice) if part)
                self._shell.tell(f"The download of {name_of(one)} stopped. {words}".rstrip(), "error")
        if before != found:
            self._changed(whole)
