"""The line in which words are looked for: what was typed, which hit of how many it is, and the keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink

#: Cells for what is typed, at least.
LEAST = 12


class FindLine(Horizontal):
    """Stays while something is looked for: with the focus while it is typed, then without it.

    Args:
        hits: Returns which hit it is, of how many, in words.
        more: Returns the keys that do something further while somebody types.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "step(-1)", show=False),
        Binding("down", "step(1)", show=False),
    ]
    DEFAULT_CSS = """
    FindLine { height: 1; display: none; }
    FindLine > .find-mark { width: 3; }
    FindLine > Input { width: 1fr; min-width: 12; height: 1; border: none; padding: 0; background: $surface; }
    FindLine > .find-hits { width: 1; }
    """

    @dataclass
    class Typed(Message):
        """Something else is looked for now."""

        words: str

    @dataclass
    class Stepped(Message):
        """The person wants the next hit, or the one before, and to go on typing."""

        step: int

    class Kept(Message):
        """The person goes on to the hits."""

    def __init__(
        self,
        get_ink: Callable[[], Ink],
        hits: Callable[[], str],
        *,
        more: Callable[[], Sequence[tuple[str, str]]] = tuple,
        id: str,  # noqa: A002, RUF100
    ) -> None:
        super().__init__(id=id)
        self._get_ink, self._hits, self._more = get_ink, hits, more

    def compose(self) -> ComposeResult:
        yield Canvas(self._paint_mark, self._get_ink, classes="find-mark")
        yield Input(id=f"{self.id}-field", select_on_focus=True)
        yield Canvas(self._paint_hits, self._get_ink, classes="find-hits")

    @property
    def field(self) -> Input:
        return self.query_one(Input)

    def open(self) -> None:
        """Have somebody type what to look for."""
        self.display = True
        self.field.focus()
        self.update()

    def close(self) -> None:
        """Look for nothing any more."""
        self.display = False
        self.field.value = ""

    def update(self) -> None:
        """Draw anew which hit it is."""
        if not self.display:
            return
        canvas = self.query_one(".find-hits", Canvas)
        width = sum(self._widths())
        if canvas.styles.width is None or canvas.styles.width.value != width:
            canvas.styles.width = width
        canvas.repaint()

    # --- painting ---------------------------------------------------------------------------------------

    def _keys(self) -> list[tuple[str, str]]:
        if not self.field.has_focus:
            return [("[ ]", "hit"), ("/", "change"), ("esc", "end")]
        up_down = self._get_ink().glyphs.up_down
        return [(up_down, "hit"), ("enter", "keep"), *self._more(), ("esc", "end")]

    def _widths(self) -> list[int]:
        """Return the cells of the words about the hits and of the keys after them, as many as there is room for."""
        hits = cell_len(self._hits())
        room = self.size.width - 3 - LEAST
        found = [1 + hits + 1] if hits else [1]
        for key, word in self._keys():
            width = cell_len(key) + cell_len(word) + 3
            if sum(found) + width > room:
                break
            found.append(width)
        return found

    def _paint_mark(self, width: int, height: int) -> list[Row]:
        row = Row()
        row.put(1, "/", "accent bold")
        return [row]

    def _paint_hits(self, width: int, height: int) -> list[Row]:
        row, words = Row(), self._hits()
        at = row.put(1, words, "warn" if words.startswith("nothing") else "fg") if words else 0
        for (key, word), _ in zip(self._keys(), self._widths()[1:], strict=False):
            at = row.run(at + 2, [(key, "fg bold"), (f" {word}", "dim")])
        return [row]

    # --- events -----------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self.update()

    def on_descendant_focus(self) -> None:
        self.update()

    def on_descendant_blur(self) -> None:
        self.update()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.display:
            self.post_message(self.Typed(event.value))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Kept())

    def action_step(self, step: int) -> None:
        self.post_message(self.Stepped(step))
