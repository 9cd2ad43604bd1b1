"""Runs as faces see them: find, read the log of, dismiss; and engines that the studio did not start. Blocking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, logs, read
from vllm_studio_tui.runs.find import find_run
from vllm_studio_tui.runs.read import RunView

if TYPE_CHECKING:
    from vllm_studio_tui.domain.engine_metrics import EngineMetrics
    from vllm_studio_tui.runs.diagnose import Diagnosis
    from vllm_studio_tui.runs.foreign import Foreign, Orphan


class Runs:
    """The runs of this machine.

    Args:
        places: Where their directories are.
    """

    def __init__(self, places: Places) -> None:
        self._places = places

    # --- finding ----------------------------------------------------------------------------------------

    def all(self) -> list[RunView]:
        """Return every run that is still on the disk, oldest first."""
        return read.all_runs(self._places)

    def live(self) -> list[RunView]:
        """Return the runs that have, or will again have, an engine, oldest first."""
        return read.live_runs(self._places)

    def find(self, name: str) -> RunView:
        """Return the run that a name means: see `runs.find.pick_run`.

        Raises:
            NotFound: There is none.
        """
        return find_run(self._places, name)

    def watch(self, run: RunView, *, every: float = 0.1) -> Iterator[RunView]:
        """Yield a run as it is now, again and again without an end; where it loses its keeper it is given a new one.

        Args:
            every: Seconds between two looks.
        """
        while True:
            now = read.view(run.folder)
            yield now
            if now.lost:
                self.settle()
            time.sleep(every)

    def diagnosis(self, run: RunView) -> Diagnosis:
        """Return why a run failed or does not answer, with the line of its log that tells it; secrets masked."""
        from vllm_studio_tui.services.diagnosis import diagnose_run

        return diagnose_run(run)

    # --- measuring --------------------------------------------------------------------------------------

    def measure(self, run: RunView | Foreign, seconds: float) -> EngineMetrics:
        """Read an engine twice, so many seconds apart; what went wrong is in `error`.

        Raises:
            StudioError: It cannot be asked.
        """
        from vllm_studio_tui.services.engine_readings import measure

        return measure(self._places, run, seconds)

    def readings(self, run: RunView | Foreign, every: float) -> Iterator[EngineMetrics]:
        """Read an engine every so many seconds, without an end; one that is away is waited for.

        Raises:
            StudioError: It cannot be asked.
        """
        from vllm_studio_tui.services.engine_readings import readings

        return readings(self._places, run, every)

    def metric_problems(self) -> list[str]:
        """Return what is wrong in the metrics that were added."""
        from vllm_studio_tui.config.custom_metrics import custom_metrics

        return list(custom_metrics(self._places)[1])

    # --- changing ---------------------------------------------------------------------------------------

    def settle(self) -> list[RunView]:
        """Give every run that lost its keeper a new one; return these runs."""
        return control.settle(self._places)

    def dismiss(self, run: RunView) -> None:
        """Stop showing a failed run: a person has seen why it failed."""
        control.dismiss(run)

    def last_dismissed(self) -> tuple[RunView, float] | None:
        """Return the failed run that was dismissed last, and when, of those that would be shown otherwise."""
        latest = {run.recipe_id: run for run in self.all()}
        found = [
            (run, at)
            for run in latest.values()
            if run.state is State.FAILED and run.dismissed and (at := control.dismissed_at(run)) is not None
        ]
        return max(found, key=lambda one: one[1], default=None)

    def show_again(self, run: RunView) -> None:
        """Show a run again that was dismissed."""
        control.show_again(run)

    # --- logs -------------------------------------------------------------------------------------------

    def log_lines(self, run: RunView, count: int) -> list[str]:
        """Return the last `count` lines of a run's log, known secrets masked.

        Raises:
            OSError: It has written no log.
        """
        return logs.masked_lines(run, count)

    def follow_log(self, run: RunView) -> Iterator[str]:
        """Yield lines as they are added to a run's log, known secrets masked, until the run has ended."""
        return logs.follow_masked(run, until=lambda: not read.view(run.folder).live)

    def log_reader(self, run: RunView, position: int = 0) -> logs.LogReader:
        """Return what reads a run's log in pieces from a position on, known secrets masked."""
        return logs.LogReader(run.log, position, logs.known_secrets(run))

    def delete_log(self, run: RunView) -> None:
        """Delete the log of a run that has ended.

        Raises:
            UsageError: It has not ended.
            NotFound: It has no log.
            StudioError: It cannot be deleted.
        """
        if run.live:
            raise UsageError(f"{run.run_id} still writes its log", advice="Stop it first.")
        try:
            run.log.unlink()
        except FileNotFoundError:
            raise NotFound(f"{run.run_id} has no log") from None
        except OSError as error:
            raise StudioError(f"{run.log} cannot be deleted", cause=error.strerror or str(error)) from None

    # --- engines that the studio did not start ----------------------------------------------------------

    def foreign(self) -> list[Foreign]:
        """Return the inference servers that no run of ours started."""
        from vllm_studio_tui.runs.foreign import find_foreign

        return find_foreign()

    def orphans(self) -> list[Orphan]:
        """Return parts of engines whose leader is gone: they serve nobody and hold memory."""
        from vllm_studio_tui.runs.foreign import find_orphans

        return find_orphans()

    def foreign_of(self, pid: int) -> Foreign:
        """Return the foreign engine of a process.

        Raises:
            NotFound: This process is none.
        """
        from vllm_studio_tui.runs.foreign import get_foreign

        return get_foreign(pid)

    def end_foreign(self, one: Foreign | Orphan, *, grace: float | None = None) -> None:
        """End a foreign engine or an orphan with what descends from it.

        Args:
            grace: Seconds between asking and killing; None: as long as an engine may need.

        Raises:
            StudioError: It belongs to somebody else, or would not die.
        """
        from vllm_studio_tui.runs.foreign import GRACE, end

        end(one.pid, one.start, grace=GRACE if grace is None else grace)
