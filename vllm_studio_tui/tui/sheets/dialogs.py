"""Dialogs: questions, text prompts and pages of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, TextArea

from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.shell import Shell


class Sheet(ModalScreen[str | None]):
    """A dialog over the dimmed screen. It returns a string, or None when it is closed with Escape."""

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = "dialogs.tcss"
    _answered = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "close", show=False)]

    def on_mount(self) -> None:
        self._shell.update_frame()  # the keys of the page do not work now

    def on_unmount(self) -> None:
        self._shell.update_frame()

    @property
    def _shell(self) -> Shell:
        return cast("Shell", self.app)

    def ink(self) -> Ink:
        """Return the colours and glyphs in use."""
        return self.app.ink  # type: ignore[attr-defined,no-any-return]

    def action_close(self) -> None:
        self.dismiss(None)

    def dismiss(self, result: str | None = None) -> Any:
        """Close the dialog with its answer. The first one counts: keys that were typed with it are dropped."""
        if self._answered:
            return None
        self._answered = True
        app: Any = self.app
        app.drop_typed_ahead()
        return super().dismiss(result)

    def action_take(self) -> None:
        """Take what was typed, once all that was typed before is there: Textual runs a binding ahead of other keys."""
        (self.focused or self).call_later(self.take)

    def take(self) -> None:
        """Close with what was typed or chosen."""


#: For dialogs with a field: their `take` sees what was typed before Enter, and nothing that was typed after it.
TAKE = Binding("enter", "take", show=False, priority=True)


@dataclass(frozen=True, slots=True)
class Option:
    """An answer to a question: its key, and what that does."""

    key: str
    label: str


class Question(Sheet):
    """Asks before an action, naming what would be lost. Escape changes nothing, and Enter is not an answer."""

    def __init__(self, title: str, text: str, options: Sequence[Option], keep: str = "leave it") -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._options = tuple(options)
        self._keep = keep

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="question"):
            yield Canvas(self._paint, self.ink, plane="panel", id="question")

    def on_mount(self) -> None:
        width = min(72, self.app.size.width - 4)
        rows = self._paint(max(1, width), 0)
        self.query_one("#question").styles.height = min(len(rows), max(1, self.app.size.height - 4))

    def _paint(self, width: int, height: int) -> list[Row]:
        rows = []
        for index, line in enumerate(wrap(self._title, width - 4)):
            row = Row()
            row.put(2, line, "fg bold")
            rows.append(row)
            if index > 3:
                break
        for line in [line for part in self._text.split("\n") for line in wrap(part, width - 4)][:12]:
            row = Row()
            row.put(2, line, "dim")
            rows.append(row)
        rows.append(Row())
        for option in (*self._options, Option("esc", self._keep)):
            row = Row()
            row.run(2, [(f"{option.key:<4}", "fg bold"), (option.label, "dim")])
            row.link(2, width - 2, f"answer:{option.key}")
            rows.append(row)
        return rows

    def on_key(self, event: events.Key) -> None:
        for option in self._options:
            if event.character == option.key or event.key == option.key:
                event.stop()
                self.dismiss(option.key)
                return

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        key = event.action.removeprefix("answer:")
        self.dismiss(None if key == "esc" else key)


class Prompt(Sheet):
    """Asks for a line of text.

    Args:
        select: The given text is selected: what is typed replaces it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [TAKE]

    def __init__(
        self,
        title: str,
        value: str = "",
        *,
        note: str = "",
        check: Callable[[str], str | None] | None = None,
        select: bool = False,
    ) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._note = note
        self._check = check
        self._select = select
        self._wrong = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="prompt"):
            yield Canvas(self._head, self.ink, plane="panel", id="prompt-head")
            yield Input(value=self._value, id="line", select_on_focus=self._select)
            yield Canvas(self._foot, self.ink, plane="panel", id="prompt-foot")

    def on_mount(self) -> None:
        self.query_one("#line", Input).focus()

    def _head(self, width: int, height: int) -> list[Row]:
        row = Row()
        row.put(2, self._title, "fg bold", width - 4)
        return [row]

    def _foot(self, width: int, height: int) -> list[Row]:
        row = Row()
        if self._wrong:
            glyphs = self.ink().glyphs
            row.run(2, [(f"{glyphs.failed} ", "err"), (self._wrong, "fg")])
        else:
            row.run(2, [("enter", "fg bold"), (" take it   ", "dim"), ("esc", "fg bold"), (" leave it", "dim")])
        second = Row()
        second.put(2, self._note, "faint", width - 4)
        return [second, row] if self._note else [Row(), row]

    @on(Input.Submitted, "#line")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()  # Enter that was pressed before the dialog was there
        self.take()

    def take(self) -> None:
        value = self.query_one("#line", Input).value
        self._wrong = (self._check(value) or "") if self._check is not None else ""
        if self._wrong:
            self.query_one("#prompt-foot", Canvas).repaint()
        else:
            self.dismiss(value)


class Writing(Sheet):
    """Asks for several lines, such as a system prompt or pasted recipes."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f2", "take", show=False, priority=True)]

    def __init__(self, title: str, value: str = "", note: str = "") -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._note = note

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="writing"):
            yield Canvas(self._head, self.ink, plane="panel", id="prompt-head")
            yield TextArea(clean(self._value), id="text", tab_behavior="indent")
            yield Canvas(self._foot, self.ink, plane="panel", id="prompt-foot")

    def on_mount(self) -> None:
        area = self.query_one("#text", TextArea)
        area.cursor_blink = False
        area.focus()

    def _head(self, width: int, height: int) -> list[Row]:
        row = Row()
        row.put(2, self._title, "fg bold", width - 4)
        return [row]

    def _foot(self, width: int, height: int) -> list[Row]:
        note = Row()
        note.put(2, self._note, "faint", width - 4)
        row = Row()
        row.run(2, [("f2", "fg bold"), (" take it   ", "dim"), ("esc", "fg bold"), (" leave it", "dim")])
        return [note, row]

    def take(self) -> None:
        self.dismiss(self.query_one("#text", TextArea).text)


class Pages(Sheet):
    """Shows text to read, such as help or the report of an import."""

    def __init__(self, painter: Callable[[Ink, int], list[Row]]) -> None:
        super().__init__()
        self._painter = painter

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="pages"):
            yield ListCanvas(self._paint, self.ink, plane="panel", id="pages")

    def on_mount(self) -> None:
        self.query_one("#pages").focus()

    def _paint(self, width: int, height: int) -> list[Row]:
        return self._painter(self.ink(), width)

    def key_q(self) -> None:
        self.dismiss(None)
