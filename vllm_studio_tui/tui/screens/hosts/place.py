"""The widget of the hosts screen. Hosts are asked while it is shown: its connections end when it is left."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.remote.host_state import HostState
from vllm_studio_tui.remote.host_words import Rank, rank, sums, trouble
from vllm_studio_tui.services.watching.overview import overview_of
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.hosts import rows as paint
from vllm_studio_tui.tui.screens.hosts.lines import HostLine, columns_of, mark
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.frame import host_name
from vllm_studio_tui.tui.widgets.listing import Listing, Shape
from vllm_studio_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from vllm_studio_tui.config.setting_types import Host
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.remote.host_watch import HostWatch
    from vllm_studio_tui.tui.keys.action import Action

#: Rows of the details at least, and of the table beside those of hosts: title, headings, sums, blanks.
DETAIL, AROUND = 10, 7
#: Seconds that ending the connections may take when the program is left.
PATIENCE = 6.0


class HostsPlace(Place):
    """The hosts screen."""

    SCOPE = "hosts"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("hosts")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._hosts: dict[str, Host] = {}
        self._known: dict[str, HostState] = {}
        self._watch: HostWatch | None = None
        #: Those that were told to stop, until their connections have ended.
        self._stopping: list[HostWatch] = []
        self._left = False
        self._error: StudioError | None = None
        self._lines: list[HostLine] = []
        #: Whether the cursor is where it is to begin, and the row where it was put.
        self._begun = False
        self._put: str | None = None

    def compose(self) -> ComposeResult:
        yield Listing(
            Table(
                lambda: columns_of(self.ink.glyphs),
                self.get_ink,
                lambda: self.size_class,
                title="HOSTS",
                key=lambda line: line.key,
                words=HostLine.words,
                rank=lambda line: rank(line.state),
                rank_words="trouble first",
                lead=lambda line: mark(line, self.ink.glyphs),
                above=self._paint_above,
                note=lambda: paint.note(self._lines, self.size_class),
                total=self._total,
                id="hosts-table",
            ),
            detail=self._paint_detail,
            beside=(60, 10_000),  # a host's GPUs need the whole width
            below=(DETAIL, 20),
            id="hosts-listing",
        )

    @property
    def table(self) -> Table[HostLine]:
        return self.query_one("#hosts-table", Table)

    @property
    def _listing(self) -> Listing:
        return self.query_one("#hosts-listing", Listing)

    def focus_first(self) -> None:
        self.table.focus()

    # --- watching ---------------------------------------------------------------------------------------

    def shown(self) -> None:
        super().shown()
        self.shell.spawn(self._read(), group="hosts")

    def hidden(self) -> None:
        self._stop()

    async def leaving(self) -> None:
        self._left = True
        self._stop()
        await self.shell.in_thread(partial(_wait, self._stopping))

    def read_again(self) -> None:
        self.shell.spawn(self._read(), group="hosts")
        for name in self._hosts:
            if self._watch is not None:
                self._watch.retry(name)

    def update_place(self) -> None:
        self._show()

    async def _read(self) -> None:
        """Read the hosts of the settings, and ask those that are there now."""
        try:
            hosts = await self.shell.in_thread(partial(_read_hosts, self.studio.places))
            self._error = None
        except StudioError as error:
            hosts, self._error = self._hosts, error
        self.shell.show_tab("hosts", shown=bool(hosts))
        changed = self._watch is None or hosts != self._hosts
        watch = await self.shell.in_thread(partial(_make_watch, hosts, self._calls(self._show))) if changed else None
        if watch is not None and self.display and not self._left:  # else the screen was left meanwhile
            self._stop()
            self._hosts, self._watch = hosts, watch
            watch.keep(self._known)
            watch.start()
        self._show()

    def _stop(self) -> None:
        """Ask no more; the connections end in the background, and when the program is left they are waited for."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._known |= {state.name: state for state in watch.states}
            watch.close()
            self._stopping = [one for one in (*self._stopping, watch) if not one.ended]

    def _calls(self, show: Callable[[], None]) -> Callable[[], None]:
        """Return what has something done on the event loop, from any thread, once for all that comes meanwhile."""
        loop, context, outstanding = asyncio.get_running_loop(), contextvars.copy_context(), False

        def call() -> None:
            nonlocal outstanding
            outstanding = False
            if self.is_attached and self.display:
                show()

        def changed() -> None:
            nonlocal outstanding
            if not outstanding and not loop.is_closed():
                outstanding = True
                loop.call_soon_threadsafe(call, context=context)

        return changed

    def _show(self) -> None:
        if not self.is_attached:
            return
        states = self._watch.states if self._watch is not None else []
        elsewhere = self.studio.host
        overview = overview_of(self.snapshot) if elsewhere is None and self.snapshot is not None else None
        own = HostLine(HostState(host_name(), overview=overview, here=True), elsewhere is None, elsewhere is None)
        self._lines = [*(HostLine(state, state.name == elsewhere) for state in states), own]
        if self._watch is not None or self._error is not None:  # else the cursor would be on this machine first
            self.table.show_items(self._lines)
            self._begin_at_the_first()
        self._fit_detail()
        for canvas in self.query(".listing-detail").results(Canvas):
            canvas.repaint()
        self.shell.update_frame()

    def on_resize(self) -> None:
        self._fit_detail()

    def _fit_detail(self) -> None:
        """Give the table the room that its rows need; the details begin right below it."""
        self._listing.give_below(max(DETAIL, self.size.height - len(self._lines) - AROUND))

    def _begin_at_the_first(self) -> None:
        """Keep the cursor on the first row until every host was asked once, or the person has moved it."""
        if self._begun or not self.table.shown:
            return
        self._begun = self._put is not None and self.table.key != self._put
        if not self._begun:
            self._put = self.table.shown[0].key
            self.table.choose(self._put)
            self._begun = all(rank(line.state) is not Rank.ASKED for line in self._lines)

    # --- painting ---------------------------------------------------------------------------------------

    def _total(self) -> HostLine | None:
        answering = [line for line in self._lines if line.found is not None]
        if len(answering) < 2 or self.table.filter or self.size_class < Size.BASE:
            return None
        name = f"sum of {len(answering)}"
        return HostLine(HostState(name, overview=sums(line.state for line in answering)), total=True)

    def _paint_above(self, width: int, height: int) -> list[Row]:
        if self.size_class <= Size.STRIP and height < 3:
            return []
        return paint.above(self._lines, self._error, self.ink.glyphs, self.size_class, width)

    def _paint_detail(self, shape: Shape, x: int, width: int, height: int) -> list[Row]:
        return paint.detail(self.table.chosen, self.ink.glyphs, x, width, height, others=bool(self._hosts))

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        for canvas in self.query(".listing-detail").results(Canvas):
            canvas.repaint()
        self.shell.update_frame()

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        line = self.table.chosen
        if name == "new":
            return True
        if line is None:
            return False
        if name == "open":
            return not line.shown or bool(trouble(line.state))
        if name == "why":
            return bool(trouble(line.state))
        return line.state.host is not None

    def labelled(self, action: Action) -> Action:
        line = self.table.chosen
        if action.id == "hosts.open" and line is not None and _no_way(line):
            # Nothing to go to: `w` says why, and of a host without a studio this does.
            return replace(action, label="no studio" if line.state.agentless else "")
        return super().labelled(action)

    def escape(self) -> bool:
        return self._listing.escape()

    def action_open(self) -> None:
        line = self.table.chosen
        if line is None:
            return
        if line.state.agentless:
            self._say_why(line)
            return
        if _no_way(line):
            self.action_why()
            return
        from vllm_studio_tui.tui.screens.hosts.flows import go_to

        self.shell.spawn(go_to(self.shell, line))

    def action_why(self) -> None:
        line = self.table.chosen
        if line is not None and trouble(line.state):
            self._say_why(line)

    def _say_why(self, line: HostLine) -> None:
        from vllm_studio_tui.tui.screens.hosts.flows import why_sheet

        self.shell.push_screen(why_sheet(line))

    def action_retry(self) -> None:
        line = self.table.chosen
        if line is not None and self._watch is not None:
            self._watch.retry(line.state.name)
            self.shell.tell(f"Asking {line.state.name} again.")

    def action_new(self) -> None:
        self._edit("", None)

    def action_edit(self) -> None:
        line = self.table.chosen
        if line is not None and line.state.host is not None:
            self._edit(line.state.name, line.state.host)

    def _edit(self, name: str, host: Host | None) -> None:
        from vllm_studio_tui.tui.screens.hosts.flows import edit_host

        async def work() -> None:
            kept = await edit_host(self.shell, name, host)
            if kept is not None:
                await self._read()
                self.table.choose(kept)

        self.shell.spawn(work())

    def action_delete(self) -> None:
        line = self.table.chosen
        if line is None or line.state.host is None:
            return
        from vllm_studio_tui.tui.screens.hosts.flows import take_off

        async def work(name: str) -> None:
            if await take_off(self.shell, name):
                await self._read()

        self.shell.spawn(work(line.state.name))

    def action_copy(self) -> None:
        line = self.table.chosen
        if line is not None and line.state.host is not None:
            from vllm_studio_tui.remote.host_link import inside_line

            self.shell.copy(inside_line(line.state.host) or f"vllm-studio --connect {line.state.name}")


def _no_way(line: HostLine) -> bool:
    """Return whether there is no studio to go to: none answers, none is there, or it is the one that is shown."""
    return line.state.error is not None or line.shown or line.state.agentless


def _read_hosts(places: Places) -> dict[str, Host]:
    from vllm_studio_tui.config.hosts import read_hosts

    return read_hosts(places)


def _wait(watches: list[HostWatch]) -> None:
    """Wait until these have ended, so that neither ssh nor its folder is left over."""
    until = time.monotonic() + PATIENCE
    for watch in watches:
        watch.close(max(0.1, until - time.monotonic()))


def _make_watch(hosts: dict[str, Host], changed: Callable[[], None]) -> HostWatch:
    from vllm_studio_tui.remote.host_watch import HostWatch  # it needs an HTTP library

    return HostWatch(hosts, changed)
