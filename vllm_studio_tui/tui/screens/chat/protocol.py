"""What asking, choosing and painting may use of the chat screen. They never import the screen: it imports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from textual.widget import Widget

    from vllm_studio_tui.domain.chat import Message
    from vllm_studio_tui.domain.tools import Tool, ToolChoice
    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.services.chat.answers import Answers, RunningAnswer
    from vllm_studio_tui.services.chat_protocols import ChatApi
    from vllm_studio_tui.services.protocols import StudioApi
    from vllm_studio_tui.services.watching.snapshot import Snapshot
    from vllm_studio_tui.tui.flows.commands import Commands
    from vllm_studio_tui.tui.look.sizes import Size
    from vllm_studio_tui.tui.paint.ink import Ink
    from vllm_studio_tui.tui.screens.chat.completion_list import CompletionList
    from vllm_studio_tui.tui.screens.chat.prompt import PromptArea
    from vllm_studio_tui.tui.screens.chat.state import Chat, ChatState
    from vllm_studio_tui.tui.screens.chat.transcript import Transcript
    from vllm_studio_tui.tui.shell import Shell


class ToolChoosing(Protocol):
    """What is chosen about the tools of chats."""

    async def tools_for(self, chat: Chat) -> ToolChoice | None:
        """Return the tools of a chat; a server of them that nobody has agreed to is asked about first."""

    def of(self, chat: Chat) -> list[tuple[str, bool, str]]:
        """Return the tools of a chat as they are shown: what each is called, whether it is on, whether it asks."""

    def offered(self, chat: Chat) -> list[Tool]:
        """Return the tools of a chat, as far as they were looked up."""


class Attaching(Protocol):
    """What goes with the question that is being written."""

    def look(self) -> None:
        """Show what goes with it now."""

    def sent(self) -> str:
        """Return the words with the texts that go besides them, to be counted."""


class OpenChats(Protocol):
    """The chats that are kept open in tabs."""

    @property
    def several(self) -> bool: ...

    def place(self) -> tuple[int, int]:
        """Return the number of the tab in front, from 1, and how many there are."""

    def read(self, service: ChatApi) -> None:
        """Read their titles. Blocking; called in a thread."""


class ChatScreen(Protocol):
    """The chat screen, as its parts see it."""

    state: ChatState

    @property
    def shell(self) -> Shell: ...
    @property
    def studio(self) -> StudioApi: ...
    @property
    def commands(self) -> Commands: ...
    @property
    def snapshot(self) -> Snapshot | None: ...
    @property
    def ink(self) -> Ink: ...
    @property
    def size_class(self) -> Size: ...
    @property
    def document(self) -> Transcript: ...
    @property
    def prompt(self) -> PromptArea: ...
    @property
    def answers(self) -> Answers:
        """The answers that are being generated, in any chat."""

    @property
    def running(self) -> RunningAnswer | None:
        """The one in the chat that is shown."""

    @property
    def completions(self) -> CompletionList:
        """The list over the prompt."""

    @property
    def chips(self) -> Attaching:
        """What goes with the question that is being written."""

    @property
    def chip_row(self) -> Widget:
        """The row that shows it, over the prompt."""

    @property
    def line_runs(self) -> bool:
        """Whether a line of the prompt runs in the shell."""

    def stop_line(self) -> None:
        """End it."""

    @property
    def tool_flows(self) -> ToolChoosing:
        """What is chosen about the tools of chats."""

    def run_for(self, chat: Chat) -> RunView | None:
        """Return the run that would answer a chat."""

    async def service(self) -> ChatApi:
        """Return the chat service. It is made, and the database opened, away from the event loop."""

    async def open(self, session_id: str, *, leaf: str | None = None) -> None:
        """Show a chat, up to a message; by default to the one it was read up to."""

    async def show_message(self, message: Message) -> None:
        """Show the branch that a message is on, with the cursor on it."""

    def new_chat(self) -> None:
        """Show a new chat."""

    async def save_settings(self, chat: Chat) -> None:
        """Keep what was chosen for a chat."""

    async def reload_list(self) -> None:
        """Read the list of chats again."""

    @property
    def tabs(self) -> OpenChats:
        """The chats that are kept open."""

    async def save_left_off(self) -> None:
        """Keep what is open and unfinished."""

    def show_queue(self) -> None:
        """Draw the questions that wait, or give their room back."""

    def update_place(self) -> None:
        """Draw what may have changed."""
