"""The app: one page with a header, the screen that is in front, and a footer."""

from __future__ import annotations

import asyncio
import time
from functools import partialmethod
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.screen import ModalScreen, Screen

from vllm_studio_tui.kit import gc_freeze
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.services.watching.snapshot_feed import follow
from vllm_studio_tui.tui.flows.benches import Benches
from vllm_studio_tui.tui.flows.downloads import Downloads
from vllm_studio_tui.tui.flows.everywhere import EverywhereApp
from vllm_studio_tui.tui.flows.pulls import Pulls
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.keys.keymap import Keys
from vllm_studio_tui.tui.leaving import going_on, leave_on_signals, put_away
from vllm_studio_tui.tui.look.sizes import NARROW, Size, mark_size, size_class
from vllm_studio_tui.tui.place import Ground, Page, Place, Underneath
from vllm_studio_tui.tui.screens.registry import SCREENS, place_class, style_sheets
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.download_line import DownloadLine
from vllm_studio_tui.tui.widgets.frame import Footer, Header
from vllm_studio_tui.tui.widgets.whole_lines import WholeLines

if TYPE_CHECKING:
    from vllm_studio_tui.domain.run import State
    from vllm_studio_tui.services.protocols import StudioApi

#: Seconds within which a second ctrl+c quits.
TWICE = 1.5

#: Samples after which the footer is drawn anew, whatever they say.
FOOTER_TICKS = 5


