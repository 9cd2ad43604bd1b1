"""The prompt: several lines, as high as its text, with a history."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.screens.chat.completion import Begun, begun

#: Rows at most; more is scrolled.
HIGHEST = 10


class PromptArea(TextArea):
    """Enter sends; ctrl+j, alt+enter and shift+enter begin a new line; up at the top goes back in history."""

    SCOPE = "prompt"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("prompt")]

    class Sent(Message):
        """The person pressed Enter."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Paged(Message):
        """The person looks at the transcript a page up (-1) or down (1)."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class Started(Message):
        """Something is begun before the cursor that may be completed; None: nothing is."""

        def __init__(self, begun: Begun | None) -> None:
            super().__init__()
            self.begun = begun

    class Pasted(Message):
        """A text was pasted; it is not in the prompt yet."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Backed(Message):
        """Backspace was pressed where nothing is typed."""

    class Grown(Message):
        """The text, and perhaps the height it needs, changed."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(
            id=id, soft_wrap=True, tab_behavior="focus", show_line_numbers=False, highlight_cursor_line=False
        )
        self.cursor_blink = False
        self.earlier: list[str] = []
        #: The list over the prompt, which has a key first while it is open.
        self.offered: Callable[[str], bool] = lambda key: False
        self._begun: Begun | None = None
        self._at: int | None = None
        self._kept = ""

    def set_text(self, text: str) -> None:
        """Replace the text, and put the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)
        self._at = None

    @property
    def rows(self) -> int:
        """Rows that the text needs, at most `HIGHEST`."""
        return max(1, min(HIGHEST, self.wrapped_document.height))

    @property
    def hint(self) -> str:
        """What stands in an empty prompt."""
        return str(self.placeholder)

    @hint.setter
    def hint(self, words: str) -> None:
        if str(self.placeholder) != words:
            self.placeholder = Content(words)

    def insert_at_end(self, text: str) -> None:
        """Write behind all that is there, parted by a blank or a line's end."""
        self.move_cursor(self.document.end)
        before = self.text
        gap = "" if not before or before[-1:].isspace() else "\n" if "\n" in text else " "
        self.insert(f"{gap}{text}")
        self.focus()

    def take_word(self, begun: Begun, text: str) -> None:
        """Put a text in the place of what is begun before the cursor."""
        row, column = self.cursor_location
        self.replace(text, (row, min(begun.start, column)), (row, column))
        self.focus()

    def put_instead(self, old: str, new: str) -> None:
        """Put a text in the place of another, where that still stands."""
        at = self.text.rfind(old)
        if at >= 0:
            self.set_text(f"{self.text[:at]}{new}{self.text[at + len(old) :].lstrip(' ')}")

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(self.Grown())
        self._look()

    def on_text_area_selection_changed(self, event: TextArea.SelectionChanged) -> None:
        event.stop()
        self._look()

    def _look(self) -> None:
        """Tell what is begun before the cursor, where that is something else than before."""
        row, column = self.cursor_location
        alone = row == 0 and self.document.line_count == 1
        now = begun(self.document.get_line(row)[:column], first_line=alone) if self._at is None else None
        if now != self._begun:
            self._begun = now
            self.post_message(self.Started(now))

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        # Most terminals send a carriage return for the end of a line.
        self.post_message(self.Pasted(event.text.replace("\r\n", "\n").replace("\r", "\n")))

    async def _on_key(self, event: events.Key) -> None:
        if event.key in ("up", "down", "tab") and self.offered(event.key):
            event.stop()
            event.prevent_default()
            return
        if event.key == "backspace" and not self.text:
            event.stop()
            event.prevent_default()
            self.post_message(self.Backed())
            return
        if event.key in ("alt+enter", "shift+enter"):
            event.stop()
            event.prevent_default()
            self.insert("\n")
            return
        if event.key == "up" and self.cursor_location[0] == 0 and self._older():
            event.stop()
            event.prevent_default()
            return
        if event.key == "down" and self._at is not None and self.cursor_location[0] == self.document.line_count - 1:
            event.stop()
            event.prevent_default()
            self._newer()
            return
        await super()._on_key(event)

    # Textual runs these ahead of keys that were typed before: they have their turn after those.

    def action_send(self) -> None:
        self.call_later(self._send)

    def _send(self) -> None:
        if not self.offered("enter"):
            self.post_message(self.Sent(self.text))

    def action_newline(self) -> None:
        self.call_later(self.insert, "\n")

    def action_page_up(self) -> None:
        self.post_message(self.Paged(-1))

    def action_page_down(self) -> None:
        self.post_message(self.Paged(1))

    def _older(self) -> bool:
        """Show the prompt before; return False where there is none, or something else was typed meanwhile."""
        if not self.earlier:
            return False
        if self._at is None:
            if self.text.strip():
                return False
            self._kept, at = self.text, len(self.earlier) - 1
        else:
            if self.text != self.earlier[self._at]:
                return False
            at = max(0, self._at - 1)
        self.set_text(self.earlier[at])
        self._at = at
        return True

    def _newer(self) -> None:
        assert self._at is not None
        at = self._at + 1
        if at < len(self.earlier):
            self.set_text(self.earlier[at])
            self._at = at
        else:
            self.set_text(self._kept)
