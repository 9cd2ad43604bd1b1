"""What an app has to do with its terminal: the profile, colours and glyphs, what is typed, the clipboard."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from textual import events
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from vllm_studio_tui.config.startup import Startup
from vllm_studio_tui.tui.background import BackgroundApp
from vllm_studio_tui.tui.look.appearance import Looks
from vllm_studio_tui.tui.look.theming import use_colours
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.paint.ink import Ink
from vllm_studio_tui.tui.terminal.faults import Faults
from vllm_studio_tui.tui.terminal.graphics import TerminalPictures
from vllm_studio_tui.tui.terminal.notices import Notices
from vllm_studio_tui.tui.terminal.profile import Profile, make_profile
from vllm_studio_tui.tui.terminal.typed_keys import KeyHandled, TypedKeys

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.tui.document.drawing import Drawing


class TerminalApp(BackgroundApp, inherit_bindings=False):
    """An app on a terminal.

    Attributes:
        profile: What the terminal can do.
        looks: The themes, and the colours and glyphs in use.
        notices: What tells a person who looks elsewhere.
        pictures: What the terminal itself draws.
    """

    #: Documents select text themselves. Textual's own selection fails on a click on a widget that is being removed.
    ALLOW_SELECT = False

    def __init__(
        self,
        studio: StudioApi,
        *,
        theme_name: str | None = None,
        ascii_only: bool = False,
        profile: Profile | None = None,
        faults: Faults | None = None,
    ) -> None:
        # Textual takes NO_COLOR out of the environment.
        self.profile = profile or make_profile({"COLORTERM": "truecolor", **os.environ}, Startup(ascii=ascii_only))
        super().__init__()
        use_colours(self.console, self.profile.colours)
        self.studio = studio
        self.faults = faults or Faults(studio.places, os.environ)
        self.looks = Looks(studio.places.config / "themes", theme_name, self.profile)
        self.looks.register(self)
        self.theme = self.looks.name
        self.notices = Notices(self.write_terminal, self.profile.terminal)
        self.pictures = TerminalPictures(self.write_terminal, self.profile, os.environ)
        self._fresh = 0.0
        self._typed = TypedKeys(self, self._take_typed)

    @property
    def ink(self) -> Ink:
        return self.looks.ink

    @property
    def drawing(self) -> Drawing | None:
        ink = self.ink
        drawn = not ink.plain and ink.glyphs is UNICODE and self.profile.pictures != "off"
        return self.pictures if drawn else None

    def set_theme(self, name: str) -> None:
        """Show another theme."""
        if self.looks.use(name):
            self.theme = name
            self.call_after_refresh(self.repaint_all)

    def repaint_all(self) -> None:
        """Draw everything anew."""

    def drop_typed_ahead(self) -> None:
        """Drop the keys and clicks that came before now and are not handled yet."""
        self._fresh = time.monotonic()

    def leave_no_pictures(self) -> None:
        """Take the pictures from the terminal whenever it is left: at the end, after a fault, for an editor, by ^z."""
        driver = self._driver
        if driver is None:
            return
        theirs = driver.stop_application_mode

        def stop() -> None:
            self.pictures.end()
            theirs()

        driver.stop_application_mode = stop  # type: ignore[method-assign]
        self.app_resume_signal.subscribe(self, lambda _: self.pictures.go_on())

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            await self._typed.take(event)
        else:
            await self._take_typed(event)

    async def _take_typed(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent | events.Paste):
            leaving = not self._screen_stacks.get(self._current_mode)  # Textual fails on a key that comes then
            if event.time < self._fresh or leaving:
                return
            if isinstance(
                event, events.Key | events.MouseDown | events.MouseScrollDown | events.MouseScrollUp | events.Paste
            ):
                self.drop_read()
        await super().on_event(event)

    async def on_typed_key_handled(self, message: KeyHandled) -> None:
        await self._typed.handled(message)

    async def _dispatch_action(self, namespace: DOMNode, action_name: str, params: Any) -> bool:
        """Do nothing for a widget that is removed since its key was pressed: it keeps the focus a moment longer."""
        if isinstance(namespace, Widget) and not isinstance(namespace, Screen) and not namespace.is_attached:
            return False
        return await super()._dispatch_action(namespace, action_name, params)

    def write_terminal(self, sequence: str) -> bool:
        """Write a control sequence, and return whether there is a terminal."""
        if self._driver is not None and sequence:
            self._driver.write(sequence)
        return self._driver is not None

    def on_app_focus(self) -> None:
        self.notices.in_front = True

    def on_app_blur(self) -> None:
        self.notices.in_front = False

    async def _shutdown(self) -> None:
        self.notices.end()
        await super()._shutdown()

    def copy(self, text: str) -> None:
        """Copy through the terminal, and to a file, because not every terminal takes it."""
        from vllm_studio_tui.tui.terminal.clipboard import copy

        copy(self, text)
