"""The app: one page with a header, the screen that is in front, and a footer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partialmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.css.query import NoMatches
from textual.screen import ModalScreen
from textual.worker import Worker, WorkerState

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit import gc_freeze
from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.services.watching.snapshot import Snapshot, first_look
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.keys.keymap import Keys
from vllm_studio_tui.tui.look import theming
from vllm_studio_tui.tui.look.looks import Looks
from vllm_studio_tui.tui.look.sizes import Size, size_class
from vllm_studio_tui.tui.paint.ink import Ink, Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.registry import SCREENS, place_class
from vllm_studio_tui.tui.widgets import frame
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import SamplerApi, StudioApi

T = TypeVar("T")
#: Seconds within which a second ctrl+c quits.
TWICE = 1.5


class StudioApp(App[int], inherit_bindings=False):
    """The studio on a terminal.

    Args:
        studio: The core; it is the caller's to close.
        place: The screen to begin with.
        recipe: With the chat: a new one with this recipe.
        label: A word that stands in the header, such as SIMULATED.
    """

    CSS_PATH = "app.tcss"
    TITLE = "vllm studio"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.bindings("app"),
        Binding("tab", "app.focus_next", show=False),
        Binding("shift+tab", "app.focus_previous", show=False),
    ]

    def __init__(
        self,
        studio: StudioApi,
        *,
        place: str = "dashboard",
        recipe: str | None = None,
        compact: bool = False,
        read_only: bool = False,
        ascii_only: bool = False,
        label: str = "",
        theme_name: str | None = None,
    ) -> None:
        self._no_colour = "NO_COLOR" in os.environ
        super().__init__()
        if self._no_colour:
            self._restore_no_color()
        self.studio = studio
        self.place_name = place
        self.read_only = read_only
        self.compact = compact
        self.label = label
        self.snapshot: Snapshot | None = None
        self.last_words: list[str] = []
        self._first_recipe = recipe
        self._places: dict[str, Place] = {}
        self._making = asyncio.Lock()
        self._keys = Keys()
        self._interrupted = 0.0
        self._arriving = False
        self.size_class = Size.BASE
        themes = studio.places.config / "themes"
        self.looks = Looks(themes, theme_name, ascii_only=ascii_only, no_colour=self._no_colour)
        self.looks.register(self)
        self.theme = self.looks.name

    # --- looks ------------------------------------------------------------------------------------------

    def _restore_no_color(self) -> None:
        """Textual takes NO_COLOR out of the environment; engines and editors that we start shall see it."""
        os.environ["NO_COLOR"] = "1"
        self._filters = [theming.Colourless()]

    @property
    def ink(self) -> Ink:
        return self.looks.ink

    def set_theme(self, name: str) -> None:
        """Show another theme."""
        if self.looks.use(name):
            self.theme = name
            self.call_after_refresh(self.repaint_all)

    # --- life -------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Canvas(self._paint_header, lambda: self.ink, id="header")
        yield Container(id="body")
        yield Canvas(self._paint_footer, lambda: self.ink, id="footer")

    async def on_mount(self) -> None:
        self._resized(self.size.width, self.size.height)
        self.snapshot = first_look(self.studio.places)
        await self.show_place(self.place_name)
        self.call_after_refresh(self._after_first_paint)

    def _after_first_paint(self) -> None:
        """What need not be there for the first picture."""
        self._signals()
        self.spawn(self._settle_in(), group="start")
        self._read_keymap()
        for broken in self.looks.broken:
            self.tell(f"The theme {broken.path.name} is not used: {broken.reason}", "warning")
        if self._first_recipe is not None:
            self.spawn(self._chat_with(self._first_recipe))

    async def _settle_in(self) -> None:
        """Begin to sample, and check the settings; both import much and are done away from the screen."""
        with gc_freeze.importing():
            sampler = await self.in_thread(lambda: self.studio.sampler)
            self._follow_sampler()
            sampler.start()
            settings = await self.in_thread(lambda: self.studio.settings)
        if "refresh_seconds" in settings.model_fields_set:
            sampler.set_pace(settings.refresh_seconds)
        for one in settings.notes:
            self.tell(one, "warning")

    def _follow_sampler(self) -> None:
        loop = asyncio.get_running_loop()

        def arrived(snapshot: Snapshot) -> None:
            # Only the latest counts: what comes faster than it can be drawn is dropped.
            if not self._arriving:
                self._arriving = True
                loop.call_soon_threadsafe(self._arrived)

        self._unsubscribe = self.studio.bus.subscribe(Snapshot, arrived)
        if self.sampler.latest is not None:
            self._arrived()

    def _arrived(self) -> None:
        self._arriving = False
        self.snapshot = self.sampler.latest
        if self._exit or not self.is_running:
            return
        self.update_frame()
        place = self._places.get(self.place_name)
        if place is not None and place.display:
            place.update_place()

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            # A chat's partial answer is kept and the terminal put right; engines go on.
            loop.add_signal_handler(number, self._told_to_end, number)

    def _told_to_end(self, number: signal.Signals) -> None:
        self.studio.told_to_end(number.name)
        self.leave()

    def _read_keymap(self) -> None:
        problems = self._keys.read(self.studio.places.config / "keymap.yaml")
        if self._keys.keymap:
            self.set_keymap(self._keys.keymap)
        for problem in problems[:5]:
            self.tell(f"keymap.yaml: {problem}", "warning")

    @property
    def sampler(self) -> SamplerApi:
        return self.studio.sampler

    async def _chat_with(self, recipe: str) -> None:
        from vllm_studio_tui.tui.flows.commands import Commands

        await Commands(self).chat_with(recipe)

    # --- frame ------------------------------------------------------------------------------------------

    def _paint_header(self, width: int, height: int) -> list[Row]:
        size, read_only = self.size_class, self.read_only
        return frame.header(
            self.ink, width, size, self.place_name, self.snapshot, read_only=read_only, label=self.label
        )

    def _paint_footer(self, width: int, height: int) -> list[Row]:
        place = self._places.get(self.place_name)
        custom = getattr(place, "footer_row", None)
        if custom is not None and (row := custom(width)) is not None:
            return [row]
        return frame.footer(
            width,
            self.size_class,
            frame.footer_keys(self.active_actions(), self.ink.glyphs),
            palette=actions.key_text(self.keys_of("app.palette").split(",")[0]),
            help_key=actions.key_text(self.keys_of("app.help").split(",")[0]),
        )

    def keys_of(self, action_id: str) -> str:
        """The keys of an action as they are now."""
        return self._keys.of(action_id)

    def active_actions(self) -> list[tuple[Action, str]]:
        """The actions that can be done here and now, with their keys, what has the focus first."""
        screen = self.screen_stack[0] if self.screen_stack else self.screen
        return self._keys.active(screen.active_bindings.values())

    def update_frame(self) -> None:
        for name in ("#header", "#footer"):
            try:
                self.screen_stack[0].query_one(name, Canvas).repaint()
            except (NoMatches, IndexError):
                return

    def repaint_all(self) -> None:
        for screen in self.screen_stack:
            for canvas in screen.query(Canvas):
                if canvas.display:
                    canvas._redraw()  # the theme or the size class has changed
        place = self._places.get(self.place_name)
        if place is not None:
            place.update_place()

    def on_resize(self, event: events.Resize) -> None:
        self._resized(event.size.width, event.size.height)
        self.call_after_refresh(self.repaint_all)

    def _resized(self, width: int, height: int) -> None:
        self.size_class = size_class(width, height, compact=self.compact)
        self.looks.fit(self.size_class)
        page = self.screen_stack[0] if self.screen_stack else self.screen
        wanted = f"-{self.size_class.name.lower()}"
        if page.has_class(wanted):
            return
        # Every change of a class styles the whole page anew: one change is enough.
        page.remove_class(*(f"-{size.name.lower()}" for size in Size), "-tiny", update=False)
        page.add_class(wanted, *(["-tiny"] if self.size_class <= Size.STRIP else []))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.call_after_refresh(self.update_frame)

    # --- screens ----------------------------------------------------------------------------------------

    @property
    def current(self) -> Place:
        return self._places[self.place_name]

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
        self.place_name = name
        place.display = True
        place.shown()
        self.update_frame()
        return place

    def go(self, name: str) -> None:
        if len(self.screen_stack) > 1:
            return
        self.spawn(self.show_place(name))

    # --- actions everywhere -----------------------------------------------------------------------------

    def action_palette(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.flows.palette import palette

            self.spawn(palette(self, self.current))

    def action_help(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.sheets.help import help_pages

            self.push_screen(help_pages(self))

    def action_theme(self) -> None:
        from vllm_studio_tui.tui.flows.palette import choose_theme

        self.spawn(choose_theme(self))

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
        elif not self.current.escape():
            self.tell("ctrl+c again leaves. Engines go on.")

    def action_quit_studio(self) -> None:
        self.leave()

    def leave(self) -> None:
        """Leave: what is being said is kept, engines go on."""
        if self.snapshot is not None:
            live = sum(run.live for run in self.snapshot.runs)
            if live:
                self.last_words.append(f"{live} {'engine goes' if live == 1 else 'engines go'} on. vllm-studio status")
        self.spawn(self._leave())

    async def _leave(self) -> None:
        for place in self._places.values():
            ending = getattr(place, "leaving", None)
            if ending is not None:
                await ending()
        await self.in_thread(self.studio.close_chat)
        self.last_words += [f"An answer is not saved yet. It lies in {path}; the next start takes it in."
                            for path in self.studio.unsaved]  # fmt: skip
        self.exit(0)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        if self._places:
            from vllm_studio_tui.tui.flows.palette import click

            click(self, event.action, self.current)

    # --- for screens ------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any] | Awaitable[Any], *, group: str = "commands") -> Worker[Any]:
        """Do something that takes time; an error is said, and ends nothing else."""

        async def guarded() -> Any:
            try:
                return await work
            except StudioError as error:
                self.tell_error(error)
                return None

        return self.run_worker(guarded(), group=group, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            import logging

            logging.getLogger(__name__).error("a command failed", exc_info=event.worker.error)
            self.tell(f"This failed inside the studio: {event.worker.error!r}"[:400], "error")

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work away from the screen."""
        return await asyncio.to_thread(work)

    async def ask(self, sheet: Any) -> Any:
        """Show a sheet and wait for what it gives; from within `spawn`."""
        return await self.push_screen_wait(sheet)

    def tell(self, text: str, severity: str = "information") -> None:
        """A message at the bottom right; errors stay until escape."""
        kind: Any = severity
        self.notify(clean(text, limit=600), severity=kind, timeout=3600 if severity == "error" else 4, markup=False)

    def tell_error(self, error: StudioError) -> None:
        self.tell("\n".join(part for part in (error.title, error.cause, error.advice) if part), "error")

    def copy(self, text: str) -> None:
        """Copy through the terminal, and to a file, because not every terminal takes it."""
        from vllm_studio_tui.tui.terminal.clipboard import copy

        self.tell(copy(self, text, self.studio.places))

    def clear_notifications(self) -> None:
        self._notifications.clear()
        self._refresh_notifications()


for _screen in SCREENS:
    setattr(StudioApp, f"action_{_screen.name}", partialmethod(StudioApp.go, _screen.name))
