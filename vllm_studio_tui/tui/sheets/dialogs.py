"""Dialogs: questions, text prompts and pages of text, with a layout for each size of the window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.screen import ModalScreen
from textual.widgets import Input, TextArea

from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.tui.look.sizes import Size, mark_size, size_class
from vllm_studio_tui.tui.paint.dialog_rows import head_row, keys_row
from vllm_studio_tui.tui.paint.ink import Row, fit, wrap
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.shell import Shell

#: Rows above and below a dialog, its padding included, where there is room for a margin.
AROUND = 6


class Sheet(ModalScreen[str | None]):
    """A dialog over the dimmed screen. It returns a string, or None when it is closed with Escape.

    It takes one answer: what was typed together with it is dropped. In a small window it has no margin; in the
    smallest one it takes the whole window.
    """

    CSS_PATH: ClassVar[str | PurePath | list[str | PurePath] | None] = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "close", show=False)]
    _answered = False

    def on_unmount(self) -> None:
        self._shell.update_frame()

    @property
    def _shell(self) -> Shell:
        return cast("Shell", self.app)

    def ink(self) -> Ink:
        """Return the colours and glyphs in use."""
        return self.app.ink  # type: ignore[attr-defined,no-any-return]

    # --- layout -----------------------------------------------------------------------------------------

    @property
    def room(self) -> Size:
        """The size class of the window, whatever size class the screens are drawn in."""
        return size_class(self.app.size.width, self.app.size.height)

    @property
    def tiny(self) -> bool:
        """Whether the dialog has the whole window."""
        return self.room <= Size.STRIP

    @property
    def rows_free(self) -> int:
        """The rows that the content may take."""
        height = self.app.size.height
        return max(1, height - (AROUND if self.room >= Size.BASE else 0))

    def on_mount(self) -> None:
        self._shell.update_frame()  # the keys of the page do not work now
        self._fit()

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    def _fit(self) -> None:
        mark_size(self, self.room)
        self.fit()

    def fit(self) -> None:
        """Set the sizes that depend on the window and on what is shown."""

    # --- answers ----------------------------------------------------------------------------------------

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
    """An answer to a question: its key, and what that does.

    Attributes:
        gentle: Nothing is lost by it: Enter, pressed without looking, may mean it.
    """

    key: str
    label: str
    gentle: bool = False


class Question(Sheet):
    """Asks before an action, naming what would be lost.

    Escape changes nothing. Enter takes the answer under the cursor: at first the first gentle one, else that of Escape.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("enter", "take", show=False),
    ]

    def __init__(self, title: str, text: str, options: Sequence[Option], keep: str = "leave it") -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._options = (*options, Option("esc", keep))
        self._at = next((at for at, option in enumerate(self._options) if option.gentle), len(options))

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="question"):
            yield Canvas(self._paint, self.ink, plane="panel", id="question")

    def fit(self) -> None:
        canvas = self.query_one("#question", Canvas)
        width = self.app.size.width if self.room < Size.BASE else 64
        canvas.styles.height = len(self._paint(width, self.rows_free))
        canvas.repaint()

    def _paint(self, width: int, height: int) -> list[Row]:
        """Return the rows: all answers first, then as much of the text as there is room for."""
        glyphs, roomy = self.ink().glyphs, self.room >= Size.BASE
        height = self.rows_free
        if height <= len(self._options):
            return self._in_a_line(width, height)
        foot = [] if height < len(self._options) + 3 else [self._foot(width)]
        answers = [self._answer(at, option, width) for at, option in enumerate(self._options)]
        free = max(1, height - len(answers) - len(foot) - 2 * roomy)
        lines = [(line, "fg bold") for line in wrap(self._title, width - 4)]
        lines += [
            (line, "fg" if not index else "dim")
            for index, part in enumerate(self._text.split("\n"))
            for line in wrap(part, width - 4)
            if line or index
        ]
        if len(lines) > free:
            lines = lines[:free]
            lines[-1] = (f"{lines[-1][0]} {glyphs.ellipsis}", lines[-1][1])
        rows = []
        for line, style in lines:
            row = Row()
            if not roomy:
                row.put(0, glyphs.block, "warn")
            row.put(2, line, style, width - 4)
            rows.append(row)
        gap = [Row()] if roomy else []
        return [*rows, *gap, *answers, *gap, *foot]

    def _in_a_line(self, width: int, height: int) -> list[Row]:
        """Return the question and, below it, all answers in one row: none is out of sight."""
        title, answers = Row(), Row()
        title.put(0, self._title, "fg bold", width)
        x, last = 0, len(self._options) - 1
        for at, option in enumerate(self._options):
            # Each has its share of the row; what the ones before leave is for those after.
            share = (width - x - 2 * (last - at)) // (last - at + 1)
            label = fit(option.label, max(0, share - len(option.key) - 1))
            here = at == self._at
            after = answers.run(x, [(option.key, "accent bold underline" if here else "fg bold"), (f" {label}", "dim")])
            answers.link(x, after, f"answer:{option.key}")
            x = after + 2
        return [title, answers] if height > 1 else [answers]

    def _answer(self, at: int, option: Option, width: int) -> Row:
        here = at == self._at
        row = Row(plane="sel" if here else "")
        if here:
            row.put(0, self.ink().glyphs.cursor, "accent bold")
        end = width - 2
        if here and width >= 30:
            end = row.put_right(end, "enter", "fg bold") - 1
        row.put(2, option.key, "fg bold")
        row.put(max(6, 3 + len(option.key)), option.label, "fg" if here else "dim", max(0, end - 6))
        row.link(0, width, f"answer:{option.key}")
        return row

    def _foot(self, width: int) -> Row:
        row = Row()
        row.put(2 if width > 40 else 0, f"{self.ink().glyphs.up_down} choose", "faint")
        return row

    def action_move(self, step: int) -> None:
        self._at = (self._at + step) % len(self._options)
        self.query_one("#question", Canvas).repaint()

    def take(self) -> None:
        self._give(self._options[self._at].key)

    def _give(self, key: str) -> None:
        self.dismiss(None if key == "esc" else key)

    def on_key(self, event: events.Key) -> None:
        for option in self._options:
            if event.character == option.key or event.key == option.key:
                event.stop()
                self._give(option.key)
                return

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        self._give(event.action.removeprefix("answer:"))


