"""The widget of the usage screen: totals, a chart of days, and a table."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.usage import UsageQuery, UsageReport, UsageRow
from vllm_studio_tui.kit.local_time import begin_of, date_of, day_of
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Column, Parts
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.usage import rows as paint
from vllm_studio_tui.tui.screens.usage.chart import chart
from vllm_studio_tui.tui.screens.usage.heat import heat
from vllm_studio_tui.tui.widgets.listing import Listing
from vllm_studio_tui.tui.widgets.table import Table

DAYS = (7, 14, 30, 90, 365)
#: What the rows are, in the order of `v`.
VIEWS = ("model", "recipe", "day", "hour", "week", "key", "source", "session")
#: Seconds between two reports while the screen is shown.
EVERY = 10.0
#: What the rows are ordered by until a person orders them by a column.
ORDER_WORDS = dict.fromkeys(("day", "hour", "week", "session"), "latest first")


class UsagePlace(Place):
    """The usage screen."""

    SCOPE = "usage"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("usage")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._days = 1
        self._by = "model"
        #: The day that the table is narrowed to, counted back from the last one; None: all days.
        self._chosen: int | None = None
        self._report: UsageReport | None = None
        self._before: UsageReport | None = None
        #: The choice of days of which that is.
        self._compared = -1
        self._narrow: UsageReport | None = None
        self._error: StudioError | None = None
        self._made = 0.0
        self._busy = False

    def compose(self) -> ComposeResult:
        yield Listing(
            Table(
                self._columns,
                self.get_ink,
                lambda: self.size_class,
                title="BY MODEL",
                key=lambda used: used.key or "–",
                words=lambda used: f"{used.key} {used.title or ''} {paint.row_name(used, self._by)}",
                rank_words="most tokens first",
                above=self._paint_above,
                note=self._day_note,
                nothing=lambda x, width: paint.nothing(self._report, DAYS[self._days], x),
                total=self._total,
                id="usage-table",
            ),
            id="usage-listing",
        )

    @property
    def table(self) -> Table[UsageRow]:
        return self.query_one("#usage-table", Table)

    def shown(self) -> None:
        super().shown()
        self._make()

    def read_again(self) -> None:
        self._make()

    def update_place(self) -> None:
        if time.monotonic() - self._made > EVERY:
            self._make()
        super().update_place()

    # --- reading ----------------------------------------------------------------------------------------

    def _make(self) -> None:
        if not self._busy:
            self._busy = True
            self.shell.spawn(self._read(), group="usage")

    async def _read(self) -> None:
        wanted = (self._days, self._by, self._chosen)
        made: tuple[UsageReport | None, UsageReport | None] = (None, None)
        self._error = None
        try:
            if self._report is None:  # the first picture: what takes longest follows
                quick = UsageQuery(days=DAYS[self._days], by=self._by, every=False, latencies=False)
                self._report = await self.shell.in_thread(partial(self.studio.usage.report, quick))
                self._show()
            made = await self.shell.in_thread(partial(self._reports, DAYS[self._days], self._by, self._chosen))
            if self._compared != self._days:
                self._before = None
            if wanted == (self._days, self._by, self._chosen):
                # The picture first, then what it is held against.
                self._report, self._narrow = made
                self._show()
                before = await self.shell.in_thread(partial(self._earlier, DAYS[self._days], self._by))
                self._before, self._compared = before, wanted[0]
        except StudioError as error:
            self._error = error
            self._report = self._narrow = self._before = None
        finally:
            self._busy = False
        self._made = time.monotonic()
        if wanted != (self._days, self._by, self._chosen):
            self._make()  # another report was asked for meanwhile
            return
        self._show()

    def _reports(self, days: int, by: str, chosen: int | None) -> tuple[UsageReport, UsageReport | None]:
        """Return the report, and that of the chosen day. Blocking."""
        now = time.time()
        queries = [UsageQuery(days=days, by=by, every=False)]
        if chosen is not None:
            day = day_of(now) - chosen
            queries.append(UsageQuery(by=by, since=begin_of(day), until=begin_of(day + 1), every=False))
        this, *narrow = self.studio.usage.reports(queries, now=now)
        return this, narrow[0] if narrow else None

    def _earlier(self, days: int, by: str) -> UsageReport:
        """Return the report of as many days before. Blocking."""
        now = time.time()
        first = day_of(now) - days + 1
        query = UsageQuery(by=by, since=begin_of(first - days), until=begin_of(first), every=False)
        return self.studio.usage.report(query, now=now)

    @property
    def _listed(self) -> UsageReport | None:
        """The report that the table shows: that of the chosen day, else the whole."""
        return self._narrow if self._narrow is not None and self._chosen is not None else self._report

    def _show(self) -> None:
        table, listed = self.table, self._listed
        table.title = f"BY {paint.WORDS[self._by].upper()}"
        table.rank_words = ORDER_WORDS.get(self._by, "most tokens first")
        used = self._report is not None and bool(self._report.totals.total_tokens or self._report.totals.requests)
        table.show_items(listed.rows if listed is not None and used else ())
        super().update_place()
        self.shell.update_frame()

    # --- painting ---------------------------------------------------------------------------------------

    def _columns(self) -> list[Column[UsageRow]]:
        return paint.columns_of(self._listed, self._by, self.ink.glyphs)

    def _total(self) -> UsageRow | None:
        listed = self._listed
        if listed is None or len(listed.rows) < 2 or self.table.filter:
            return None
        from dataclasses import replace

        return replace(listed.totals, title="all")

    def _day_note(self) -> Parts:
        if self._chosen is None or self._report is None:
            return []
        date = date_of(day_of(self._report.at) - self._chosen)
        return [(date, "accent bold"), ("   esc all days   ", "faint")]

    def _paint_above(self, width: int, height: int) -> list[Row]:
        size, glyphs, report = self.size_class, self.ink.glyphs, self._report
        x = margin(size)
        rows = [Row()] if size >= Size.WIDE else []
        rows.append(paint.head(report, self._before, DAYS[self._days], size))
        if self._error is not None:
            error = self._error
            return [*rows, Row(), *paint.error(error.title, error.cause, error.advice, glyphs, x, width), Row()]
        if report is None or not (report.totals.total_tokens or report.totals.requests):
            return [*rows, *([] if report is None else paint.missing(report, glyphs, x, width)), Row()]
        rows += paint.missing(report, glyphs, x, width)
        if size <= Size.STRIP:
            return rows
        rows += [Row(), *paint.totals(report, self._before, width, size), Row()]
        # The table keeps a few rows, with its title, heads and sums.
        hourly = self._by == "hour"
        kept = 8 if size >= Size.WIDE else 2 if hourly else 5
        room = height - len(rows) - min(len(self.table.shown), kept) - 6
        tall = min(18 if size == Size.FULL else 10, room)
        if size >= Size.BASE and tall >= (8 if hourly else 5):
            if hourly:
                rows += heat(self._listed or report, glyphs, width, size)
            else:
                rows += chart(report, DAYS[self._days], self.shell.ink, width, size, tall, self._chosen)
            rows.append(Row())
        return rows

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if name == "open":
            return self.table.key is not None and self._by in ("day", "hour", "recipe")
        if name == "export":
            return bool(self.table.shown)
        if name in ("next-stop", "later"):
            return self._chosen is not None
        if name == "zoom-in":
            return self._days > 0
        if name == "zoom-out":
            return self._days < len(DAYS) - 1
        return True

    def escape(self) -> bool:
        if self.query_one("#usage-listing", Listing).escape():
            return True
        if self._chosen is not None:
            self._chosen = self._narrow = None
            self._show()
            return True
        return False

    def action_open(self) -> None:
        used = self.table.chosen
        if used is None or self._report is None:
            return
        if self._by in ("day", "hour"):
            last, date = day_of(self._report.at), used.key[:10]
            self._chosen = next((back for back in range(DAYS[self._days]) if date_of(last - back) == date), None)
            self._by = "model"
            self._make()
        elif self._by == "recipe":
            self.shell.spawn(self._open_recipe(used.key))

    async def _open_recipe(self, recipe_id: str) -> None:
        place: Any = await self.shell.show_place("recipes")
        await place.reload(recipe_id)

    def action_zoom_out(self) -> None:
        self._choose_days(self._days + 1)

    def action_zoom_in(self) -> None:
        self._choose_days(self._days - 1)

    def _choose_days(self, index: int) -> None:
        self._days = max(0, min(index, len(DAYS) - 1))
        self._chosen = self._narrow = None
        self._make()

    def action_view(self) -> None:
        """Group by the next of what usage is divided by."""
        self._by = VIEWS[(VIEWS.index(self._by) + 1) % len(VIEWS)]
        self._make()

    def action_previous_stop(self) -> None:
        """Narrow the table to the day before, the first time to the last day."""
        self._chosen = 0 if self._chosen is None else min(DAYS[self._days] - 1, self._chosen + 1)
        self._make()

    def action_next_stop(self) -> None:
        """Narrow the table to the day after; after the last one to all days."""
        if self._chosen is not None:
            self._chosen = self._chosen - 1 if self._chosen > 0 else None
            self._make()

    action_earlier = action_previous_stop
    action_later = action_next_stop

    def action_export(self) -> None:
        """Write the table as CSV to a file."""
        from vllm_studio_tui.tui.flows.export import export

        if (listed := self._listed) is not None:
            make = partial(paint.as_csv, tuple(self.table.shown), self._by, listed)
            self.shell.spawn(export(self.shell, "usage", ".csv", make))
