"""What a run used, as raw cumulative readings in its ledger: tokens of its engine, energy of its GPUs.

And how fast it was at best: a mean from one reading to the next says little about an answer that took half a second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from vllm_studio_tui.domain.run import RunState
from vllm_studio_tui.keeper.engine import EnergyReading
from vllm_studio_tui.keeper.files import Ledger
from vllm_studio_tui.keeper.tree import Tree
from vllm_studio_tui.kit import safe_json

#: Read for the watchdog: gauges and steps are no use of anything.
_NOT_COUNTED = frozenset({"running", "progress", "token_gaps", "token_seconds"})
#: Fewer tokens say little about a speed, and more a second are no measurement.
PEAK_TOKENS, MAX_SPEED = 16, 1e6
#: After so many readings that found the engine on no GPU, it is asked that much less often: it is one of the CPU.
ON_NONE, REST = 3, 10


#: Seconds that the last reading may take: a little longer than a GPU that hangs is waited for.
LAST = 5.0


class UsageRecorder:
    """Appends readings to the ledger when they differ from the last ones."""

    def __init__(self, ledger: Ledger, tree: Tree, energy_argv: tuple[str, ...]) -> None:
        self._ledger = ledger
        self._tree = tree
        self._reading = EnergyReading(energy_argv)
        #: GPUs that its processes were seen on, and the counters of all of them before any was; where none are named.
        self._used: set[str] = set()
        self._before: tuple[float, dict[str, int]] | None = None
        self._on_none = 0
        self._last: dict[str, float] = {}
        self._gaps = (0.0, 0.0)
        self._peak = 0.0

    def new_engine(self) -> None:
        """The next counters start at zero."""
        self._on_none = 0
        self._last = {}
        self._gaps = (0.0, 0.0)

    def tokens(self, state: RunState, values: Mapping[str, float]) -> None:
        kept = {name: value for name, value in values.items() if name not in _NOT_COUNTED}
        if kept and kept != self._last:
            self._last = kept
            self._ledger.append("counters", time.time(), state.attempt, values=self._last)
        self._note_speed(state, values)

    def _note_speed(self, state: RunState, values: Mapping[str, float]) -> None:
        """Tokens a second of the answers since the last reading, while they came; kept where it is the best so far."""
        gaps, seconds = values.get("token_gaps"), values.get("token_seconds")
        if gaps is None or seconds is None:
            return
        tokens, took = gaps - self._gaps[0], seconds - self._gaps[1]
        self._gaps = (gaps, seconds)
        if tokens >= PEAK_TOKENS and took > 0 and self._peak * 1.01 < tokens / took < MAX_SPEED:
            self._peak = tokens / took
            speed = round(self._peak, 2)
            self._ledger.append("peak", time.time(), state.attempt, tokens_per_second=speed)

    @property
    def energy_pace(self) -> int:
        """How many times longer than usual it may take until the next reading of energy: the counters miss nothing."""
        return REST if self._on_none >= ON_NONE else 1

    def begin_energy(self, now: float) -> None:
        self._reading.begin(now)
        if self._reading.pid is not None:
            self._tree.exempt(self._reading.pid)

    def take_energy(self, state: RunState, now: float) -> None:
        printed = self._reading.poll(now)
        if not printed:
            return
        try:
            data = safe_json.loads(printed)
        except ValueError:
            return
        gpus = data.get("gpus") if isinstance(data, dict) else None
        if isinstance(gpus, dict) and gpus:
            values = {str(uuid): mj for uuid, mj in gpus.items() if isinstance(mj, int) and 0 <= mj < 2**63}
            # The time of the reading, not of its arrival: another keeper may read the same GPU in between.
            read_at = data.get("at")
            at = read_at if isinstance(read_at, float) and 0 < read_at < 2 * time.time() else time.time()
            if "used" in data:
                self._note_used(state, at, values, data["used"])
            else:
                self._note_energy(state, at, values)

    def _note_used(self, state: RunState, at: float, values: dict[str, int], used: object) -> None:
        """Count the GPUs that the engine turned out to use, from the reading before it began."""
        self._used |= {uuid for uuid in used if uuid in values} if isinstance(used, list) else set()
        if not self._used:
            self._on_none += 1
            self._before = self._before or (at, values)
            return
        self._on_none = 0
        if self._before is not None:
            earlier, counts = self._before
            self._before = None
            self._note_energy(state, earlier, {uuid: mj for uuid, mj in counts.items() if uuid in self._used})
        self._note_energy(state, at, {uuid: mj for uuid, mj in values.items() if uuid in self._used})

    def _note_energy(self, state: RunState, at: float, values: dict[str, int]) -> None:
        if values:
            self._ledger.append("energy", at, state.attempt, gpus=values, boot_id=state.boot_id)

    def last_energy(self, state: RunState) -> None:
        """Take one more reading at the end."""
        self.begin_energy(time.monotonic())
        deadline = time.monotonic() + LAST
        while self._reading.pid is not None and time.monotonic() < deadline:
            self.take_energy(state, time.monotonic())
            time.sleep(0.02)
        self._reading.end()
