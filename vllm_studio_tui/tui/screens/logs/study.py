"""What is found out about the whole of a log in the background, while a part of it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.log_index import Hits, LogIndex
from vllm_studio_tui.runs.log_lines import parse, sources_of
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.tui.document.reading import BlockReader
from vllm_studio_tui.tui.screens.logs.facts import (
    LogFacts,
    diagnose,
    find_cause,
    find_echoes,
    find_remarks,
    find_stages,
    first_time,
)  # fmt: skip

if TYPE_CHECKING:
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.run_logs.run_log import RunLog
    from vllm_studio_tui.tui.paint.ink import Ink

#: Seconds of rest between two steps of looking through the whole log: as long as a step, so that keys come first.
REST = 0.02


class LogStudy(BlockReader):
    """A log of which the lines are counted, the stages, errors and hits found, and the cause of a failure.

    Attributes:
        index: Counts the lines of the whole file.
        hits: The lines with the words that are looked for; None without any.
        facts: The cause of a failure, its echoes and the stages, as far as they are known.
        filter: Which lines are shown.
        searching: How far the file was looked through, in words, while somebody waits for that.
        lost: Why a log elsewhere cannot be read now, in words; empty where it can.
    """

    class Status(Message):
        """What the screen shows beside the log has changed."""

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(get_ink, id=id)
        self._log: RunLog | None = None
        self._window: LogWindow | None = None
        self._run: RunView | None = None
        self._studying = False
        self._sources: list[str] = []
        self.index: LogIndex | None = None
        self.hits: Hits | None = None
        self.facts = LogFacts()
        self.filter = Filter()
        self.searching = self.lost = ""

    @property
    def studied(self) -> bool:
        """Whether the stages, and the cause of a failure, were looked for."""
        return self.facts.studied

    # --- for subclasses ---------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Build what is shown anew: the cause of the failure is known now."""

    def dress(self) -> None:
        """Show the stages that are known now."""

    def away(self, error: OSError) -> None:
        """Take it that a log elsewhere cannot be read now."""

    def number_late(self) -> None:
        """Show the numbers of lines that were not known when they were drawn."""

    @property
    def last_time(self) -> str:
        """The time of the last line in memory that bears one."""
        lines = self._window.lines[-60:] if self._window is not None and self._window.at_end else ()
        return next((time for line in reversed(lines) if (time := parse(line.text).prefix.time)), "")

    def sources(self) -> list[str]:
        """Return who wrote the lines in memory."""
        lines = self._window.lines if self._window is not None else ()
        found = sources_of(parse(line.text).prefix.source for line in lines)
        known = dict.fromkeys([*self._sources, *found])
        self._sources = list(known)
        return self._sources

    @property
    def lines_known(self) -> tuple[int, bool]:
        """How many lines there are, and whether all were counted."""
        index = self.index
        return (index.lines, index.complete) if index is not None else (0, True)

    # --- the whole of it --------------------------------------------------------------------------------

    def _study_more(self) -> None:
        scans = [scan for scan in (self.index, self.hits) if scan is not None]
        if not self._studying and (not self.studied or any(not scan.complete or scan.unsettled for scan in scans)):
            self._studying = True
            self.run_worker(self._study(), group="log-study")

    async def _study(self) -> None:
        """Look through the whole log, a little at a time, until everything is known that can be."""
        log = self._log
        try:
            while (window := self._window) is not None and self.is_on_screen:
                index, hits = self.index, self.hits
                assert index is not None
                moved = await asyncio.to_thread(index.step)
                if hits is not None:
                    moved = await asyncio.to_thread(hits.step) or moved
                if window is not self._window:
                    continue
                if moved:
                    self.number_late()
                    self.post_message(self.Status())
                if index.complete and (hits is None or hits.complete):
                    await self._learn(window, index)
                    return
                await asyncio.sleep(REST)
        except OSError as error:
            if log is self._log:
                self.away(error)  # the next look at what came goes on from here
        finally:
            self._studying = False

    async def _learn(self, window: LogWindow, index: LogIndex) -> None:
        """Find the stages and errors again where there are more of them, and once the cause and its echoes."""
        run, file, facts, log = self._run, window.file, self.facts, self._log
        if run is None or log is None:
            return
        loading = run.state in (State.STARTING, State.LOADING)
        if not facts.studied or (loading and facts.size != file.size) or len(index.attempts) != facts.attempts:
            facts.size, facts.attempts = file.size, len(index.attempts)
            before, facts.stages = facts.stages, await asyncio.to_thread(find_stages, log, index)
            facts.first = facts.first or await asyncio.to_thread(first_time, file)
            if facts.stages != before and window is self._window:
                self.dress()
        if not facts.studied:
            await self._find_cause(window, log, index, run, facts)
            # It may have failed meanwhile: then this was too early.
            facts.studied = self._run is None or self._run.state is run.state
        counted = (index.errors, index.warnings)
        if counted != facts.remarked:
            facts.remarked = counted
            facts.remarks = await asyncio.to_thread(find_remarks, file, index, facts)
        self.post_message(self.Status())

    async def _find_cause(self, window: LogWindow, log: RunLog, index: LogIndex, run: RunView, facts: LogFacts) -> None:
        """Find why a run failed, and the lines that tell and that repeat it."""
        file = window.file
        facts.diagnosis = found = await asyncio.to_thread(diagnose, log, run)
        if found is None:
            return
        facts.cause_at = await asyncio.to_thread(find_cause, file, index, found, list(run.status.evidence))
        if facts.cause_at is not None:
            facts.echoes = await asyncio.to_thread(find_echoes, file, index, facts.cause_at, run.spec)
        facts.remarked = (-1, -1)
        if window is self._window:
            self.rebuild()
            self.learned()

    def learned(self) -> None:
        """The cause of the failure has been found."""

    def _number(self, offset: int) -> int | None:
        return self.index.number(offset) if self.index is not None else None

    def _find_hits(self) -> None:
        if self._log is not None and self._window is not None and self.words:
            self.hits = self._log.hits(self.words, self.filter)
            self._study_more()
        else:
            self.hits = None
