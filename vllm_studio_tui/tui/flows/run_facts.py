"""What the screens know of every run beside its state: speeds, the last start, the fix that is offered."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.series import RunSeries
from vllm_studio_tui.runs.elsewhere import is_elsewhere
from vllm_studio_tui.runs.estimate import LATEST, Start, earlier_starts, without_wait
from vllm_studio_tui.tui.paint.glyphs import TROUBLE
from vllm_studio_tui.tui.paint.run_parts import RunFacts, stalls

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.launching.fix_offers import Offer
    from vllm_studio_tui.services.recipes.changes import Proposal
    from vllm_studio_tui.tui.shell import Shell

#: Seconds of speed that the sparks show.
SPARK_SECONDS = 120.0


class Facts:
    """Puts runs and what was measured of them together. What needs the database is looked up once, in a thread.

    Args:
        changed: Called when something was looked up that a picture should show.
    """

    def __init__(self, shell: Shell, changed: Callable[[], None]) -> None:
        self._shell = shell
        self._changed = changed
        self._fixes: dict[str, str] = {}
        self._since: dict[str, str] = {}
        self._recorded: dict[str, list[Start]] = {}
        self._asked: set[str] = set()

    def all(self, *, sparks: int = 40) -> list[RunFacts]:
        """Return every run that is shown, oldest first, each with `sparks` values of its speed."""
        snapshot = self._shell.snapshot
        if snapshot is None:
            return []
        return [self.of(run, sparks) for run in snapshot.runs]

    def of(self, run: RunView, sparks: int = 40) -> RunFacts:
        snapshot = self._shell.snapshot
        assert snapshot is not None
        history = self._shell.studio.sampler.history
        name = RunSeries.OUTPUT.of(run.run_id)
        speeds = history.over(name, sparks, SPARK_SECONDS, snapshot.tick.at) if name in history else ()
        return RunFacts(
            run,
            snapshot.engine(run.run_id),
            speeds,
            history.peak(name) if speeds else None,
            snapshot.ages.get(run.run_id),
            self.earlier(run),
            self.fix_of(run),
            self._since.get(run.run_id, ""),
        )

    def earlier(self, run: RunView) -> list[Start]:
        """Return starts of the recipe that got ready, to tell how long this one will take."""
        if run.state not in (State.STARTING, State.LOADING):
            return []
        snapshot = self._shell.snapshot
        kept = earlier_starts(run, snapshot.every if snapshot is not None else ())
        if len(kept) >= LATEST:
            return kept
        if run.run_id not in self._asked:
            self._asked.add(run.run_id)
            there = {run.run_id, *(one.run_id for one in (snapshot.every if snapshot is not None else ()))}
            self._shell.spawn(self._look_back(run, there), group="fixes")
        return [*self._recorded.get(run.run_id, ()), *kept][-LATEST:]

    async def _look_back(self, run: RunView, there: set[str]) -> None:
        """Look up earlier starts whose directories are gone."""
        found = await self._shell.in_thread(lambda: starts_on_record(self._shell, run, there))
        if found:
            self._recorded[run.run_id] = found
            self._changed()

    def fix_of(self, run: RunView) -> str:
        """Return the change that answers a failure, in words; empty where none is known, or not looked up yet."""
        if run.state is not State.FAILED:
            return ""
        if run.run_id not in self._asked:
            self._asked.add(run.run_id)
            self._shell.spawn(self._look_up(run), group="fixes")
        return self._fixes.get(run.run_id, "")

    async def _look_up(self, run: RunView) -> None:
        shell = self._shell
        found, since = await shell.in_thread(lambda: (fixes(shell, run), since_it_worked(shell, run)))
        self._since[run.run_id] = since
        if found:
            self._fixes[run.run_id] = found[0].change.words(2)
        if found or since:
            self._changed()


def starts_on_record(shell: Shell, run: RunView, there: Container[str]) -> list[Start]:
    """Return the latest starts of a run's recipe that got ready, of those not among `there`, newest last. Blocking."""
    try:
        launches = shell.studio.run_history.launches(run.recipe_id, 20)
    except StudioError:
        return []
    found = [
        Start(one.ready_after, dict(one.stages))
        for one in launches
        if one.ready_after and one.backend == run.backend and one.run_id not in there
    ]
    if is_elsewhere(run):
        found = [without_wait(one) for one in found if one.marks]
    return found[:LATEST][::-1]


def fixes(shell: Shell, run: RunView) -> list[Proposal]:
    """Return changes of the recipe that answer a failure, the best first; empty where none is known. Blocking."""
    return list(offered(shell, run).proposals)


def offered(shell: Shell, run: RunView) -> Offer:
    """Return changes of the recipe that answer a failure, or why there are none. Blocking."""
    from vllm_studio_tui.services.launching.fix_offers import Offer, offer

    recipes = shell.studio.recipes
    number = run.spec.revision_number if run.spec is not None else None
    try:
        stored = recipes.get(run.recipe_id)
    except StudioError as error:
        return Offer(why_not=f"{error.title}. {error.advice}")
    try:
        launched = recipes.revision(run.recipe_id, number).recipe() if number is not None else None
    except StudioError:  # that revision is no longer kept: the run has a copy
        launched = None
    return offer(run, stored, launched)


def since_it_worked(shell: Shell, run: RunView) -> str:
    """Return what changed since the recipe of a failed run last worked, in a sentence. Blocking."""
    try:
        return shell.studio.run_history.explain_since(run.run_id)
    except StudioError:
        return ""


def by_trouble(facts: Sequence[RunFacts]) -> list[RunFacts]:
    """Sort: what needs a person first, then what loads, then what is well; of trouble the newest first."""
    order = {state: index for index, state in enumerate(TROUBLE)}
    needs = (State.FAILED, State.UNHEALTHY, State.BACKOFF)

    def key(one: RunFacts) -> tuple[int, float]:
        status = one.run.status
        if stalls(one):
            return order[State.UNHEALTHY], -(one.run.status.heard_at or 0.0)
        newest = -(status.ended_at or status.heard_at or 0.0) if status.state in needs else 0.0
        return order.get(one.run.state, 9), newest

    return sorted(facts, key=key)
