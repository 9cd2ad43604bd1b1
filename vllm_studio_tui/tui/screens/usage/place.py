"""The widget of the usage screen: totals, a chart of days, and a table."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.usage import BY, DAY, UsageQuery, UsageReport, UsageRow, date_of
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size, margin
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.usage import rows as paint
from vllm_studio_tui.tui.widgets.canvas import ListCanvas

DAYS = (7, 14, 30, 90, 365)
#: Seconds between two reports while the screen is shown.
EVERY = 10.0


class UsagePlace(Place):
    """The usage screen."""

    SCOPE = "usage"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("usage")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._days = 1
        self._by = "model"
        self._sort = "tokens"
        self._chosen: int | None = None
        self._report: UsageReport | None = None
        self._before: UsageReport | None = None
        self._narrow: UsageReport | None = None
        self._made = 0.0
        self._busy = False

    def compose(self) -> ComposeResult:
        yield ListCanvas(self._paint, self.get_ink, id="usage-canvas")

    def shown(self) -> None:
        super().shown()
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
        try:
            made = await self.shell.in_thread(partial(self._reports, DAYS[self._days], self._by, self._chosen))
        finally:
            self._busy = False
        self._report, self._before, self._narrow = made
        self._made = time.monotonic()
        super().update_place()
        self.shell.update_frame()

    def _reports(self, days: int, by: str, chosen: int | None) -> tuple[UsageReport, UsageReport, UsageReport | None]:
        """Return the report, that of as many days before, and that of the day under the cursor. Blocking."""
        now = time.time()
        first = (int(now // DAY) - days + 1) * DAY
        queries = [UsageQuery(days=days, by=by), UsageQuery(by=by, since=first - days * DAY, until=first)]
        if chosen is not None:
            day = (int(now // DAY) - chosen) * DAY
            queries.append(UsageQuery(by=by, since=day, until=day + DAY))
        this, earlier, *narrow = self.studio.usage.reports(queries, now=now)
        return this, earlier, narrow[0] if narrow else None

    def _rows(self) -> list[UsageRow]:
        report = self._narrow if self._narrow is not None and self._chosen is not None else self._report
        if report is None:
            return []
        column = next((column for column in self._columns() if column.name == self._sort), paint.COLUMNS[0])
        return sorted(report.rows, key=lambda row: -(column.value(row) or 0.0))

    def _columns(self) -> tuple[paint.Column, ...]:
        return paint.columns_of(self._report.price if self._report is not None else None)

    # --- painting ---------------------------------------------------------------------------------------

    def _paint(self, width: int, height: int) -> list[Row]:
        size = self.size_class
        rows = [Row()] if size >= Size.BASE else []
        rows.append(paint.head(self._report, DAYS[self._days], self._by, size))
        report = self._report
        if report is None:
            return rows
        if not report.totals.total_tokens:
            none = Row()
            none.put(margin(size), "No tokens counted yet. They appear after the first answer.", "dim")
            return [*rows, Row(), none]
        rows.append(Row())
        rows += paint.totals(report, self._before, width, size)
        rows.append(Row())
        listed = self._rows()
        if size >= Size.BASE:
            room = height - len(rows) - min(len(listed), 8) - 6
            tall = min(18 if size == Size.FULL else 10, room)
            if tall >= 5:
                rows += paint.chart(report, DAYS[self._days], self.ink.glyphs, width, size, tall, self._chosen)
                rows.append(Row())
        total = self._narrow.totals if self._narrow is not None and self._chosen is not None else report.totals
        if self._chosen is not None:
            day = Row()
            date = date_of(int(report.at // DAY) - self._chosen)
            day.run(margin(size), [(date, "accent bold"), ("   esc all days", "faint")])
            rows.append(day)
        rows += paint.table(listed, total, self._by, self._sort, self.ink.glyphs, width, size, report.price)
        if size >= Size.WIDE:
            note = Row()
            note.put(margin(size), "A dash means not measured. It stays out of sums. Days are in UTC.", "faint")
            rows += [Row(), note]
        return rows

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        return True

    def escape(self) -> bool:
        if self._chosen is not None:
            self._chosen = self._narrow = None
            super().update_place()
            return True
        return False

    def action_longer(self) -> None:
        self._days = min(len(DAYS) - 1, self._days + 1)
        self._chosen = self._narrow = None
        self._make()

    def action_shorter(self) -> None:
        self._days = max(0, self._days - 1)
        self._chosen = self._narrow = None
        self._make()

    def action_by(self) -> None:
        self._by = BY[(BY.index(self._by) + 1) % len(BY)]
        self._make()

    def action_sort(self) -> None:
        names = [column.name for column in self._columns() if self.size_class >= column.least]
        index = names.index(self._sort) if self._sort in names else -1
        self._sort = names[(index + 1) % len(names)]
        super().update_place()

    def action_earlier(self) -> None:
        self._chosen = min(DAYS[self._days] - 1, -1 if self._chosen is None else self._chosen) + 1
        self._chosen = min(self._chosen, DAYS[self._days] - 1)
        self._make()

    def action_later(self) -> None:
        if self._chosen is not None:
            self._chosen = self._chosen - 1 if self._chosen > 0 else None
            self._make()

    async def action_export(self) -> None:
        """Write the table as CSV to the folder where the studio was started."""
        if self._report is None:
            return
        path = Path.cwd() / f"usage-{time.strftime('%Y%m%d-%H%M%S')}.csv"
        rows, columns = self._rows(), self._columns()

        def write() -> None:
            import csv

            try:
                with path.open("w", newline="", encoding="utf-8") as stream:
                    out = csv.writer(stream)
                    out.writerow([self._by, *(column.name for column in columns)])
                    for row in rows:
                        out.writerow([row.key, *(column.value(row) for column in columns)])
            except OSError as error:
                raise StudioError(f"{path} cannot be written", cause=error.strerror or "") from None

        await self.shell.in_thread(write)
        self.shell.tell(f"written to {path}")
