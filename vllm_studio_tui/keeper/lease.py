"""The lease of a run that is one rank of a unit: whoever watches the unit renews it, and without it the rank ends.

So nothing is left running on a host that the unit's machine can no longer reach. Times are of the monotonic clock of
this host, which all its processes share: clocks that jump, or differ from another host's, change nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.keeper.verdict import Verdict
from vllm_studio_tui.kit.durations import duration_words
from vllm_studio_tui.kit.paths import write_atomic

#: The file of a run's directory that is its lease.
LEASE = "lease"
#: Bytes of it; more was not written by us.
MOST = 4096


def renew(folder: Path, at: float, words: str) -> None:
    """Renew the lease of a run.

    Args:
        at: The second of the monotonic clock at which its unit was heard of.
        words: How the unit is, in words; empty: it is not ready.

    Raises:
        OSError: It cannot be written.
    """
    write_atomic(folder / LEASE, json.dumps({"at": at, "words": words[:200]}).encode())


class Lease:
    """The lease of one run, as its keeper reads it.

    Attributes:
        pace: Seconds between two looks at it.
    """

    def __init__(self, folder: Path, spec: RunSpec) -> None:
        self._path = folder / LEASE
        self._seconds = spec.lease or 0.0
        self._served = bool(spec.port)
        self._renewed = time.monotonic()
        self._told = False
        self._words = ""
        self.pace = min(5.0, max(0.2, self._seconds / 10)) if self._seconds else 3600.0

    def begin(self) -> None:
        """Count from now on, where nobody has renewed it yet: an engine begins."""
        if not self._told:
            self._renewed = time.monotonic()

    def look(self, state: RunState, save: Callable[[], None]) -> Verdict | None:
        """Return why the engine must end; None while the lease holds, or where there is none.

        A rank that nobody asks has no answer that tells that it is ready: it is when its unit is.
        """
        if not self._seconds:
            return None
        self._read()
        silent = time.monotonic() - self._renewed
        if silent >= self._seconds:
            return Verdict(
                "unit_lost",
                f"its unit was not heard of for {duration_words(silent)}",
                "The machine that launched it, or the way to it, is gone: it ended so that nothing is left behind. "
                "Launch the unit again there.",
                retry=False,
            )
        if self._words and not self._served and state.stage != self._words:
            state.ready_at = state.ready_at or time.time()
            state.stage, state.progress = self._words, None
            save()
        return None

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            with self._path.open("rb") as stream:
                data = json.loads(stream.read(MOST))
            at = float(data["at"])
            # What another boot wrote, or somebody else, is not of this clock.
            if math.isfinite(at) and 0 <= at <= time.monotonic():
                self._renewed, self._told = (max(at, self._renewed) if self._told else at), True
                self._words = str(data.get("words") or "")[:200]
