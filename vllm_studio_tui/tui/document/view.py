"""The document of a chat: one widget that draws only visible lines, and of a streaming answer only its open end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message as Notice

from vllm_studio_tui.domain.chat import Delta, Message, Relabel
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.services.chat.calls import Calls, CallState, states_of
from vllm_studio_tui.tui.document.blocks import Block, Hint
from vllm_studio_tui.tui.document.links import address_at
from vllm_studio_tui.tui.document.live import Live
from vllm_studio_tui.tui.document.message_blocks import Foot, Thought, blocks_of
from vllm_studio_tui.tui.document.question import Question
from vllm_studio_tui.tui.document.reading import BlockReader
from vllm_studio_tui.tui.document.selection import Point
from vllm_studio_tui.tui.document.tool_card import ToolCard

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink

#: Text is never wider: longer lines are hard to read.
WIDEST = 88
#: Pause between two frames, at least: seconds, and as a multiple of what the last frame took.
FRAME = 1 / 30
REST = 5.0
#: Writes that may be queued for a slow terminal before frames are skipped.
BEHIND = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """A message with its place among the answers to the same question (first is 1)."""

    message: Message
    sibling: tuple[int, int] = (1, 1)


class Document(BlockReader):
    """Shows messages.

    Attributes:
        following: The view stays at the end while it grows.
        current: Index of the message under the cursor, None without one.
    """

    widest = WIDEST

    @dataclass
    class LinkClicked(Notice):
        """A link was clicked."""

        address: str

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(get_ink, id=id)
        self.entries: list[Entry] = []
        self.hint: Hint | None = None
        self.live: Live | None = None
        self.current: int | None = None
        self._live_at = 0
        self._frame_due: asyncio.TimerHandle | None = None
        self._open_thoughts = False

    # --- content ----------------------------------------------------------------------------------------

    def show_entries(self, entries: Sequence[Entry], *, spacious: bool = False, calls: Calls | None = None) -> None:
        """Replace what is shown by these messages, scrolled to the end.

        Args:
            calls: Calls of tools that are not over, or whose end was just told.
        """
        self.entries = list(entries)
        self.live = None
        self.current = None
        self.selection.clear()
        self.blocks = []
        states = states_of((entry.message for entry in self.entries), calls)
        now = time.time()
        for index, entry in enumerate(self.entries):
            self.blocks += blocks_of(
                index, entry.message, entry.sibling, states, _age(entry.message, now), spacious=spacious
            )
        if not self.blocks and self.hint is not None:
            self.blocks = [self.hint]
        if self._open_thoughts:
            self._set_thoughts(True)
        self.following = True
        self.redraw()

    def begin(self, entry: Entry) -> None:
        """Begin an answer at the end; its pieces are passed to `feed`."""
        self._without_hint()
        self.entries.append(entry)
        self.live = Live(len(self.entries) - 1)
        self._live_at = len(self.blocks)
        self.blocks += self.live.blocks
        self.redraw()

    def add(self, entry: Entry, *, spacious: bool = False) -> None:
        """Add a message at the end. The cursor goes with it, unless one reads above at this moment."""
        self._without_hint()
        if not self.has_focus:
            self.current = None
        self.entries.append(entry)
        index = len(self.entries) - 1
        self.blocks += blocks_of(index, entry.message, entry.sibling, {}, "", spacious=spacious)
        self.following = True
        self.redraw()

    def set_hint(self, hint: Hint | None) -> None:
        """Set what is shown while there is no message."""
        self.hint = hint
        if not self.entries:
            self.blocks = [hint] if hint is not None else []
            self.redraw()

    def _without_hint(self) -> None:
        if not self.entries:
            self.blocks = []

    def feed(self, event: Delta | Relabel) -> None:
        """Take a piece of the answer. Cheap: it is drawn with the next frame."""
        if self.live is not None:
            self.live.feed(event)
            if self._frame_due is None and self.display:
                self._frame_due = asyncio.get_running_loop().call_later(FRAME, self._frame)

    def finish(self, entry: Entry, calls: Calls | None = None) -> None:
        """End the answer: what was drawn stays, with its calls, end and figures below."""
        live, self.live = self.live, None
        if live is None:
            return
        live.end()
        message = entry.message
        index = live.message
        self.entries[index] = entry
        for block in self.blocks[: self._live_at]:
            if isinstance(block, Question) and block.sibling != (kept := self.entries[block.message].sibling):
                block.sibling = kept
                block.changed()
        if live.thought is not None:
            live.thought.seconds = message.timings.thinking or live.thought.seconds
            live.thought.tokens = message.usage.reasoning_tokens
            live.thought.changed()
        states = states_of([message, *(later.message for later in self.entries[index + 1 :])], calls)
        whole = "".join(live.content)
        if whole.strip() != message.content.strip():
            # What was kept is not what was drawn, as after a continued answer: show what was kept.
            made = blocks_of(index, message, entry.sibling, states, _age(message, time.time()), spacious=False)
        else:
            made = [*live.blocks, *_after(index, entry, states)]
        self.blocks[self._live_at :] = made
        self.redraw()

    def replace_message(self, message: Message) -> None:
        """Update what is shown about a message whose text has not changed."""
        for entry in [one for one in self.entries if one.message.id == message.id]:
            self.entries[self.entries.index(entry)] = Entry(message, entry.sibling)
        for block in self.blocks:
            if isinstance(block, Foot) and block.answer.id == message.id:
                block.answer = message
                block.changed()
        self.redraw()

    def refresh_ages(self) -> None:
        """Bring "4 min ago" up to date where it has changed."""
        now = time.time()
        changed = False
        for block in self.blocks:
            if isinstance(block, Foot) and (age := _age(block.answer, now)) != block.age:
                block.age = age
                block.changed()
                changed = True
            elif isinstance(block, ToolCard):
                changed = block.aged() or changed
        if changed:
            self.redraw()

    def advance(self) -> bool:
        """Bring the blocks of the streaming answer up to date; return whether anything changed."""
        if self.live is None or not self.live.advance():
            return False
        self.blocks[self._live_at :] = self.live.blocks
        return True

    def marked(self, block: Block) -> bool:
        return self.current is not None and block.message == self.current

    @property
    def mark(self) -> object:
        return self.current

    def clicked(self, point: Point) -> None:
        """Move the cursor to the message that was clicked; a click on the first line of a block folds or opens it."""
        block = self.blocks[point.block]
        if not 0 <= block.message < len(self.entries):
            return  # what stands in an empty chat belongs to no message
        lines = block.lines(self._left_and_width[1], self._around())
        if point.line < len(lines) and (address := address_at(lines[point.line], point.cell)):
            self.post_message(self.LinkClicked(address))
        elif point.line == 0 and not isinstance(block, Question):
            block.toggle()
        self.current = block.message
        self.post_message(self.Moved())

    # --- frames -----------------------------------------------------------------------------------------

    def _frame(self) -> None:
        self._frame_due = None
        if self.live is None or not self.is_attached or not self.display:
            return
        began = time.perf_counter()
        if not self._behind() and self.advance():
            self._place()
            self._refresh_changed()
        took = time.perf_counter() - began
        self._frame_due = asyncio.get_running_loop().call_later(max(FRAME, REST * took), self._frame_or_rest)

    def _frame_or_rest(self) -> None:
        self._frame_due = None
        if self.live is not None and (self.live.waiting or self._behind()):
            self._frame()

    def _behind(self) -> bool:
        """Whether the terminal has not read yet what was written to it."""
        writer = getattr(self.app._driver, "_writer_thread", None)
        queue = getattr(writer, "_queue", None)
        return queue is not None and queue.qsize() > BEHIND

    # --- cursor -----------------------------------------------------------------------------------------

    def move(self, step: int, *, roles: Sequence[str] = ("user", "assistant")) -> None:
        """Move the cursor to the next message of these roles, and scroll to it."""
        shown = [index for index, entry in enumerate(self.entries) if entry.message.role in roles]
        if not shown:
            return
        current = self.current
        if current is None:
            wanted = shown[-1]
        elif current in shown:
            wanted = shown[min(len(shown) - 1, max(0, shown.index(current) + step))]
        elif step < 0:
            wanted = max((index for index in shown if index < current), default=shown[0])
        else:
            wanted = min((index for index in shown if index > current), default=shown[-1])
        if wanted == self.current and len(shown) > 0:
            self.scroll_lines(step * 3)
        self.current = wanted
        self._reveal(wanted, whole=bool(step))
        self.post_message(self.Moved())

    def leave_cursor(self) -> None:
        """Have the cursor on no message: what is told of an answer is of the last one."""
        self.current = None
        self.post_message(self.Moved())
        self.redraw()

    def go_to(self, message_id: str) -> None:
        """Move the cursor to a message, and scroll to it."""
        found = [index for index, entry in enumerate(self.entries) if entry.message.id == message_id]
        if found:
            self.current = found[0]
            self._reveal(found[0], whole=True)
            self.post_message(self.Moved())

    def action_page_up(self) -> None:
        super().action_page_up()
        self._take_cursor_along()

    def action_page_down(self) -> None:
        super().action_page_down()
        self._take_cursor_along()

    def action_first(self) -> None:
        super().action_first()
        self._stand_on(self._in_view[:1])

    def action_last(self) -> None:
        super().action_last()
        self._stand_on(self._in_view[-1:])

    def _take_cursor_along(self) -> None:
        """Have the cursor on a visible message, the nearest: what a key does next is done where one reads."""
        seen = self._in_view
        if self.current not in seen:
            above = self.current is not None and self.current < min(seen, default=0)
            self._stand_on(seen[:1] if above else seen[-1:])

    def _stand_on(self, messages: Sequence[int]) -> None:
        """Move the cursor to the first of some messages, if there is one, without scrolling."""
        if messages:
            self.current = messages[0]
            self.post_message(self.Moved())
            self.redraw()

    @property
    def _in_view(self) -> list[int]:
        """The visible messages on which the cursor can be, from the top, one for each of their lines."""
        seen = [self.blocks[one[0]].message for one in self._seen if one is not None]
        return [one for one in seen if self._can_stand_on(one)]

    def _can_stand_on(self, message: int) -> bool:
        return 0 <= message < len(self.entries) and self.entries[message].message.role in ("user", "assistant")

    def point_at(self, block: int) -> None:
        if self.blocks[block].message >= 0:
            self.current = self.blocks[block].message

    def _reveal(self, message: int, *, whole: bool) -> None:
        """Scroll a message into view: with `whole` its beginning, else any part of it."""
        seen = {self.blocks[one[0]].message for one in self._seen if one is not None}
        blocks = self.blocks
        first = next((index for index, block in enumerate(blocks) if block.message == message), None)
        beginning = any(one is not None and one[0] == first for one in self._seen)
        if first is not None and (message not in seen or (whole and not beginning)):
            self._top, self._top_block = (first, 0), blocks[first]
            end = self._from_end(blocks, self._left_and_width[1], self.size.height, self._around())
            self.following = self._top >= end
        self.redraw()

    @property
    def message(self) -> Entry | None:
        """The entry under the cursor, else the last one."""
        if self.current is not None and 0 <= self.current < len(self.entries):
            return self.entries[self.current]
        return self.entries[-1] if self.entries else None

    def toggle(self) -> bool:
        """Open or fold thinking and tool calls of the message under the cursor; return whether there are any."""
        index = self.current if self.current is not None else len(self.entries) - 1
        done = False
        for block in self.blocks:
            if block.message == index:
                done = block.toggle() or done
        self.redraw()
        return done

    def toggle_thinking(self) -> bool:
        """Open or fold all thinking; return whether it is open now."""
        self._open_thoughts = not self._open_thoughts
        self._set_thoughts(self._open_thoughts)
        self.redraw()
        return self._open_thoughts

    def _set_thoughts(self, opened: bool) -> None:
        for block in self.blocks:
            if isinstance(block, Thought) and bool(block.open) != opened:
                block.open = opened
                block.changed()

    # --- events -----------------------------------------------------------------------------------------

    def on_show(self) -> None:
        super().on_show()
        if self.live is not None and self._frame_due is None:
            self._frame_due = asyncio.get_running_loop().call_later(FRAME, self._frame)

    def on_focus(self) -> None:
        if self.current is None and self.following:
            self.move(0)
        else:
            self._take_cursor_along()
        super().on_focus()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        for block in self.blocks:
            if isinstance(block, Foot):
                block.changed()  # the keys below an answer that was cut are named as they are reached now
        self.redraw()

    def on_unmount(self) -> None:
        if self._frame_due is not None:
            self._frame_due.cancel()


def _after(index: int, entry: Entry, states: Mapping[str, CallState]) -> list[Block]:
    """Return what stands below an answer that was drawn while it came: its tool calls, its end."""
    made = blocks_of(index, entry.message, entry.sibling, states, "just now", spacious=False)
    return [block for block in made if isinstance(block, ToolCard | Foot)]


def _age(message: Message, now: float) -> str:
    """Return how long ago a message was written, such as `4 min ago`; empty where that is not known."""
    at = numbers.when(message.created_at)
    return "" if at is None else numbers.ago(at, now)
