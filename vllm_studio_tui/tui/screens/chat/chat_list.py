"""The list of chats beside the transcript: read with the eyes while one types, with keys after tab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from textual.binding import BindingType
from textual.message import Message as Notice

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.shell import Shell
from vllm_studio_tui.tui.widgets.canvas import ListCanvas


class ChatList(ListCanvas):
    """The chats. The cursor moves while the list has the focus, and else stays with the chat that is open."""

    SCOPE = "chats"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("chats")]

    @dataclass
    class ActionChosen(Notice):
        """The person chose to do something with a chat.

        Attributes:
            name: The action without its scope: `open`, `new`, `rename`, `pin`, `tags`, `tab` or `delete`.
        """

        name: str
        session_id: str

    def rest_on(self, session_id: str | None) -> None:
        """Have the cursor on the chat that is open, unless a person moves it."""
        if not self.has_focus and self.key != session_id and session_id in self.keys:
            self.choose(session_id)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"chats.{action.replace('_', '-')}")
        if known is None:
            return super().check_action(action, parameters)
        if known.name == "new":
            return True
        return self.key is not None and not (known.writes and cast("Shell", self.app).read_only)

    def _chosen(self, name: str) -> None:
        if self.key is not None:
            self.post_message(self.ActionChosen(name, self.key))

    def action_open(self) -> None:
        self._chosen("open")

    def action_new(self) -> None:
        self.post_message(self.ActionChosen("new", ""))

    def action_rename(self) -> None:
        self._chosen("rename")

    def action_pin(self) -> None:
        self._chosen("pin")

    def action_tags(self) -> None:
        self._chosen("tags")

    def action_tab(self) -> None:
        self._chosen("tab")

    def action_delete(self) -> None:
        self._chosen("delete")
