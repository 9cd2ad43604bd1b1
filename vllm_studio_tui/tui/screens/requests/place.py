"""The widget of the requests screen: those under way and the latest that ended, the past alone, or keys."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.requests import RequestQuery
from vllm_studio_tui.domain.serving import Phase
from vllm_studio_tui.domain.usage import CompletedRequest
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.paint.table import Column
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.requests import key_lines
from vllm_studio_tui.tui.screens.requests import rows as paint
from vllm_studio_tui.tui.screens.requests.key_lines import KeyLine
from vllm_studio_tui.tui.screens.requests.lines import Line, columns_of, lead, rank
from vllm_studio_tui.tui.screens.requests.log_table import LogTable
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.listing import Listing, Shape
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.domain.api_key import ApiKey
    from vllm_studio_tui.tui.shell import Shell

#: How many that ended are shown with the live ones, and alone.
LATEST, PAST = 200, 2000
#: The title of the table and its order in words, with and without those under way.
TITLES = (("NOW, THEN ENDED", "who waits longest first; the latest to end first"), ("ENDED", "the latest first"))
#: Seconds between two looks at what has ended, and at keys.
EVERY = 3.0
#: Seconds for which the row of a request that has ended is looked for.
PATIENCE = 5.0


class RequestsPlace(Place):
    """The requests screen."""

    SCOPE = "requests"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("requests")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._view = "live"
        self._facts = paint.Facts()
        self._ended: list[CompletedRequest] | None = None
        self._keys: list[KeyLine] | None = None
        self._now = 0.0
        self._looked = 0.0
        self._busy = False
        self._again = False
        #: Requests whose end is looked for, and until when.
        self._awaited: dict[str, float] = {}

    def compose(self) -> ComposeResult:
        yield Listing(
            LogTable(
                lambda: columns_of(self.ink.glyphs, self._now, self.size_class),
                self.get_ink,
                lambda: self.size_class,
                title=TITLES[0][0],
                key=lambda line: line.key,
                words=Line.words,
                rank=rank,
                rank_words=TITLES[0][1],
                lead=lambda line: lead(line, self.ink.glyphs),
                above=self._paint_above,
                nothing=lambda x, width: paint.nothing(self._facts, x, width),
                id="requests-table",
            ),
            detail=self._paint_detail,
            beside=(46, 150),
            below=(9, 34),
            hint=": words, or a time such as 14:10..14:20",
            id="requests-listing",
        )
        yield Listing(
            Table(
                self._key_columns,
                self.get_ink,
                lambda: self.size_class,
                title="KEYS",
                key=lambda line: line.key.id,
                words=lambda line: f"{line.key.name} {line.key.prefix}",
                rank_words="the oldest first; tokens of today in UTC",
                above=self._paint_above,
                nothing=lambda x, width: key_lines.nothing(x),
                id="keys-table",
            ),
            id="keys-listing",
        )

    def on_mount(self) -> None:
        self.table.asked_anew = lambda: self._look(everything=True)
        self.query_one("#keys-listing").display = False

    @property
    def table(self) -> LogTable:
        return self.query_one("#requests-table", LogTable)

    @property
    def keys_table(self) -> Table[KeyLine]:
        return self.query_one("#keys-table", Table)

    @property
    def _listing(self) -> Listing:
        return self.query_one("#keys-listing" if self._view == "keys" else "#requests-listing", Listing)

    def focus_first(self) -> None:
        self._listing.table.focus()

    def shown(self) -> None:
        if self.size_class <= Size.STRIP and self._view == "keys":
            self._view = "live"  # there is no room to say that there are requests too
            self._show_listing()
        super().shown()
        self._look(everything=True)

    def read_again(self) -> None:
        self._look(everything=True)

    def update_place(self) -> None:
        live = self._facts.live
        # Where nothing serves and nobody asks, a look every few seconds is enough.
        if live.serving or live.requests or self._awaited or time.monotonic() - self._looked >= EVERY:
            self._look()
        else:
            super().update_place()

    # --- reading ----------------------------------------------------------------------------------------

    def _look(self, *, everything: bool = False) -> None:
        """Look in a thread; what is asked for meanwhile is done after it."""
        if everything:
            self._looked = 0.0
        if self._busy:
            self._again = self._again or everything
            return
        self._busy = True
        self.shell.spawn(self._read(), group="requests")

    async def _read(self) -> None:
        try:
            while True:
                self._again = False
                whole = time.monotonic() - self._looked >= EVERY
                if whole:
                    self._looked = time.monotonic()
                await self.shell.in_thread(partial(self._find, self._query, whole))
                if not self._again:
                    break
        finally:
            self._busy = False
        if self.display:
            self._show()

    @property
    def _query(self) -> RequestQuery:
        """Which of those that have ended are read."""
        between = self.table.between()
        since, until = between if between is not None else (None, None)
        return RequestQuery(PAST if self._view == "past" or between is not None else LATEST, since=since, until=until)

    def _find(self, query: RequestQuery, whole: bool) -> None:
        """Find out what is shown. Blocking."""
        now = time.time()
        requests = self.studio.requests
        tally, error = self._facts.tally, self._facts.error
        try:
            live = requests.live()
            here = {one.id for one in live.requests}
            # One that was under way and is not any more has ended: it is looked for until its row is there.
            gone = {one.id for one in self._facts.live.requests} - here
            self._awaited |= dict.fromkeys(gone, time.monotonic() + PATIENCE)
            if whole or self._awaited:
                self._ended = requests.ended(query)
                ended = {one.id for one in self._ended} | here
                self._awaited = {
                    one: until for one, until in self._awaited.items() if one not in ended and time.monotonic() < until
                }
                tally, error = requests.tally(now - paint.HOUR), None
                today = self.studio.keys.tokens_today(now)
                found = self.studio.keys.list()
                self._keys = [
                    KeyLine(
                        key,
                        today.get(key.id, 0),
                        sum(1 for one in live.requests if one.key == key.name and not one.waits)
                        if live.serving
                        else None,
                        sum(1 for one in live.requests if one.key == key.name and one.waits) if live.serving else None,
                    )
                    for key in found
                ]
        except StudioError as one:
            live, error = self._facts.live, one
        self._facts = paint.Facts(live, tally, error)
        self._now = now

    def _show(self) -> None:
        if self._ended is not None:
            live = [] if self._view == "past" else [Line(live=one) for one in self._facts.live.requests]
            here = {line.key for line in live}
            self.table.title, self.table.rank_words = TITLES[self._view == "past"]
            self.table.show_items([*live, *(Line(ended=one) for one in self._ended if one.id not in here)])
        if self._keys is not None:
            self.keys_table.show_items(self._keys)
        for canvas in self._listing.query(Canvas):
            canvas.repaint()
        self.shell.update_frame()

    # --- painting ---------------------------------------------------------------------------------------

    def _key_columns(self) -> list[Column[KeyLine]]:
        return key_lines.columns_of(self.ink.glyphs, self._now)

    def _paint_above(self, width: int, height: int) -> list[Row]:
        size = self.size_class
        if size <= Size.STRIP and height < 3:
            return []
        wide = self.size.width if self.size.width else width
        return paint.above(self._facts, self._view, self.ink.glyphs, size, min(width, wide))

    def _paint_detail(self, shape: Shape, x: int, width: int, height: int) -> list[Row]:
        return paint.detail(self.table.chosen, x, width, tight=shape is Shape.BELOW)[:height]

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        for canvas in self.query(".listing-detail").results(Canvas):
            canvas.repaint()
        self.shell.update_frame()

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if name in ("view", "new"):
            return True
        if name in ("delete", "edit"):
            return self._view == "keys" and self.keys_table.chosen is not None
        line = self.table.chosen
        if self._view == "keys" or line is None:
            return False
        if name == "stop":
            return line.live is not None
        if name == "run":
            return line.live is not None and line.live.phase == Phase.QUEUED and line.recipe is not None
        if name == "log":
            return line.run_id is not None
        if name == "export":
            return any(one.ended is not None for one in self.table.shown)
        return True

    def escape(self) -> bool:
        if self._listing.escape():
            return True
        if self._view != "live":
            self._choose_view("live")
            return True
        return False

    def action_open(self) -> None:
        line = self.table.chosen
        if line is None:
            return
        session = line.ended.session_id if line.ended is not None else None
        if session is not None:
            self.shell.spawn(self.commands.open_chat(session))
        else:
            self._listing.show_as_sheet()

    def action_stop(self) -> None:
        line = self.table.chosen
        if line is not None and line.live is not None:
            from vllm_studio_tui.tui.screens.requests.flows import cancel

            live = line.live

            async def work() -> None:
                await cancel(self.shell, live)
                self._look(everything=True)

            self.shell.spawn(work())

    def action_view(self) -> None:
        """Show the next of live ones, past ones and keys."""
        self._choose_view(paint.VIEWS[(paint.VIEWS.index(self._view) + 1) % len(paint.VIEWS)])

    def _choose_view(self, view: str) -> None:
        self._view = view
        self._show_listing()
        self.focus_first()
        self._look(everything=True)
        self._show()

    def show_asked(self, filter_: str) -> None:
        """Show the requests that a filter leaves, live ones and past ones, as if it had been typed."""
        if self._view != "live":
            self._choose_view("live")
        self._listing.filter_by(filter_)

    def _show_listing(self) -> None:
        for name in ("requests-listing", "keys-listing"):
            self.query_one(f"#{name}").display = (name == "keys-listing") is (self._view == "keys")

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        kind, _, view = event.action.partition(":")
        if kind == "view" and view in paint.VIEWS:
            event.stop()
            self._choose_view(view)
        else:
            super().on_canvas_clicked(event)

    def action_copy(self) -> None:
        if (line := self.table.chosen) is not None:
            self.shell.copy(line.key)

    def action_run(self) -> None:
        line = self.table.chosen
        if line is not None and line.recipe is not None:
            self.shell.spawn(self.commands.launch(line.recipe))

    def action_log(self) -> None:
        line = self.table.chosen
        if line is not None and line.run_id is not None:
            self.shell.spawn(self.commands.open_log(line.run_id))

    def action_new(self) -> None:
        from vllm_studio_tui.tui.screens.requests.flows import make_key

        async def work() -> None:
            if await make_key(self.shell) is not None:
                self._choose_view("keys")

        self.shell.spawn(work())

    def action_edit(self) -> None:
        from vllm_studio_tui.tui.screens.requests.flows import edit_key

        self._with_key(edit_key)

    def action_delete(self) -> None:
        from vllm_studio_tui.tui.screens.requests.flows import delete_key

        self._with_key(delete_key)

    def _with_key(self, flow: Callable[[Shell, ApiKey], Awaitable[bool]]) -> None:
        line = self.keys_table.chosen
        if line is not None:

            async def work() -> None:
                if await flow(self.shell, line.key):
                    self._look(everything=True)

            self.shell.spawn(work())

    def action_export(self) -> None:
        """Write the requests that ended, as they are filtered, as CSV to a file."""
        from vllm_studio_tui.tui.flows.export import export

        self.shell.spawn(export(self.shell, "requests", ".csv", partial(paint.as_csv, list(self.table.shown))))
