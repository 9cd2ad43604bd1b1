"""What is done with benchmarks and results on the bench screen: each begins a flow with its questions."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from vllm_studio_tui.tui.place import Place

if TYPE_CHECKING:
    from vllm_studio_tui.domain.bench import BenchResult
    from vllm_studio_tui.tui.screens.bench.facts import Facts, Known
    from vllm_studio_tui.tui.screens.bench.knowledge import Limits
    from vllm_studio_tui.tui.widgets.table import Table


class BenchActions(Place):
    """The actions that need more than the screen itself."""

    _known: Known
    _shown: str | None
    _against: str | None
    _limits: Limits | None

    @cached_property
    @abstractmethod
    def table(self) -> Table[BenchResult]:
        """The table of all results."""

    @property
    @abstractmethod
    def result(self) -> BenchResult | None:
        """The result that keys are for."""

    @abstractmethod
    def look(self) -> None:
        """Read the results again."""

    @abstractmethod
    def open_result(self, bench_id: str | None, against: str | None = None) -> None:
        """Show a result, and another one beside it."""

    @abstractmethod
    def _facts(self, width: int, height: int) -> Facts:
        """Return what is shown."""

    @property
    def _picked(self) -> list[BenchResult]:
        """The marked results; where none is marked, the one that keys are for."""
        marked = [one for one in self._known.results if one.id in self.table.marks]
        result = self.result
        return marked or ([result] if result is not None else [])

    def action_why(self) -> None:
        from vllm_studio_tui.tui.screens.bench.sheets import why_sheet

        if self._known.shown is not None:
            self.shell.push_screen(why_sheet(self._facts(80, 40)))

    def action_edit(self) -> None:
        from vllm_studio_tui.tui.screens.bench.flows import ask_limits

        async def work() -> None:
            said = await ask_limits(self.shell, self._facts(80, 40).limits)
            if said is not None:
                self._limits = said
                self.look()

        self.shell.spawn(work())

    def action_stop(self) -> None:
        from vllm_studio_tui.tui.flows.benching import stop

        self.shell.spawn(stop(self.shell))

    def action_new(self) -> None:
        from vllm_studio_tui.tui.flows.benching import new_benchmark

        self.shell.spawn(new_benchmark(self.shell))

    def action_again(self) -> None:
        from vllm_studio_tui.tui.screens.bench.flows import again

        if (result := self.result) is not None:
            self.shell.spawn(again(self.shell, result))

    def action_duplicate(self) -> None:
        from vllm_studio_tui.tui.flows.benching import set_up

        if (result := self.result) is not None:
            set_up(self.shell, result.recipe_id or "", result.plan)

    def action_revisions(self) -> None:
        from vllm_studio_tui.tui.screens.bench.flows import take_revision

        if (result := self.result) is not None:
            self.shell.spawn(take_revision(self.shell, result))

    def action_export(self) -> None:
        from vllm_studio_tui.tui.screens.bench.flows import export_results

        if picked := self._picked:
            self.shell.spawn(export_results(self.shell, picked))

    def action_import(self) -> None:
        from vllm_studio_tui.tui.screens.bench.flows import import_results

        async def work() -> None:
            first = await import_results(self.shell)
            if first is not None:
                self.open_result(first)

        self.shell.spawn(work())

    def action_delete(self) -> None:
        from vllm_studio_tui.tui.screens.bench.flows import delete

        doomed = self._picked

        async def work() -> None:
            if await delete(self.shell, doomed):
                if self._shown in {one.id for one in doomed}:
                    self._shown = self._against = None
                self.table.clear_marks()
                self.look()

        self.shell.spawn(work())