class StudioApp(EverywhereApp, inherit_bindings=False):
    """The studio on a terminal.

    Args:
        studio: The core; it is the caller's to close.
        place: The screen to begin with.
        recipe: With the chat: a new one with this recipe.
        label: A word that stands in the header, such as SIMULATED.
        hosts: There are hosts in the settings.
        can_become: This program can be opened again on another host.
        said: What went wrong on the way here.
        terminal: See `TerminalApp`.
    """

    CSS_PATH: ClassVar[list[str | PurePath]] = ["app.tcss", *style_sheets()]
    TITLE = "vllm studio"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.bindings("app"),
    ]

    def __init__(
        self,
        studio: StudioApi,
        *,
        place: str = "dashboard",
        recipe: str | None = None,
        compact: bool = False,
        read_only: bool = False,
        label: str = "",
        hosts: bool = False,
        can_become: bool = False,
        said: str = "",
        **terminal: Any,
    ) -> None:
        super().__init__(studio, **terminal)
        self.place_name = place
        self._under: Underneath | None = None
        self.read_only = read_only
        self.compact = compact
        self.label = label
        self.snapshot: Snapshot | None = None
        self.last_words: list[str] = []
        self.without_tab: frozenset[str] = frozenset({"bench"} if hosts else {"bench", "hosts"})
        self.can_become = can_become
        #: The host that this program is to be opened on again, empty for this machine; None: it ends.
        self.next_host: str | None = None
        self._first_recipe, self._said = recipe, said
        self._frame: tuple[Canvas, ...] = ()
        #: The states of the runs for which the footer was drawn, and the samples since.
        self._told_states: tuple[tuple[str, State], ...] = ()
        self._ticks = 0
        self._places: dict[str, Place] = {}
        self._making = asyncio.Lock()
        self._keys = Keys()
        self._interrupted = 0.0
        self.size_class = Size.BASE
        self._download_line = DownloadLine(self)
        self.downloads = Downloads(self._download_line.follow)
        self.pulls = Pulls(self, self._pulls_changed)
        self.benches = Benches(self, self._benches_changed)

    # --- life -------------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        return Ground(id="_default")

    def compose(self) -> ComposeResult:
        self._frame = (Header(self), Footer(self))
        yield self._frame[0]
        yield Container(id="body")
        yield self._download_line
        yield self._frame[1]

    async def on_mount(self) -> None:
        leave_on_signals(self.studio, self.leave)  # before there is a picture that somebody could close
        self.leave_no_pictures()
        self._resized(self.size.width, self.size.height)
        self.snapshot = self.studio.first_look()
        await self.show_place(self.place_name)
        self.call_after_refresh(self._after_first_paint)

    def _after_first_paint(self) -> None:
        """What need not be there for the first picture."""
        self.painted = True
        self.spawn(self._settle_in(), group="start")
        self._read_keymap()
        for broken in self.looks.broken:
            self.tell(f"The theme {broken.path.name} is not used: {broken.reason}", "warning")
        if self._said:
            self.tell(self._said, "error")
        if self._first_recipe is not None:
            self.spawn(self._chat_with(self._first_recipe))

    async def _settle_in(self) -> None:
        """Begin to sample, and check the settings; both import much and are done away from the screen."""
        with gc_freeze.importing():
            sampler = await self.in_thread(lambda: self.studio.sampler)
            follow(self.studio.bus, self._arrived)
            if sampler.latest is not None:
                self._arrived()
            sampler.start()
            settings = await self.in_thread(lambda: self.studio.settings)
        self.notices.begin(settings)
        if "refresh_seconds" in settings.model_fields_set:
            sampler.set_pace(settings.refresh_seconds)

    def _arrived(self) -> None:
        self.snapshot = self.studio.sampler.latest
        if self._exit or not self.is_running:
            return
        if self.snapshot is not None:
            if self.snapshot.replay is None:  # what happened once rings no bell now
                self.notices.arrived(self.snapshot, self.ink.glyphs)
            self.drop_past(self.snapshot)
        self.pulls.tick()
        self.benches.tick()
        states = tuple((run.run_id, run.state) for run in self.snapshot.runs) if self.snapshot is not None else ()
        self._ticks += 1
        if states == self._told_states and self._ticks % FOOTER_TICKS:
            self._frame[0].repaint()  # which keys work does not change with the figures
        else:
            self._told_states = states
            self.update_frame()
        place = self._places.get(self.place_name)
        if place is not None and place.display:
            place.update_place()

    def _pulls_changed(self, whole: bool) -> None:
        """Show what comes from the hub; where a model became whole, the screen in front reads again."""
        if self._exit or not self.is_running:
            return
        self._download_line.follow()
        self.update_frame()
        place = self._places.get(self.place_name)
        if place is not None and place.display:
            (place.read_again if whole else place.update_place)()

    def _benches_changed(self, whole: bool) -> None:
        """Show where the benchmark is; where a step became whole, its screen reads again."""
        if self._exit or not self.is_running:
            return
        if whole:
            self.show_tab("bench", shown=bool(self.benches.any))
        self.update_frame()
        place = self._places.get(self.place_name)
        if place is not None and place.display and self.place_name in ("bench", "measure"):
            (place.read_again if whole else place.update_place)()

    @property
    def unheard(self) -> bool:
        return self.snapshot is not None and self.snapshot.stale is not None

    def _read_keymap(self) -> None:
        problems = self._keys.read(self.studio.places.config / "keymap.yaml")
        if self._keys.keymap:
            self.set_keymap(self._keys.keymap)
        for problem in problems[:5]:
            self.tell(f"keymap.yaml: {problem}", "warning")

    async def _chat_with(self, recipe: str) -> None:
        from vllm_studio_tui.tui.flows.commands import Commands

        await Commands(self).chat_with(recipe)

    # --- frame ------------------------------------------------------------------------------------------

    def keys_of(self, action_id: str) -> str:
        """The keys of an action as they are now."""
        return self._keys.of(action_id)

    def active_actions(self) -> list[tuple[Action, str]]:
        """The actions that can be done here and now, with the keys that reach them, what has the focus first."""
        if len(self.screen_stack) != 1:
            return []  # a sheet is in front
        found = self._keys.active(self.screen.active_bindings, self.focused)
        place = self._places.get(self.place_name)
        return [(place.labelled(action), keys) for action, keys in found] if place is not None else found

    def update_frame(self) -> None:
        for bar in self._frame:
            bar.repaint()

    def repaint_all(self) -> None:
        for screen in self.screen_stack:
            for widget in screen.query(WholeLines):
                if widget.display:
                    widget.recolour()
        place = self._places.get(self.place_name)
        if place is not None:
            place.update_place()

    def on_resize(self, event: events.Resize) -> None:
        self._resized(event.size.width, event.size.height)
        self.call_after_refresh(self.repaint_all)

    def _resized(self, width: int, height: int) -> None:
        if self._exit or not self.screen_stack:
            return  # it is on its way out
        self.size_class = size_class(width, height, compact=self.compact)
        self.looks.fit(self.size_class)
        page = self.screen_stack[0]
        page.set_class(self.compact and width > NARROW, "-narrow")
        mark_size(page, self.size_class)
        self.call_after_refresh(self.lift_told)  # the foot of a screen depends on its size

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if any(isinstance(one, Place) and not one.display for one in event.widget.ancestors):
            self.current.focus_first()  # what was read meanwhile for a screen that was left takes no keys
        self.call_after_refresh(self.update_frame)

    def show_tab(self, name: str, *, shown: bool) -> None:
        """Have the header name a screen always, or only while it is in front."""
        self.without_tab = self.without_tab - {name} if shown else self.without_tab | {name}
        self.update_frame()

    # --- screens ----------------------------------------------------------------------------------------

    async def place(self, name: str) -> Place:
        """A screen, made when it is first needed."""
        async with self._making:  # who asks for it meanwhile waits until it is there
            if name not in self._places:
                made: Place = place_class(name)(id=name)
                made.display = False
                self._places[name] = made
                await self.screen_stack[0].query_one("#body").mount(made)
            return self._places[name]

    async def show_place(self, name: str) -> Place:
        """Bring a screen to the front."""
        before = self._places.get(self.place_name)
        place = await self.place(name)
        if before is not None and before is not place:
            before.display = False
            before.hidden()
            self.drop_told()
        self.place_name, self._under = name, None
        place.display = True
        place.shown()
        self._download_line.follow()
        self.lift_told()
        self.update_frame()
        return place

    @property
    def tab_name(self) -> str:
        return self._under.place_name if self._under is not None else self.place_name

    def open_run(self, run_id: str) -> None:
        self.spawn(self._open_page("run", run_id))

    def open_page(self, name: str, item: str) -> None:
        self.spawn(self._open_page(name, item))

    async def _open_page(self, name: str, item: str) -> None:
        """Show an item on a page over the screen in front; on a page that is open already only the item changes."""
        under = self._under or Underneath(self.place_name, self.focused)
        page = cast(Page, await self.place(name))
        page.open_item(item)
        await self.show_place(name)
        self._under = under
        self.update_frame()

    def close_page(self) -> None:
        self.spawn(self._close_page())

    async def _close_page(self) -> None:
        under = self._under
        if under is None:
            return
        await self.show_place(under.place_name)
        if under.focused is not None and under.focused.is_attached:
            under.focused.focus()

    def go(self, name: str) -> None:
        if len(self.screen_stack) > 1:
            return
        self.spawn(self.show_place(name))

    # --- actions everywhere -----------------------------------------------------------------------------

    async def action_back(self) -> None:
        if not self.current.escape():
            self.clear_notifications()

    def action_interrupt(self) -> None:
        """Copy what is selected; else cancel what goes on; twice within a moment: quit."""
        focused = self.focused
        selected = getattr(focused, "selected_text", "") or self.screen.get_selected_text()
        if selected:
            self.copy(selected)
            self.screen.clear_selection()
            return
        now = time.monotonic()
        if now - self._interrupted < TWICE:
            self.leave()
            return
        self._interrupted = now
        if isinstance(self.screen, ModalScreen):
            self.screen.dismiss(None)
        elif not self.current.escape() and not self.downloads.cancel():
            self.tell("ctrl+c again leaves. Engines go on.")

    def leave(self) -> None:
        """Leave: what is being answered is kept, engines go on."""
        self.last_words += going_on(self.snapshot) if self.next_host is None else []
        self.spawn(self._leave())

    def action_quit_studio(self) -> None:
        """Leave; where a benchmark of this program would end by it, ask first."""
        if self.benches.ours is None or len(self.screen_stack) > 1:
            self.leave()
            return
        from vllm_studio_tui.tui.flows.benching import ask_leaving

        self.spawn(ask_leaving(self, self.leave))

    def become(self, host: str) -> None:
        """Leave, and be opened again on a host of the settings; with an empty name on this machine."""
        self.next_host = host
        self.leave()

    async def _leave(self) -> None:
        self.downloads.cancel()
        self.last_words += await put_away(self.studio, self._places.values(), self.report_fault)
        self.exit(0)

    async def _shutdown(self) -> None:
        if self.faults.ended_by is not None:  # the terminal is given back already; the screens are still there
            self.last_words += await put_away(self.studio, self._places.values(), self.report_fault)
        await super()._shutdown()

    def fault_facts(self) -> dict[str, object]:
        return {"screen": self.place_name, **super().fault_facts()}


for _screen in SCREENS:
    setattr(StudioApp, f"action_{_screen.name}", partialmethod(StudioApp.go, _screen.name))
