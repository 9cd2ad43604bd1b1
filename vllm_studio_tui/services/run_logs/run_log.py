"""The log of a run behind one interface, whether its file is here or on the machine of a studio elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from vllm_studio_tui.runs.log_index import Hits, LogIndex
from vllm_studio_tui.runs.log_pieces import NotHere
from vllm_studio_tui.runs.log_stages import StageStart, stage_starts
from vllm_studio_tui.runs.log_text import LogText
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.runs.logs import known_secrets
from vllm_studio_tui.runs.read import RunView

if TYPE_CHECKING:
    from vllm_studio_tui.domain.spec import Stage
    from vllm_studio_tui.runs.diagnose import Diagnosis
    from vllm_studio_tui.services.protocols import StudioApi


class RunLog(Protocol):
    """The log of a run: what reads it, what shows a part of it, and what looks through all of it.

    Attributes:
        file: Reads it. Of a log elsewhere it answers at once what is here; for the rest see `far_text.FarText`.
        host: The machine that it lies on; None: this one.
    """

    file: LogText
    host: str | None

    def window(self) -> LogWindow:
        """Return its end, of a log elsewhere for a thread."""
        ...

    def index(self) -> LogIndex: ...

    def hits(self, words: str, wanted: Filter) -> Hits: ...

    def never_wait_here(self) -> None:
        """Have reads in this thread raise `NotHere` instead of waiting; a file of this machine never waits."""
        ...

    def bring(self, missing: NotHere) -> None:
        """Fetch what was not here. For a thread.

        Raises:
            LogAway: It cannot be fetched now.
        """
        ...

    def stages(self, begin: int) -> list[StageStart]:
        """Return the stages of the attempt that begins at a byte. For a thread."""
        ...

    def diagnosis(self, run: RunView) -> Diagnosis:
        """Return why a run failed. For a thread."""
        ...


class LocalLog:
    """A file of this machine.

    Raises:
        OSError: It cannot be opened.
    """

    host: str | None = None

    def __init__(self, run: RunView) -> None:
        self.file = LogText(run.log, known_secrets(run))
        self._stages: Sequence[Stage] = run.spec.stages if run.spec is not None else ()

    def window(self) -> LogWindow:
        return LogWindow(self.file)

    def index(self) -> LogIndex:
        return LogIndex(self.file)

    def hits(self, words: str, wanted: Filter) -> Hits:
        return Hits(self.file, words, wanted.keeps_text if wanted else None)

    def never_wait_here(self) -> None:
        pass

    def bring(self, missing: NotHere) -> None:
        pass

    def stages(self, begin: int) -> list[StageStart]:
        return stage_starts(self.file, begin, self._stages) if self._stages else []

    def diagnosis(self, run: RunView) -> Diagnosis:
        from vllm_studio_tui.services.diagnosis import diagnose_run

        return diagnose_run(run)


def open_log(studio: StudioApi, run: RunView) -> RunLog:
    """Return the log of a run of a studio; of one elsewhere nothing is read yet.

    Raises:
        OSError: A file of this machine cannot be opened.
    """
    if studio.host is None:
        return LocalLog(run)
    from vllm_studio_tui.services.run_logs.far_log import FarLog

    return FarLog(studio, run)
