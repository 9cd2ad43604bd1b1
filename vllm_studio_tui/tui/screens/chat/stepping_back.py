"""What escape, tab and find do in the chat: one step back at a time, round its parts, from hit to hit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from textual.widget import Widget

from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.chat.asking import Asking
from vllm_studio_tui.tui.screens.chat.chat_list import ChatList
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.transcript import Transcript
from vllm_studio_tui.tui.widgets.find_line import FindLine


@dataclass(frozen=True, slots=True)
class StepBack:
    """A step back: what it is in a word or two, and what takes it."""

    word: str
    take: Callable[[], object]


def step_back(screen: ChatScreen, asking: Asking) -> StepBack | None:
    """Return the step that escape takes now but for the end of a search; None where there is none to take."""
    document, chat = screen.document, screen.state.shown

    def unselect() -> None:
        document.selection.clear()
        document.redraw()

    def leave_edit() -> None:
        screen.state.end_editing()
        screen.prompt.set_text(screen.state.take_draft())
        screen.update_place()

    if screen.completions.is_open and screen.prompt.has_focus:
        return StepBack("close the list", screen.completions.close)
    if screen.chip_row.has_focus:
        return StepBack("prompt", screen.prompt.focus)
    if document.selection:
        return StepBack("unselect", unselect)
    if screen.state.editing is not None:
        return StepBack("leave edit", leave_edit)
    if asking.consent.waiting is not None:
        return StepBack("deny", asking.consent.deny)
    if screen.running is not None:
        running = screen.running
        return StepBack("stop", lambda: screen.answers.stop(running.session_id))
    if screen.line_runs:
        return StepBack("end command", screen.stop_line)
    if chat.waiting_for is not None:
        return StepBack("take back", lambda: asking.give_back(chat, asking.take_back(chat)))
    if not document.has_focus:
        return StepBack("leave prompt" if screen.prompt.has_focus else "transcript", document.focus)
    if document.below:
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
        if find is None:
            return None
        return StepBack("end search", self._leave_finding) if find.display else step_back(self._as_screen, self.asking)

    # --- finding ----------------------------------------------------------------------------------------

    @property
    def find_line(self) -> FindLine:
        return self.query_one("#chat-find", FindLine)

    def action_find(self) -> None:
        """Look for words in this chat. The line stands in the place of the status."""
        self.find_line.open()
        self.query_one("#chat-main").add_class("-finding")

    def end_finding(self) -> None:
        """Look for nothing any more."""
        if self.find_line.display:
            self.find_line.close()
            self.query_one("#chat-main").remove_class("-finding")
            self._as_screen.document.find("")

    def _leave_finding(self) -> None:
        self.end_finding()
        self._as_screen.document.focus()

    def on_transcript_search_opened(self, event: Transcript.SearchOpened) -> None:
        event.stop()
        self.action_find()

    def on_find_line_typed(self, event: FindLine.Typed) -> None:
        event.stop()
        self._as_screen.document.find(event.words)

    def on_find_line_stepped(self, event: FindLine.Stepped) -> None:
        event.stop()
        self._as_screen.document.find_next(event.step)

    def on_find_line_kept(self, event: FindLine.Kept) -> None:
        event.stop()
        if self._as_screen.document.words:
            self._as_screen.document.focus()
        else:
            self._leave_finding()

    # --- parts ------------------------------------------------------------------------------------------

    def parts(self) -> list[Widget]:
        listed = self.query_one("#chat-list", ChatList)
        screen = self._as_screen
        return [
            screen.prompt,
            screen.document,
            *([listed] if listed.display and listed.rows else []),
            *([screen.chip_row] if screen.chip_row.display else []),
        ]

    def part_word(self, step: int) -> str:
        if self.one("#prompt") is None:
            return ""
        parts = self.parts()
        screen = self._as_screen
        named = {id(screen.prompt): "prompt", id(screen.document): "transcript", id(screen.chip_row): "attached"}
        words = [named.get(id(part), "chat list") for part in parts]
        here = next((at for at, part in enumerate(parts) if part.has_focus), None)
        return words[(here + step) % len(parts)] if here is not None else "prompt"

    def kept(self, action_id: str) -> bool:
        """The way from the prompt to the transcript and back is named at every width."""
        screen = self._as_screen
        if self.one("#prompt") is None or action_id == "app.back":
            return True
        if screen.prompt.has_focus:
            return screen.running is not None and action_id == "app.next-part"  # else escape leads there
        return self.part_word(1 if action_id == "app.next-part" else -1) == "prompt"

    @property
    def foot(self) -> int:
        return max(0, self.region.bottom - self._as_screen.document.region.bottom)
