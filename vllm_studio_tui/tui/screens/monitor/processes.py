"""The processes of runs and on GPUs as a table: a tree that is ordered, filtered, folded and marked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import BindingType

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.processes import ProcessRow, as_tree
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.paint.table import Column
from vllm_studio_tui.tui.screens.monitor import processes_rows as paint
from vllm_studio_tui.tui.screens.monitor.processes_rows import Line
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.listing import Listing, Shape
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.shell import Shell


class _Tree(Table[Line]):
    """A table that says when it is ordered or filtered anew: the lines of a tree depend on both."""

    changed: Callable[[], None] = staticmethod(lambda: None)

    def order_by(self, name: str, *, falling: bool | None = None) -> None:
        super().order_by(name, falling=falling)
        self.changed()

    def set_filter(self, words: str) -> None:
        super().set_filter(words)
        self.changed()


class ProcessesView(Listing):
    """The table of processes, with the keys that fold, signal and open.

    It looks when it is told to (`look`), in a thread, and not again before that look has ended.

    Args:
        get_commands: Returns what stops runs.
        seen: Called when they were first looked at while the table is not shown: somebody else shows them, and later
            looks with its next picture, because one for them alone costs as much.
    """

    SCOPE = "processes"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("processes")]
    DEFAULT_CSS = "ProcessesView { height: 1fr; width: 1fr; }"

    def __init__(
        self,
        get_commands: Callable[[], Commands],
        seen: Callable[[], None] = lambda: None,
        *,
        id: str | None = None,  # noqa: A002, RUF100
    ) -> None:
        self._seen = seen
        self._looked = 0.0
        self._rows: tuple[ProcessRow, ...] | None = None
        self._folded: set[tuple[int, int]] = set()
        self._busy = False
        self._get_commands = get_commands
        self._places: dict[tuple[str, bool], dict[str, int]] = {}
        self._error: StudioError | None = None
        table = _Tree(
            self._columns,
            lambda: self._shell.ink,
            lambda: self._shell.size_class,
            title="PROCESSES",
            key=lambda line: line.key,
            words=Line.words,
            rank_words="a tree, by GPU",
            nothing=self._nothing,
            can_mark=True,
            id="processes-table",
        )
        table.changed = self.draw
        super().__init__(table, detail=self._details_of, beside=(56, 190), below=(4, 30), id=id)

    @property
    def _shell(self) -> Shell:
        return cast("Shell", self.app)

    # --- looking ----------------------------------------------------------------------------------------

    def look(self, *, every: float = 0.0) -> None:
        """Look at the processes, unless a look is under way, or the last was less than `every` seconds ago."""
        if not self._busy and time.monotonic() - self._looked >= every:
            self._busy, self._looked = True, time.monotonic()
            self._shell.spawn(self._look(), group="processes")

    async def _look(self) -> None:
        first = self._rows is None
        try:
            self._rows = await self._shell.in_thread(self._shell.studio.processes.tree)
            self._error = None
        except StudioError as error:
            self._error, self._rows = error, self._rows or ()
        finally:
            self._busy = False
        if not self.is_attached:
            return
        if self.display:
            self.draw()
        elif first:
            self._seen()

    def lines(self) -> Sequence[Line]:
        """Return the whole tree as it was last seen."""
        snapshot = self._shell.snapshot
        return paint.lines_of(self._rows or (), snapshot.every if snapshot is not None else (), self._shell.ink.glyphs)

    def draw(self) -> None:
        """Show the rows as they are ordered, filtered and folded now."""
        if self._rows is None:
            return
        self._places.clear()
        self.table.show_items(self._lines())
        for canvas in self.query(".listing-detail").results(Canvas):
            canvas.repaint()
        self._shell.update_frame()

    def _lines(self) -> list[Line]:
        snapshot: Snapshot | None = self._shell.snapshot
        flat = bool(self.table.filter)
        folded: set[tuple[int, int]] = set() if flat else self._folded
        rows = self._ordered(self.table.ordered, falling=self.table.falling)
        runs = snapshot.every if snapshot is not None else ()
        return paint.lines_of(rows, runs, self._shell.ink.glyphs, folded, branches=not flat)

    def _ordered(self, name: str, *, falling: bool) -> tuple[ProcessRow, ...]:
        order = paint.ORDERS.get(name)
        processes = [row.process for row in self._rows or ()]
        if self.table.filter:  # parents may not be among those that are left
            processes = [replace(one, parent=None) for one in processes]
        elif order is None:
            return self._rows or ()
        return as_tree(processes, order, falling=falling)

    def _columns(self) -> list[Column[Line]]:
        containers = any(row.process.container for row in self._rows or ())
        return paint.columns_of(self._shell.ink.glyphs, containers=containers, position=self._position)

    def _position(self, name: str, line: Line) -> int:
        """Return where a line stands in the tree that is ordered by a column, so that children stay with parents."""
        falling = self.table.falling
        places = self._places.get((name, falling))
        if places is None:
            rows = self._ordered(name, falling=falling)
            places = {str(row.process.pid): index for index, row in enumerate(rows)}
            self._places = {(name, falling): places}
        at = places.get(str(line.one.pid), len(places))
        return -at if falling else at

    def _nothing(self, x: int, width: int) -> list[Row]:
        row = Row()
        words = self._error.title if self._error is not None else "No run lives here, and no process is seen on a GPU."
        row.put(x, words, "warn" if self._error is not None else "dim", max(0, width - x))
        return [row]

    def _details_of(self, shape: Shape, x: int, width: int, height: int) -> list[Row]:
        line: Line | None = self.table.chosen
        if line is None:
            return []
        return paint.details(line, x, width, tight=shape is Shape.BELOW)[:height]

    def show_as_sheet(self) -> None:
        """Show all that is known of the process under the cursor, with its environment."""
        line: Line | None = self.table.chosen
        if line is not None:
            self.show_details(line)

    def show_details(self, line: Line) -> None:
        """Show all that is known of a process."""
        self._shell.spawn(self._sheet(line))

    async def _sheet(self, line: Line) -> None:
        from vllm_studio_tui.tui.sheets.dialogs import Pages  # the first picture needs no sheet

        environment: list[tuple[str, str]] | str
        try:
            processes = self._shell.studio.processes
            environment = await self._shell.in_thread(lambda: processes.environment(line.one.pid, line.one.start))
        except StudioError as error:
            environment = " ".join(part for part in (f"{error.title}.", error.cause) if part)

        def painter(ink: Ink, width: int) -> list[Row]:
            return paint.details(line, 2, width, environment)

        self._shell.push_screen(Pages(painter))

    # --- actions ----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"{self.SCOPE}.{action.replace('_', '-')}")
        if known is None:
            return super().check_action(action, parameters)
        line: Line | None = self.table.chosen
        if line is None or (known.writes and self._shell.read_only):
            return False
        if known.name == "log":
            return line.run is not None
        if known.name in ("left", "right", "fold-all"):
            return not self.table.filter and any(row.depth for row in self._rows or ())
        return True

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        for canvas in self.query(".listing-detail").results(Canvas):
            canvas.repaint()
        self._shell.update_frame()

    def action_open(self) -> None:
        """Open the page of the run; what is known of a process that is of none."""
        line: Line | None = self.table.chosen
        if line is not None and line.run is not None and line.one.run_id is not None:
            self._shell.open_run(line.one.run_id)
        else:
            self.show_as_sheet()

    def action_stop(self) -> None:
        """Stop the run, or send a signal to the marked processes or the one under the cursor, after a question."""
        from vllm_studio_tui.tui.screens.monitor.processes_flows import stop_or_signal

        picked = [line.one for line in self.table.picked]

        async def work() -> None:
            if await stop_or_signal(self._shell, self._get_commands(), picked):
                self.table.clear_marks()
                self.look()

        self._shell.spawn(work())

    def action_log(self) -> None:
        line: Line | None = self.table.chosen
        if line is not None and line.one.run_id is not None:
            self._shell.spawn(self._get_commands().open_log(line.one.run_id))

    def action_copy(self) -> None:
        """Copy the numbers of the marked processes, or of the one under the cursor."""
        self._shell.copy(" ".join(str(line.one.pid) for line in self.table.picked))

    def action_left(self) -> None:
        """Fold the process under the cursor; where it is folded or has none below, go to its parent."""
        line: Line | None = self.table.chosen
        if line is None:
            return
        if len(line.family) > 1 and not line.folded:
            self._folded.add((line.one.pid, line.one.start))
            self.draw()
            return
        above = next((row for row in self._rows or () if row.process.pid == line.one.parent), None)
        if above is not None:
            self.table.choose(f"{paint.PROCESS}{above.process.pid}:{above.process.start}")

    def action_right(self) -> None:
        line: Line | None = self.table.chosen
        if line is not None:
            self._folded.discard((line.one.pid, line.one.start))
            self.draw()

    def action_fold_all(self) -> None:
        """Fold every root that is open; where none is, open all."""
        rows = self._rows or ()
        roots = {(line.one.pid, line.one.start) for line in paint.lines_of(rows, (), self._shell.ink.glyphs)
                 if not line.row.depth and len(line.family) > 1}  # fmt: skip
        self._folded = set() if roots <= self._folded else self._folded | roots
        self.draw()

    def escape_word(self) -> str:
        """Return what `escape` would lift, in a word; empty where that is nothing."""
        return "no filter" if self.table.filter else "no marks" if self.table.marks else ""

    def escape(self) -> bool:
        done = super().escape()
        if done:
            self.draw()
        return done
