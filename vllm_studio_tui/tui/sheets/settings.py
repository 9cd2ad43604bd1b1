"""The settings inside the screens: each with its value, where that comes from, and what it is for; to be edited."""

from __future__ import annotations

import os
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input

from vllm_studio_tui.config.setting_values import SettingValue, read_setting, setting_values, setting_variables
from vllm_studio_tui.config.settings import COMMAND_LINE
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.tui.paint.dialog_rows import keys_row
from vllm_studio_tui.tui.paint.ink import Row, cut_lines, wrap
from vllm_studio_tui.tui.sheets.dialogs import Sheet
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.shell import Shell

#: From these widths on a row has a column for what a setting is for, and one for where its value comes from.
WITH_WORDS, ALL_COLUMNS = 70, 100


class SettingsSheet(Sheet):
    """Lists the settings; enter edits the one under the cursor, enter in the field saves it to config.yaml.

    `/` leaves those that have the words in their name, their value or what they are for.
    """

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = ["dialogs.tcss", "inside.tcss"]
    AUTO_FOCUS = "#settings"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,e", "edit", show=False),
        Binding("d,delete", "default", show=False),
        Binding("y", "copy", show=False),
        Binding("slash,ctrl+f", "filter", show=False),
        Binding("q,f8", "close", show=False),
    ]

    def __init__(self, at: str = "") -> None:
        super().__init__()
        self._at = at
        self._values: list[SettingValue] = []
        self._error: SettingsError | None = None
        self._wrong = ""
        self._editing: SettingValue | None = None

    @property
    def _shell(self) -> Shell:
        return cast("Shell", self.app)

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="settings"):
            yield Input(id="settings-words", placeholder="words of a setting", select_on_focus=False)
            yield ListCanvas(self._paint, self.ink, header=2, plane="panel", id="settings")
            yield Canvas(self._help, self.ink, plane="panel", id="settings-help")
            yield Input(id="settings-value", select_on_focus=False)
            yield Canvas(self._keys, self.ink, plane="panel", id="settings-keys")

    def on_mount(self) -> None:
        self.query_one("#settings").focus()
        if self._at:
            self.query_one("#settings", ListCanvas).choose(self._at)
        self.run_worker(self._read(), group="recipes", exit_on_error=False)

    async def _read(self) -> None:
        shell = self._shell

        def read() -> list[SettingValue]:
            now = shell.studio.settings
            given = {key: getattr(now, key) for key, origin in now.origins.items() if origin == COMMAND_LINE}
            return setting_values(shell.studio.places, os.environ, given)

        try:
            self._values = await shell.in_thread(read)
            self._error = None
        except SettingsError as error:
            self._values, self._error = [], error
        self._repaint()

    def _repaint(self) -> None:
        for canvas in self.query(Canvas):
            canvas.repaint()

    @property
    def _found(self) -> list[SettingValue]:
        """The settings that have all words of the filter."""
        words = self.query_one("#settings-words", Input).value.lower().replace("_", " ").split()
        texts = (
            (one, f"{one.key} {one.text} {one.help} {one.origin}".lower().replace("_", " ")) for one in self._values
        )
        return [one for one, text in texts if all(word in text for word in words)]

    @property
    def _current(self) -> SettingValue | None:
        key = self.query_one("#settings", ListCanvas).key
        return next((one for one in self._found if one.key == key), None)

    def fit(self) -> None:
        """In the smallest windows the setting under the cursor and the keys come first, then the help and the title."""
        height = self.app.size.height
        self._listing.header = 2 if not self.tiny else 1 if height >= 5 else 0
        self.query_one("#settings-help").styles.height = 4 if not self.tiny else 1 if height >= 4 else 0
        self._repaint()
        self._listing.show_cursor()

    # --- painting ---------------------------------------------------------------------------------------

    @property
    def _listing(self) -> ListCanvas:
        return self.query_one("#settings", ListCanvas)

    @property
    def _edge(self) -> int:
        return 1 if self.tiny else 3

    def _paint(self, width: int, height: int) -> list[Row]:
        title, edge = Row(), self._edge
        x = title.put(edge, "Settings", "fg bold") + 3
        found = self._found
        if len(found) < len(self._values):
            x = title.put(x, f"{len(found)} of {len(self._values)}", "fg") + 3
        title.put(x, str(self._shell.studio.places.settings_file), "dim", max(0, width - x - 2))
        rows = [title, Row()][: self._listing.header]
        if self._error is not None:
            for text in (self._error.title, self._error.cause, self._error.advice):
                for line in wrap(text, width - 8) if text else []:
                    row = Row()
                    row.put(5, line, "fg")
                    rows.append(row)
            return rows
        # Where there is no room for a column, the lines below the list say it of the setting under the cursor.
        value = 22 if self.tiny else 28
        origin = value + 20 if width >= ALL_COLUMNS else 0
        words = origin + 21 if origin else value + 18 if width >= WITH_WORDS else 0
        for one in found:
            row = Row(key=one.key)
            row.put(edge, one.key, "fg", value - edge - 1)
            text = one.text or one.default or "none"
            row.put(value, text, "fg" if one.text else "faint", (origin or words or width) - value - 1)
            if origin:
                row.put(origin, one.origin or "default", "dim" if one.origin else "faint", words - origin - 1)
            if words:
                row.put(words, one.help, "dim", width - words - 1)
            rows.append(row)
        if not found and self._values:
            row = Row()
            row.put(edge, "No setting has these words.", "dim", width - edge)
            rows.append(row)
        return rows

    def _help(self, width: int, height: int) -> list[Row]:
        one = self._editing or self._current
        if one is None:
            return []
        rows = [] if self.tiny else [Row()]
        if self._wrong:
            row = Row()
            row.run(self._edge, [(f"{self.ink().glyphs.failed} ", "err"), (self._wrong, "fg")])
            return [*rows, row]
        when = "Takes effect at once." if one.at_once else "Takes effect when the studio is started again."
        text = f"{one.help} Default: {one.default or 'none'}. {when}"
        lines = [(line, "dim") for line in cut_lines(text, width - 2 * self._edge, 1 if self.tiny else 2)]
        note = f"Now by {one.origin}." if one.origin else "Now the default."
        note = (
            f"{one.fixed[:1].upper()}{one.fixed[1:]}."
            if one.fixed
            else f"{note} Set here, or by the variable {setting_variables(one.key)}."
        )
        lines.append((note, "warn" if one.fixed else "faint"))
        for line, style in lines:
            row = Row()
            row.put(self._edge, line, style, width - self._edge - 2)
            rows.append(row)
        return rows[: max(1, height)]

    def _keys(self, width: int, height: int) -> list[Row]:
        default = "default" if self.tiny else "back to the default"
        leave = "show all" if self.query_one("#settings-words", Input).value else "close"
        keys = [("enter", "edit"), ("/", "filter"), ("d", default), ("y", "copy"), ("esc", leave)]
        if self._shell.read_only:
            keys = [("y", "copy"), ("/", "filter"), ("esc", leave)]
        if self.focused is not None and self.focused.id == "settings-words":
            keys = [("enter", "to the list"), ("esc", "show all")]
        if self._editing is not None:
            keys = [("enter", "save"), ("esc", "leave it")]
        return [keys_row(width, *keys, edge=self._edge)]

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()
        self._repaint()

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        if event.action == "open":
            self.action_edit()

    # --- editing ----------------------------------------------------------------------------------------

    def action_edit(self) -> None:
        one = self._current
        if one is None or self._shell.read_only:
            return
        self._editing, self._wrong = one, ""
        field = self.query_one("#settings-value", Input)
        field.value, field.placeholder = one.text, f"default {one.default or 'none'}"
        field.display = True
        field.focus()
        self._repaint()

    def action_default(self) -> None:
        one = self._current
        if one is not None and one.origin and not self._shell.read_only:
            self._save(one, None)

    def action_copy(self) -> None:
        if (one := self._current) is not None:
            self._shell.copy(one.text or one.default)

    def action_filter(self) -> None:
        field = self.query_one("#settings-words", Input)
        field.display = True
        field.focus()
        self.call_after_refresh(self._repaint)

    @on(Input.Changed, "#settings-words")
    def _narrowed(self, event: Input.Changed) -> None:
        event.stop()
        found = self._found
        if found and self._listing.key not in [one.key for one in found]:
            self._listing.choose(found[0].key)
        self._repaint()

    @on(Input.Submitted, "#settings-words")
    def _to_list(self, event: Input.Submitted) -> None:
        event.stop()
        event.input.display = bool(event.value)
        self._listing.focus()
        self._repaint()

    def _show_all(self) -> None:
        field = self.query_one("#settings-words", Input)
        field.value, field.display = "", False
        self._listing.focus()
        self._repaint()

    def action_close(self) -> None:
        if self._editing is not None:
            self._stop_editing()
        elif self.query_one("#settings-words").display:
            self._show_all()
        else:
            super().action_close()

    def _stop_editing(self) -> None:
        self._editing, self._wrong = None, ""
        self.query_one("#settings-value").display = False
        self.query_one("#settings").focus()
        self._repaint()

    @on(Input.Changed, "#settings-value")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._editing is None:
            return
        try:
            read_setting(self._editing.key, event.value)
            self._wrong = ""
        except ValueError as error:
            self._wrong = str(error)
        self._repaint()

    @on(Input.Submitted, "#settings-value")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._editing is not None and not self._wrong:
            self._save(self._editing, read_setting(self._editing.key, event.value))

    def on_key(self, event: events.Key) -> None:
        words = self.query_one("#settings-words", Input)
        if self._editing is not None and event.key == "escape":
            event.stop()
            self._stop_editing()
        elif words.has_focus and event.key in ("up", "down"):
            event.stop()
            self._listing.move(-1 if event.key == "up" else 1)
            self._repaint()

    def _save(self, one: SettingValue, value: object) -> None:
        self.run_worker(self._write(one, value), group="recipes", exit_on_error=False)

    async def _write(self, one: SettingValue, value: object) -> None:
        from vllm_studio_tui.config.settings import save_setting

        shell = self._shell
        try:
            await shell.in_thread(partial(save_setting, shell.studio.places, one.key, value))
        except SettingsError as error:
            shell.tell_error(error)
            return
        self._stop_editing()
        await self._read()
        if one.key == "theme" and isinstance(value, str):
            shell.set_theme(value)
        elif one.key == "refresh_seconds":
            shell.studio.sampler.set_pace(float(str(value if value is not None else one.default)))
        elif one.key == "hosts":
            shell.show_tab("hosts", shown=bool(value))
            shell.recipes_changed()  # the screen in front reads again, where it shows them
        elif not one.at_once:
            shell.tell(f"{one.key} is saved; it takes effect when the studio is started again.")
