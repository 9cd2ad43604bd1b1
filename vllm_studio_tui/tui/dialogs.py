"""Questions, choosers and text sheets that stand before a screen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, TextArea

from vllm_studio_tui.kit.sanitize import clean, clean_line
from vllm_studio_tui.tui.paint.ink import Row, wrap
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink


class Sheet(ModalScreen[str | None]):
    """What stands before the page, which goes faint behind it."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "close", show=False)]

    def ink(self) -> Ink:
        return self.app.ink  # type: ignore[attr-defined,no-any-return]

    def action_close(self) -> None:
        self.dismiss(None)


@dataclass(frozen=True, slots=True)
class Answer:
    """A key and what it does."""

    key: str
    label: str


class Question(Sheet):
    """Names the loss and the cost. Escape is always harmless, and Enter never destroys anything."""

    def __init__(self, title: str, text: str, answers: Sequence[Answer], keep: str = "leave it") -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._answers = tuple(answers)
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
        for answer in (*self._answers, Answer("esc", self._keep)):
            row = Row()
            row.run(2, [(f"{answer.key:<4}", "fg bold"), (answer.label, "dim")])
            row.link(2, width - 2, f"answer:{answer.key}")
            rows.append(row)
        return rows

    def on_key(self, event: events.Key) -> None:
        for answer in self._answers:
            if event.character == answer.key or event.key == answer.key:
                event.stop()
                self.dismiss(answer.key)
                return

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()
        key = event.action.removeprefix("answer:")
        self.dismiss(None if key == "esc" else key)


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to choose.

    Attributes:
        value: What is returned.
        label: What it is called; letters are matched in it and in `words`.
        note: Its state or why not, in the middle.
        key: The key that does the same.
        group: A heading; choices of a group stand together.
        mark: A glyph and its colour before the label.
    """

    value: str
    label: str
    note: str = ""
    key: str = ""
    group: str = ""
    words: str = ""
    mark: tuple[str, str] | None = None


class Chooser(Sheet):
    """A list with a search field over it: palette, quick launch, model picker, theme picker.

    Args:
        free: What was typed may be returned where nothing matches.
        preview: Called with the value under the cursor, such as a theme that is shown at once.
        load: Where the choices come from when they take a moment: the sheet is there at once, and an Enter that is
            pressed meanwhile counts.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
    ]

    def __init__(
        self,
        choices: Sequence[Choice] | Callable[[str], Sequence[Choice]],
        *,
        title: str = "",
        empty: str = "Nothing here.",
        free: bool = False,
        enter: str = "choose",
        preview: Callable[[str], None] | None = None,
        extra: Sequence[Answer] = (),
        initial: str = "",
        load: Callable[[], Awaitable[Sequence[Choice]]] | None = None,
    ) -> None:
        super().__init__()
        self._load = load
        self._enter_waits = False
        self._given = choices
        self._title = title
        self._empty = empty
        self._free = free
        self._enter = enter
        self._preview = preview
        self._extra = tuple(extra)
        self._initial = initial
        self._matches: list[Choice] = []
        self._total = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="chooser"):
            yield Input(value=self._initial, placeholder=clean_line(self._title), id="words", select_on_focus=False)
            yield ListCanvas(self._paint, self.ink, plane="panel", id="choices")

    def on_mount(self) -> None:
        self.query_one("#choices", ListCanvas).can_focus = False
        self.query_one("#words", Input).focus()
        if self._load is not None:
            self.run_worker(self._loaded(self._load), group="match", exit_on_error=False)
        else:
            self._match(self._initial)

    async def _loaded(self, load: Callable[[], Awaitable[Sequence[Choice]]]) -> None:
        self._given = await load()
        self._load = None
        self._match(self.query_one("#words", Input).value)
        if self._enter_waits and (choice := self._current()) is not None:
            self.dismiss(choice.value)

    @on(Input.Changed, "#words")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._load is None:
            self._match(event.value)

    def _match(self, typed: str) -> None:
        if callable(self._given):
            # It may ask a database: the newest question is the one that counts.
            self.run_worker(self._ask_for(self._given, typed), exclusive=True, group="match", exit_on_error=False)
        else:
            self._show_matches(typed, self._given)

    async def _ask_for(self, given: Callable[[str], Sequence[Choice]], typed: str) -> None:
        self._show_matches(typed, await asyncio.to_thread(given, typed))

    def _show_matches(self, typed: str, every: Sequence[Choice]) -> None:
        words = typed.lower().split()
        self._total = len(every)
        found = []
        for choice in every:
            inside = f"{choice.label} {choice.words} {choice.group}".lower()
            if callable(self._given) or all(word in inside for word in words):
                # What begins with the words stands before what only holds them; groups stay together.
                found.append((0 if choice.label.lower().startswith(typed.lower().strip()) else 1, choice))
        groups = list(dict.fromkeys(choice.group for _, choice in found))
        found.sort(key=lambda one: (groups.index(one[1].group), one[0]) if words else (groups.index(one[1].group), 0))
        self._matches = [choice for _, choice in found[:400]]
        canvas = self.query_one("#choices", ListCanvas)
        canvas.top = 0
        canvas.key = self._key(0) if self._matches else None
        canvas.repaint()
        self._previewed()

    @staticmethod
    def _key(index: int) -> str:
        return str(index)

    def _paint(self, width: int, height: int) -> list[Row]:
        glyphs = self.ink().glyphs
        rows: list[Row] = []
        typed = self.query_one("#words", Input).value.lower().split()
        line = Row()
        line.put(2, glyphs.hairline * max(0, width - 4), "track")
        count = f"{len(self._matches)} of {self._total}" if typed else f"{self._total}"
        line.put_right(width - 2, f" {count}", "faint")
        rows.append(line)
        group = ""
        middle = max(20, width * 52 // 100)
        for index, choice in enumerate(self._matches):
            if choice.group != group:
                group = choice.group
                head = Row()
                head.put(2, group, "faint")
                rows.append(head)
            row = Row(key=self._key(index))
            x = 4
            if choice.mark is not None:
                row.put(4, *choice.mark)
                x = 6
            room = (middle if choice.note else width - 6 - len(choice.key)) - x - 1
            _matched(row, x, clean_line(choice.label), typed, room)
            if choice.note:
                row.put(middle, choice.note, "dim", max(0, width - middle - 3 - len(choice.key)))
            row.put_right(width - 2, choice.key, "fg bold")
            rows.append(row)
        if not self._matches:
            row = Row()
            words = " ".join(typed)
            empty = self._empty if not words else f'Nothing matches "{words}".'
            row.put(4, "reading" if self._load is not None else empty, "dim", width - 6)
            rows.append(row)
            if self._free and words:
                row = Row()
                row.run(4, [("enter", "fg bold"), (" takes it as it is", "dim")])
                rows.append(row)
        return rows

    def action_move(self, step: int) -> None:
        canvas = self.query_one("#choices", ListCanvas)
        canvas.move(step)
        self._previewed()

    def _previewed(self) -> None:
        if self._preview is not None and (choice := self._current()) is not None:
            self._preview(choice.value)

    def _current(self) -> Choice | None:
        key = self.query_one("#choices", ListCanvas).key
        index = int(key) if key is not None else -1
        return self._matches[index] if 0 <= index < len(self._matches) else None

    @on(Input.Submitted, "#words")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        choice = self._current()
        if self._load is not None:
            self._enter_waits = True
        elif choice is not None:
            self.dismiss(choice.value)
        elif self._free and event.value.strip():
            self.dismiss(event.value)

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        event.stop()

    def on_canvas_chosen(self, event: Canvas.Chosen) -> None:
        event.stop()

    def on_key(self, event: events.Key) -> None:
        for answer in self._extra:
            if event.key == answer.key and (choice := self._current()) is not None:
                event.stop()
                self.dismiss(f"{answer.key}:{choice.value}")
                return
        if self.focused is None:
            # Typed ahead, before the field has the focus: it counts all the same.
            if event.key == "enter":
                self._enter_waits = True
            elif event.is_printable and event.character:
                self.query_one("#words", Input).insert_text_at_cursor(event.character)


def _matched(row: Row, x: int, label: str, words: Sequence[str], room: int) -> None:
    """A label with the letters that match in accent."""
    lower = label.lower()
    marks = [False] * len(label)
    for word in words:
        at = lower.find(word)
        if at >= 0 and len(lower) == len(label):
            marks[at : at + len(word)] = [True] * len(word)
    if len(label) > room or not any(marks):
        row.put(x, label, "fg", room)
        return
    parts: list[tuple[str, str]] = []
    for character, marked in zip(label, marks, strict=True):
        style = "accent bold" if marked else "fg"
        if parts and parts[-1][1] == style:
            parts[-1] = (parts[-1][0] + character, style)
        else:
            parts.append((character, style))
    row.run(x, parts)


class Prompt(Sheet):
    """Asks for a line of text."""

    def __init__(
        self, title: str, value: str = "", *, note: str = "", check: Callable[[str], str | None] | None = None
    ) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._note = note
        self._check = check
        self._wrong = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet", classes="prompt"):
            yield Canvas(self._head, self.ink, plane="panel", id="prompt-head")
            yield Input(value=self._value, id="line", select_on_focus=False)
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
        event.stop()
        self._wrong = (self._check(event.value) or "") if self._check is not None else ""
        if self._wrong:
            self.query_one("#prompt-foot", Canvas).repaint()
        else:
            self.dismiss(event.value)


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

    def action_take(self) -> None:
        self.dismiss(self.query_one("#text", TextArea).text)


class Pages(Sheet):
    """Text to read: help, an import's report, evidence."""

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
