"""What comes from the hub, as every screen sees it: looked at beside the samples, told when it ends.

A download is a process of its own and outlives this program; here it is only seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.download import DownloadState
from vllm_studio_tui.tui.flows.looking import Looking
from vllm_studio_tui.tui.paint.downloads import name_of

if TYPE_CHECKING:
    from vllm_studio_tui.domain.download import Download
    from vllm_studio_tui.tui.flows.looking import Around


class Pulls(Looking):
    """The downloads of the studio.

    Args:
        changed: Called on the event loop when they are others than before, with whether a model became whole.
    """

    GROUP = "pulls"

    def __init__(self, shell: Around, changed: Callable[[bool], None], clock: Callable[[], float] = time.monotonic):
        super().__init__(shell, changed, clock)
        #: All that are known, those first that began last; None: nobody has looked yet.
        self.all: tuple[Download, ...] | None = None

    @property
    def unfinished(self) -> list[Download]:
        """Those that have not ended well, those that come first."""
        found = [one for one in self.all or () if one.state is not DownloadState.DONE]
        return sorted(found, key=lambda one: (one.state is not DownloadState.RUNNING, not one.state.live))

    @property
    def going(self) -> list[Download]:
        return [one for one in self.unfinished if one.state.live]

    @property
    def goes_on(self) -> bool:
        return bool(self.going)

    async def once(self) -> None:
        self._take(tuple(await self._shell.in_thread(self._shell.studio.downloads.list)))

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
