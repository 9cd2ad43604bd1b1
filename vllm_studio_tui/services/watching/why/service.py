"""Answer why a run is slow, from what was watched."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.services.watching.why.explain import explain
from vllm_studio_tui.services.watching.why.gather import PRESENT, asked_for, facts_of, gpus_of, scene_at
from vllm_studio_tui.services.watching.why.scene import AskedFor

if TYPE_CHECKING:
    from vllm_studio_tui.domain.why import Why
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.services.watching.timeline import Timeline
    from vllm_studio_tui.store.database import Database

#: Seconds of columns at the end that are not whole yet.
UNFINISHED = 5.0
#: Samples are kept once a minute: where none are taken in this program, the last ones are so old at most.
KEPT_AGE = 180.0


class WhyService:
    """Explains slow moments.

    Args:
        timeline: Has the series.
        latest: The last sample, None before the first, or where this program takes none.
        look: Takes one of a run, where this program takes none.
        find: Finds a run by its id or recipe.
        db: Has the requests.
        clock: Returns the present; in a recording its moment.
    """

    def __init__(
        self,
        timeline: Timeline,
        latest: Callable[[], Snapshot | None],
        find: Callable[[str], RunView],
        db: Callable[[], Database],
        look: Callable[[RunView], Snapshot] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._timeline = timeline
        self._latest = latest
        self._find = find
        self._db = db
        self._look = look
        self._clock = clock

    def slow(self, run_id: str, at: float | None = None) -> Why | None:
        """Return why a run is slow at a moment, or that it is not; None where there is no such run. Blocking.

        Args:
            at: Seconds since the epoch; None: now.
        """
        try:
            run = self._find(run_id)
        except NotFound:
            return None
        snapshot = self._latest()
        if snapshot is None and self._look is not None:
            snapshot = self._look(run)
        now = self._clock()
        moment = min(now, at if at is not None else now) - (UNFINISHED if at is None or now - at < UNFINISHED else 0.0)
        gpus = gpus_of(run, snapshot)
        facts = facts_of(run, gpus, snapshot, present=now - moment <= PRESENT)
        scene = scene_at(self._timeline.over, run, gpus, moment, now, facts)
        if at is None:
            scene = scene.at_last_known(KEPT_AGE)
        held, before = scene.episode or scene.now, scene.before
        # Of whole seconds, as the list of requests is asked for the same ones.
        asked = self._asked(run, math.floor(scene.time(held.start)), math.ceil(scene.time(held.stop)))
        usual = self._asked(run, scene.time(before[0]), scene.time(before[-1] + 1)) if before else AskedFor()
        return explain(scene, run.run_id, run.name, asked=asked, asked_before=usual)

    def _asked(self, run: RunView, since: float, until: float) -> AskedFor:
        from vllm_studio_tui.store.requests import RequestRows

        try:
            return asked_for(RequestRows(self._db()).asked_by(run.run_id, since, until))
        except StudioError:  # it is explained without
            return AskedFor()
