"""Calls of tools in the transcript: their cards while they wait, are made and are over, and the keys for them.

A call is answered only where it can be seen: with the cursor on its card, a moment after it appeared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from textual.message import Message as Notice

from vllm_studio_tui.domain.chat import Delta, Message
from vllm_studio_tui.services.chat.answers import RunningAnswer
from vllm_studio_tui.services.chat.calls import CallState
from vllm_studio_tui.tui.document.blocks import Block, Surroundings
from vllm_studio_tui.tui.document.tool_card import ToolCard
from vllm_studio_tui.tui.document.view import FRAME, Document, Entry
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.shell import Shell

if TYPE_CHECKING:
    from vllm_studio_tui.tui.paint.ink import Ink

#: Seconds after a call appeared in which the keys that answer it do nothing: they were meant for something else.
STARTLED = 0.3


class CallCards(Document):
    """A document whose answers may end in calls of tools."""

    @dataclass
    class CallAnswered(Notice):
        """The person answers the call that waits, or looks at one.

        Attributes:
            name: The action without its scope, such as `allow`.
        """

        name: str
        state: CallState

    def __init__(self, get_ink: Callable[[], Ink], *, id: str | None = None) -> None:  # noqa: A002, RUF100
        super().__init__(get_ink, id=id)
        self._calling = False
        self._next: ToolCard | None = None
        self._faced: ToolCard | None = None
        self._seen_first: CallState | None = None
        self._faced_at = 0.0
        self._cards_due: asyncio.TimerHandle | None = None
        self._left_end = False  # the end was left for a call, not by the person

    @property
    def _shell(self) -> Shell:
        return cast("Shell", self.app)

    # --- showing ----------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether neither an answer comes nor calls are made for one."""
        return self.live is None and not self._calling

    def show_calls(self, running: RunningAnswer, message_id: str | None = None) -> None:
        """Show that the answer ended in calls, below it; their results will have messages of their own."""
        ended = running.answer.ended
        if self.live is None or ended is None:
            return
        content, reasoning = running.answer.text()
        begun = self.entries[-1]
        message = replace(
            begun.message,
            id=message_id or begun.message.id,
            content=content,
            reasoning=reasoning,
            tool_calls=ended.tool_calls,
            finish=ended.finish,
            usage=ended.usage,
            timings=ended.timings,
            details={**begun.message.details, **ended.details},
        )
        session_id = running.session_id
        self.finish(Entry(message, begun.sibling), running.calls)
        self.entries += [
            Entry(Message("", session_id, "tool", "", tool_call_id=call.id, finish="streaming"))
            for call in ended.tool_calls
        ]
        self.face_call(calling=True)

    def show_further(self, running: RunningAnswer, message_id: str | None) -> None:
        """Show the answer that begins below the results."""
        self.begin(Entry(Message(message_id or "", running.session_id, "assistant", "", finish="streaming")))
        self.face_call(calling=False)
        content, reasoning = running.answer.text()
        if content or reasoning:
            self.feed(Delta(content, reasoning))

    def call_changed(self, state: CallState) -> None:
        """Show what became of a call. Cheap: it is drawn with the next frame, as a flood of them may come."""
        for block in self.blocks:
            if isinstance(block, ToolCard) and block.state is state:
                block.changed()
        if self._cards_due is None:
            self._cards_due = asyncio.get_running_loop().call_later(FRAME, self._draw_cards)

    def _draw_cards(self) -> None:
        self._cards_due = None
        if self.is_attached:
            self.face_call(calling=self._calling)
            self.post_message(self.Moved())

    # --- the one that waits -----------------------------------------------------------------------------

    def face_call(self, *, calling: bool) -> None:
        """Let the keys be for the first call that waits: the cursor goes to it, unless one reads elsewhere.

        Args:
            calling: Calls are made for an answer now.
        """
        self._calling = calling
        cards = [block for block in self.blocks if isinstance(block, ToolCard)]
        before = self._next
        seen_before = before is not None and self._is_seen(before)
        self._next = next((card for card in cards if card.state.state == "waiting"), None) if calling else None
        for card in cards:
            if card.next is not (card is self._next):
                card.next = card is self._next
                card.changed()
        if self._next is not None and self.has_focus and self.following:
            self.current = self._next.message
        if seen_before and self._next is not before:
            # That one was answered, or one above it asks now as well: they ask in any order.
            if self.has_focus and self._next is not None:
                self.go_to_call()  # in a small window it is outside of what is seen
            elif self._next is None and self._left_end:
                self.following, self._left_end = True, False
        self.redraw()

    @property
    def faced(self) -> ToolCard | None:
        """The call that waits, where the keys are for it: it is visible, and the cursor is on it."""
        return self._faced if self._faced is not None and self._faced.state.state == "waiting" else None

    def go_to_call(self) -> bool:
        """Bring the call that waits into view, with the cursor on it; return whether there is one."""
        card, blocks = self._next, self.blocks
        if card is None or card not in blocks:
            return False
        self.current = card.message
        if not self._is_seen(card) and self.size.height:
            self._show_card(card)
        self.redraw()
        return True

    def _show_card(self, card: ToolCard) -> None:
        """Let a card begin at the top, or stand as high as there is something below it."""
        blocks = self.blocks
        at = (blocks.index(card), 0)
        end = self._from_end(blocks, self._left_and_width[1], self.size.height, self._around())
        followed, self.following = self.following, at >= end
        self._left_end = (followed or self._left_end) and not self.following
        self._top, self._top_block = at, card

    def _place(self) -> None:
        super()._place()
        card = self._next
        here = card is not None and self.has_focus and self.current == card.message
        if card is not None and here and self.following and card in self.blocks and not self._is_seen(card):
            self._show_card(card)  # those that wait for it have come below
            super()._place()
        if card is not None and not (self.has_focus and self.current == card.message and self._is_seen(card)):
            card = None
        if card is not self._faced:
            self._faced = card
            if card is not None and card.state is not self._seen_first:  # not one that a sheet was before
                self._seen_first, self._faced_at = card.state, time.monotonic()
            self.post_message(self.Moved())

    def _is_seen(self, card: ToolCard) -> bool:
        """Whether a card is seen from its name down to its keys, or as far down as the window goes."""
        seen = [one[1] for one in self._seen if one is not None and self.blocks[one[0]] is card]
        last = len(card.lines(self._left_and_width[1], self._around())) - 2  # below the keys there is a blank line
        return 0 in seen and min(last, self.size.height - 1) in seen

    def marked(self, block: Block) -> bool:
        return block is self._faced if self._faced is not None else super().marked(block)

    @property
    def mark(self) -> object:
        return self.current, id(self._faced)

    def _around(self) -> Surroundings:
        return replace(super()._around(), key=self._key)

    def _key(self, action_id: str) -> str:
        return actions.key_text(self._shell.keys_of(action_id).split(",")[0])

    def on_focus(self) -> None:
        self.go_to_call()

    def on_resize(self) -> None:
        for block in self.blocks:
            if isinstance(block, ToolCard) and block.state.state == "waiting":
                block.changed()  # what it shows depends on the height too

    def watch_has_focus(self, has_focus: bool) -> None:
        if self._next is not None:
            self._next.changed()  # its keys are named as they are reached now
        super().watch_has_focus(has_focus)

    def on_unmount(self) -> None:
        if self._cards_due is not None:
            self._cards_due.cancel()

    # --- keys -------------------------------------------------------------------------------------------

    def can_answer(self, name: str) -> bool:
        """Whether the action of this name, of the scope `call`, can be done now."""
        return self.faced is not None or (name == "whole" and bool(self._cards))

    def _answer_call(self, name: str) -> None:
        faced = self.faced
        if faced is not None and time.monotonic() - self._faced_at >= STARTLED:
            self.post_message(self.CallAnswered(name, faced.state))

    def action_allow(self) -> None:
        self._answer_call("allow")

    def action_allow_longer(self) -> None:
        self._answer_call("allow-longer")

    def action_deny(self) -> None:
        self._answer_call("deny")

    def action_edit_arguments(self) -> None:
        self._answer_call("edit-arguments")

    def action_whole(self) -> None:
        """Show a call whole: the one that waits, else those of the message under the cursor."""
        state = self.faced.state if self.faced is not None else self._cards[0].state if self._cards else None
        if state is not None:
            self.post_message(self.CallAnswered("whole", state))

    @property
    def _cards(self) -> list[ToolCard]:
        """The calls of the message under the cursor."""
        at = self.current if self.current is not None else len(self.entries) - 1
        return [block for block in self.blocks if isinstance(block, ToolCard) and block.message == at]

    @property
    def calls(self) -> list[CallState]:
        """The calls of the message under the cursor, and what became of them."""
        return [card.state for card in self._cards]
