"""What is looked at beside the samples: often while something goes on, seldom else, and never twice at once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi

T = TypeVar("T")
#: Seconds between two looks while something goes on, and while nothing does.
PACE, REST = 1.0, 5.0


class Around(Protocol):
    """What it needs of the app, see `tui.shell.Shell`."""

    @property
    def studio(self) -> StudioApi: ...
    def spawn(self, work: Coroutine[Any, Any, Any] | Awaitable[Any], *, group: str = "commands") -> Any: ...
    async def in_thread(self, work: Callable[[], T]) -> T: ...
    def tell(self, text: str, severity: str = "information") -> None: ...


class Looking:
    """Looks by `once`, which each kind has of its own.

    Attributes:
        GROUP: Of the app's work that a look belongs to.
        error: Why the last look saw nothing; None where it did.
    """

    GROUP = ""

    def __init__(self, shell: Around, changed: Callable[[bool], None], clock: Callable[[], float] = time.monotonic):
        self._shell = shell
        self._changed = changed
        self._clock = clock
        self._looked: float | None = None
        self._busy = self._again = False
        self.error: StudioError | None = None

    @property
    def goes_on(self) -> bool:
        """Whether there is something to look at often."""
        raise NotImplementedError

    async def once(self) -> None:
        """Look, and take what is found.

        Raises:
            StudioError: Nothing can be seen.
        """
        raise NotImplementedError

    def tick(self) -> None:
        """Look, where it is time to; called with each sample."""
        pace = PACE if self.goes_on else REST
        if self._looked is None or self._clock() - self._looked >= pace:
            self.look()

    def look(self) -> None:
        """Look now, or once more after the look that goes on."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        self._shell.spawn(self._look(), group=self.GROUP)

    async def _look(self) -> None:
        try:
            while True:
                self._again = False
                self._looked = self._clock()
                try:
                    await self.once()
                except StudioError as error:
                    self.error = error  # the screen says why nothing can be seen
                    return
                self.error = None
                if not self._again:
                    return
        finally:
            self._busy = False