class Prompt(Sheet):
    """Asks for a line of text.

    Args:
        select: The given text is selected: what is typed replaces it.
        wrong: Why the given text was not taken before.
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
        wrong: str = "",
    ) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._note = note
        self._check = check
        self._select = select
        self._wrong = wrong

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="prompt"):
            yield Canvas(self._head, self.ink, plane="panel", id="prompt-head")
            yield Input(value=self._value, id="line", select_on_focus=self._select)
            yield Canvas(self._foot, self.ink, plane="panel", id="prompt-foot")

    def on_mount(self) -> None:
        self.query_one("#line", Input).focus()

    def _head(self, width: int, height: int) -> list[Row]:
        return [head_row(self._title, width)]

    def _foot(self, width: int, height: int) -> list[Row]:
        second = Row()
        if self._wrong:
            second.run(2, [(f"{self.ink().glyphs.failed} ", "err"), (fit(self._wrong, max(1, width - 6)), "fg")])
        else:
            second.put(2, self._note, "faint", width - 4)
        return [second, keys_row(width, ("enter", "take it"), ("esc", "leave it"))]

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

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "take", show=False, priority=True),
        Binding("escape", "close", show=False, priority=True),  # a text area would move the focus by it
    ]

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

    def fit(self) -> None:
        around = 3 if self.tiny else 5
        least = self.rows_free <= around  # what is written and the keys come before the title and the note
        self.query_one("#text", TextArea).styles.height = max(1, min(12, self.rows_free - (1 if least else around)))
        self.query_one("#prompt-head").display = not least
        foot = self.query_one("#prompt-foot", Canvas)
        foot.styles.height = 1 if least else 2
        foot.repaint()

    def _head(self, width: int, height: int) -> list[Row]:
        return [head_row(self._title, width)]

    def _foot(self, width: int, height: int) -> list[Row]:
        note = Row()
        note.put(2, self._note, "faint", width - 4)
        keys = keys_row(width, ("f2", "take it"), ("esc", "leave it"))
        return [note, keys] if height > 1 else [keys]

    def take(self) -> None:
        self.dismiss(self.query_one("#text", TextArea).text)


class Pages(Sheet):
    """Shows text to read, such as help or the report of an import.

    Args:
        leave: What comes after it, in a word.
    """

    def __init__(self, painter: Callable[[Ink, int], list[Row]], *, leave: str = "close") -> None:
        super().__init__()
        self._painter = painter
        self._leave = leave

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="pages"):
            yield ListCanvas(self._paint, self.ink, plane="panel", id="pages")
            yield Canvas(self._foot, self.ink, plane="panel", id="pages-foot")

    def on_mount(self) -> None:
        self.query_one("#pages").focus()

    def fit(self) -> None:
        """As tall as its text, up to the window."""
        width = min(110, self.app.size.width)
        pages = self.query_one("#pages", ListCanvas)
        pages.styles.height = max(1, min(len(self._paint(width, 0)), self.rows_free - 1))
        self.call_after_refresh(self.query_one("#pages-foot", Canvas).repaint)

    def _paint(self, width: int, height: int) -> list[Row]:
        return self._painter(self.ink(), width)

    def _foot(self, width: int, height: int) -> list[Row]:
        try:
            pages = self.query_one("#pages", ListCanvas)
        except NoMatches:  # while it is composed
            return []
        more = len(pages.rows) > pages.size.height
        keys = [
            ("esc" if self._leave == "close" else "enter", self._leave),
            *([(self.ink().glyphs.up_down, "more")] if more else []),
        ]
        return [keys_row(width, *keys)]

    def key_q(self) -> None:
        self.dismiss(None)

    def key_enter(self) -> None:
        self.dismiss(None)
