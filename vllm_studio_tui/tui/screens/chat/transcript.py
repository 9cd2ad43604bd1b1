"""The document of a chat with its keys: moving, folding, finding, copying, and what is done with a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import BindingType

from vllm_studio_tui.tui.document.view import Document
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.place import Place

if TYPE_CHECKING:
    from vllm_studio_tui.tui.screens.chat.place import ChatPlace


class Transcript(Document):
    """The document with its keys."""

    SCOPE = "transcript"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("transcript")]

    @property
    def place(self) -> ChatPlace:
        return cast("ChatPlace", next(node for node in self.ancestors if isinstance(node, Place)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"transcript.{action.replace('_', '-')}")
        if known is None:
            return super().check_action(action, parameters)
        if known.writes and self.place.shell.read_only:
            return False
        return self._possible(known.name)

    def _possible(self, name: str) -> bool:
        """Whether something can be done with the message under the cursor."""
        entry = self.message
        if name in ("up", "down", "page-up", "page-down", "first", "last", "find"):
            return True
        if name in ("find-next", "find-previous"):
            return bool(self.words)
        if entry is None:
            return False
        role = entry.message.role
        if name in ("regenerate",):
            return role in ("user", "assistant") and self.place.turn is None
        if name == "continue":
            cut = entry.message.finish in ("stopped", "interrupted", "length")
            return role == "assistant" and cut and self.place.turn is None
        if name == "edit":
            return role == "user"
        if name in ("previous", "next"):
            return entry.sibling[1] > 1
        return True

    def action_up(self) -> None:
        self.move(-1)

    def action_down(self) -> None:
        self.move(1)

    def action_page_up(self) -> None:
        self.page(-1)

    def action_page_down(self) -> None:
        self.page(1)

    def action_first(self) -> None:
        self.to_start()

    def action_last(self) -> None:
        self.to_end()

    def action_fold(self) -> None:
        self.toggle()

    def action_find_next(self) -> None:
        self.find_next(1)

    def action_find_previous(self) -> None:
        self.find_next(-1)

    def action_find(self) -> None:
        self.place.action_find()

    def action_copy(self) -> None:
        if (entry := self.message) is not None:
            self.place.shell.copy(entry.message.content)

    def action_copy_code(self) -> None:
        if (entry := self.message) is not None:
            self.place.shell.spawn(self.place.flows.copy_code(entry.message))

    def action_regenerate(self) -> None:
        if (entry := self.message) is not None:
            self.place.shell.spawn(self.place.asking.regenerate(entry.message))

    def action_continue(self) -> None:
        if (entry := self.message) is not None:
            self.place.shell.spawn(self.place.asking.continue_answer(entry.message))

    def action_edit(self) -> None:
        if (entry := self.message) is not None:
            self.place.asking.edit(entry.message)

    def action_fork(self) -> None:
        if (entry := self.message) is not None:
            self.place.shell.spawn(self.place.asking.fork(entry.message))

    def action_previous(self) -> None:
        self._turn_to(-1)

    def action_next(self) -> None:
        self._turn_to(1)

    def _turn_to(self, step: int) -> None:
        if (entry := self.message) is not None:
            self.place.shell.spawn(self.place.asking.sibling(entry.message, step))
