"""What escape and tab do in the chat: one step back at a time, and round its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from textual.widget import Widget
from textual.widgets import Input

from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.chat.asking import Asking
from vllm_studio_tui.tui.screens.chat.chat_list import ChatList
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen


@dataclass(frozen=True, slots=True)
class StepBack:
    """A step back: what it is in a word or two, and what takes it."""

    word: str
    take: Callable[[], object]


def step_back(screen: ChatScreen, asking: Asking, find: Input) -> StepBack | None:
    """Return the step that escape takes now; None where there is none to take."""
    document, chat = screen.document, screen.state.shown

    def close_find() -> None:
        find.display = False
        document.find("")
        document.focus()

    def unselect() -> None:
        document.selection.clear()
        document.redraw()

    def leave_edit() -> None:
        screen.state.end_editing()
        screen.prompt.set_text(screen.state.draft)
        screen.update_place()

    if find.display:
        return StepBack("close", close_find)
    if document.words:
        return StepBack("end search", lambda: document.find(""))
    if document.selection:
        return StepBack("unselect", unselect)
    if screen.state.editing is not None:
        return StepBack("leave edit", leave_edit)
    if screen.running is not None:
        running = screen.running
        return StepBack("stop", lambda: screen.answers.stop(running.session_id))
    if chat.waiting_for is not None:
        return StepBack("take back", lambda: asking.give_back(chat, asking.take_back(chat)))
    if not document.has_focus:
        return StepBack("leave prompt" if screen.prompt.has_focus else "transcript", document.focus)
    if not document.following:
        return StepBack("to the end", document.to_end)
    return None


class ChatSteps(Place):
    """The steps of the chat screen."""

    asking: Asking

    @property
    def _as_screen(self) -> ChatScreen:
        return cast("ChatScreen", self)

    def escape(self) -> bool:
        back = self._step_back()
        if back is not None:
            back.take()
        return back is not None

    def escape_word(self) -> str:
        back = self._step_back()
        return back.word if back is not None else ""

    def _step_back(self) -> StepBack | None:
        find = self.one("#chat-find")  # None while the app ends
        return step_back(self._as_screen, self.asking, find) if find is not None else None

    def parts(self) -> list[Widget]:
        listed = self.query_one("#chat-list", ChatList)
        screen = self._as_screen
        return [screen.prompt, screen.document, *([listed] if listed.display and listed.rows else [])]

    def part_word(self) -> str:
        if self.one("#prompt") is None:
            return ""
        parts = self.parts()
        words = ["transcript", "chat list", "prompt"] if len(parts) > 2 else ["transcript", "prompt"]
        return next((word for part, word in zip(parts, words, strict=True) if part.has_focus), "prompt")

    @property
    def foot(self) -> int:
        return max(0, self.region.bottom - self._as_screen.document.region.bottom)
