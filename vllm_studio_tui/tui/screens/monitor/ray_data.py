"""The Ray cluster that the monitor shows, looked at in a thread while it is seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.ray_view import RayView

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

#: Seconds between two looks.
EVERY = 5.0


class RayData:
    """What the cluster said last. Nothing is there, and nothing is asked, where no Ray is known.

    Args:
        changed: Called when it was looked at.
    """

    def __init__(self, shell: Shell, changed: Callable[[], None]) -> None:
        self._shell = shell
        self._changed = changed
        self._looked = 0.0
        self._busy = False
        self.view: RayView | None = None

    def look(self) -> None:
        """Look at it, unless a look is under way or was made within the last seconds."""
        if not self._busy and time.monotonic() - self._looked >= EVERY:
            self._busy = True
            self._shell.spawn(self._look(), group="ray")

    async def _look(self) -> None:
        ray = self._shell.studio.ray
        try:
            view = await self._shell.in_thread(ray.look)
        except StudioError:
            return  # a studio elsewhere that does not answer says so itself; what is known grows old
        finally:
            self._busy, self._looked = False, time.monotonic()
        if view is not None or self.view is not None:
            self.view = view
            self._changed()
