"""What keys do on every screen, but for moving among screens and leaving."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.terminal.base import TerminalApp
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.flows.downloads import Downloads
    from vllm_studio_tui.tui.place import Place
    from vllm_studio_tui.tui.shell import Shell


class EverywhereApp(TerminalApp, inherit_bindings=False):
    """The actions of the scope `app`. What they need is imported when they are first done."""

    downloads: Downloads
    place_name: str
    read_only: bool
    _places: dict[str, Place]

    @property
    def _shell(self) -> Shell:
        return cast("Shell", self)

    @property
    def current(self) -> Place:
        return self._places[self.place_name]

    @property
    def foot_rows(self) -> int:
        place = self._places.get(self.place_name)
        return place.foot if place is not None and place.display else 0

    def action_palette(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.flows.palette import palette

            palette(self._shell, self.current)

    def action_help(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.sheets.help import help_pages

            self.push_screen(help_pages(self._shell))

    def action_reload(self) -> None:
        self.studio.sampler.wake()
        self.current.read_again()
        self.tell("Read again.")

    def action_mouse(self) -> None:
        from vllm_studio_tui.tui.terminal.mouse import switch

        self.tell(switch(self))

    def action_next_part(self) -> None:
        self.current.next_part(1)

    def action_previous_part(self) -> None:
        self.current.next_part(-1)

    def on_key(self, event: events.Key) -> None:
        """Say what a key is for, where nothing takes it here."""
        if len(self.screen_stack) == 1 and event.key not in self.screen.active_bindings:
            from vllm_studio_tui.tui.keys.unused import actions_of, why_nothing

            if not self.read_only and any(
                self.current.why_not(one.name) for one in actions_of(event.key, self.place_name)
            ):
                return
            if words := why_nothing(event.key, self.place_name, read_only=self.read_only):
                self.tell(words)

    def recipes_changed(self) -> None:
        self.current.read_again()

    def action_undo(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.flows.changes import undo

            self.spawn(undo(self._shell))

    def action_theme(self) -> None:
        from vllm_studio_tui.tui.flows.palette import choose_theme

        self.spawn(choose_theme(self._shell))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"app.{action.replace('_', '-')}")
        if action == "cancel_download":
            return bool(self.downloads.active)
        return not (known is not None and known.writes and self.read_only)

    def action_new(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.flows.starting import what_to_run

            self.spawn(what_to_run(self._shell))

    def action_doctor(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.sheets.doctor import DoctorSheet

            self.push_screen(DoctorSheet())

    def action_settings(self) -> None:
        if len(self.screen_stack) == 1:
            from vllm_studio_tui.tui.sheets.settings import SettingsSheet

            self.push_screen(SettingsSheet())

    def action_cancel_download(self) -> None:
        self.downloads.cancel()

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        if self._places:
            from vllm_studio_tui.tui.flows.palette import click

            click(self._shell, event.action, self.current)
