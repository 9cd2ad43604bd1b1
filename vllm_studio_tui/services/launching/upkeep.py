"""What has to be done to kept runs now and then, by whoever uses them: fold their ledgers, delete the oldest.

The launcher does it after a launch, a switch and a stop, reports before they read. It never fails what it is done for:
what went wrong is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.errors import StoreError, StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control
from vllm_studio_tui.runs.ledger import fold_all
from vllm_studio_tui.store.runs import RunRows

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings
    from vllm_studio_tui.store.database import Database


class Upkeep:
    """Keeps the database up to date with the runs, and the runs within the limits of the settings.

    Args:
        settings, db: Give these when they are needed: opening either may fail.
    """

    def __init__(self, places: Places, settings: Callable[[], Settings], db: Callable[[], Database]) -> None:
        self._places = places
        self._settings = settings
        self._db = db

    def fold(self) -> StudioError | None:
        """Bring the states and ledgers of all runs into the database; return what kept it from that."""
        try:
            fold_all(self._places, RunRows(self._db()))
            self._keep_reports()
            if (self._places.data / "gateway" / "calls").is_dir():
                from vllm_studio_tui.services.gateway.calls import calls_folder, fold_calls

                fold_calls(calls_folder(self._places), self._db())
        except StudioError as error:
            return error
        return None

    def _keep_reports(self) -> None:
        from vllm_studio_tui.services.fit.reports import keep_reports

        keep_reports(self._places, self._db())

    def fold_and_prune(self) -> StudioError | None:
        """Fold, then delete the oldest ended runs beyond what the settings keep; return what kept it from that."""
        try:
            rows, settings = RunRows(self._db()), self._settings()
            fold_all(self._places, rows)
            self._keep_reports()
            control.prune(
                self._places,
                keep=settings.runs_keep,
                keep_bytes=settings.runs_keep_bytes,
                folded=lambda run: rows.folded_seq(run.run_id) > 0,
            )
        except StudioError as error:
            return error
        except OSError as error:  # another program deletes the same runs, or it may not be done here
            return StoreError("old runs could not be deleted", cause=error.strerror or str(error))
        return None
