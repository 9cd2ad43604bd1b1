"""The chat screen: the transcript, the prompt below it, the chats beside it. Layout, drawing, keys."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.chat.answers import Answers, RunningAnswer
from vllm_studio_tui.services.chat_protocols import ChatApi
from vllm_studio_tui.tui.document.blocks import Hint
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.screens.chat.artifacts import ArtifactFlows
from vllm_studio_tui.tui.screens.chat.asking import Asking
from vllm_studio_tui.tui.screens.chat.chat_list import ChatList
from vllm_studio_tui.tui.screens.chat.chips import ChipRow
from vllm_studio_tui.tui.screens.chat.comparing import Comparing
from vllm_studio_tui.tui.screens.chat.consent import WAITS
from vllm_studio_tui.tui.screens.chat.context import ChatMeter, ContextFlows
from vllm_studio_tui.tui.screens.chat.flows import ChatFlows, Doing
from vllm_studio_tui.tui.screens.chat.importing import ImportFlows
from vllm_studio_tui.tui.screens.chat.links import LinkFlows
from vllm_studio_tui.tui.screens.chat.marking import Marking
from vllm_studio_tui.tui.screens.chat.panels import ChatFrame
from vllm_studio_tui.tui.screens.chat.prompt import PromptArea
from vllm_studio_tui.tui.screens.chat.prompting import ChatPrompting
from vllm_studio_tui.tui.screens.chat.state import Chat, ChatState, run_of_chat
from vllm_studio_tui.tui.screens.chat.tabs import Tabs, visible
from vllm_studio_tui.tui.screens.chat.tool_flows import ToolFlows
from vllm_studio_tui.tui.screens.chat.transcript import Transcript
from vllm_studio_tui.tui.terminal.editor import edit_text
from vllm_studio_tui.tui.widgets.canvas import Canvas
from vllm_studio_tui.tui.widgets.find_line import FindLine


class ChatPlace(ChatPrompting):
    """Chats with engines.

    Attributes:
        state: What is shown and what goes on behind it; its own methods alone change it.
        asking: Sends questions and shows the answers.
    """

    SCOPE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("chat")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.state = ChatState()
        self.asking = Asking(self)
        self.meter = ChatMeter(self)
        self._frame = ChatFrame(self, self.meter)
        self._hint_title = ""

    @cached_property
    def artifacts(self) -> ArtifactFlows:
        return ArtifactFlows(self)

    @cached_property
    def comparing(self) -> Comparing:
        return Comparing(self)

    @cached_property
    def context_flows(self) -> ContextFlows:
        return ContextFlows(self)

    @cached_property
    def flows(self) -> ChatFlows:
        return ChatFlows(self)

    @cached_property
    def importing(self) -> ImportFlows:
        return ImportFlows(self)

    @cached_property
    def links(self) -> LinkFlows:
        return LinkFlows(self)

    @cached_property
    def marking(self) -> Marking:
        return Marking(self)

    @cached_property
    def tabs(self) -> Tabs:
        return Tabs(self)

    @cached_property
    def tool_flows(self) -> ToolFlows:
        return ToolFlows(self)

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        frame = self._frame
        with Horizontal():
            yield ChatList(frame.chats, self.get_ink, id="chat-list", header=2)
            with Vertical(id="chat-main"):
                yield Canvas(self.tabs.rows, self.get_ink, id="chat-tabs")
                yield Canvas(frame.head, self.get_ink, id="chat-head")
                yield Transcript(self.get_ink, id="transcript")
                yield Canvas(frame.queue, self.get_ink, id="chat-queue")
                yield self.make_completion()
                yield ChipRow(self.chips, self.get_ink, lambda: self.size_class, id="chat-chips")
                with Horizontal(id="chat-prompt"):
                    yield Canvas(frame.bar, self.get_ink, id="chat-bar")
                    yield PromptArea(id="prompt")
                yield FindLine(self.get_ink, lambda: self.document.hit_words(), id="chat-find")
                yield Canvas(frame.status, self.get_ink, id="chat-status")
            yield Canvas(frame.rail, self.get_ink, id="chat-rail")

    def on_mount(self) -> None:
        self.query_one("#chat-queue").display = self.completions.display = self.chip_row.display = False
        self.query_one("#chat-tabs").display = False
        self.prompt.offered = self.completions.pressed
        self.asking.subscribe()

    def on_unmount(self) -> None:
        self.asking.unsubscribe()

    # --- what it is made of -----------------------------------------------------------------------------

    @property
    def document(self) -> Transcript:
        return self.query_one("#transcript", Transcript)

    @property
    def prompt(self) -> PromptArea:
        return self.query_one("#prompt", PromptArea)

    @property
    def chat(self) -> Chat:
        """The chat that is shown. What waits for something keeps this one: another may be shown then."""
        return self.state.shown

    @property
    def session(self) -> Session | None:
        return self.chat.session

    @property
    def answers(self) -> Answers:
        """The answers that are being generated, in any chat."""
        return self.asking.answers

    @property
    def running(self) -> RunningAnswer | None:
        """The answer that is being generated in the chat that is shown."""
        return self.answers.running.get(self.chat.id) if self.chat.id is not None else None

    def run_for(self, chat: Chat) -> RunView | None:
        """Return the run that would answer a chat."""
        return run_of_chat(chat, self.commands.runs)

    async def service(self) -> ChatApi:
        """Return the chat service. It is made, and the database opened, away from the event loop."""
        return await self.shell.in_thread(lambda: self.studio.chat)

    # --- being shown and left ---------------------------------------------------------------------------

    def focus_first(self) -> None:
        self.prompt.focus()

    # --- drawing ----------------------------------------------------------------------------------------

    def update_place(self) -> None:
        """Draw what a tick can change; the transcript draws itself."""
        self.query_one("#chat-tabs").display = visible(self.size_class, self.tabs)
        for name in (
            "#chat-list",
            "#chat-tabs",
            "#chat-head",
            "#chat-status",
            "#chat-rail",
            "#chat-queue",
            "#chat-bar",
        ):
            self.query_one(name, Canvas).repaint()
        self.query_one("#chat-list", ChatList).rest_on(self.chat.id)
        self.prompt.hint = self.hint if self.asking.consent.waiting is None else WAITS
        self._show_hint()
        self.document.refresh_ages()
        self.asking.send_waiting()
        self.chips.look()
        self.meter.look()

    def _show_hint(self) -> None:
        """Say in an empty chat whom one talks to, or how a model comes up."""
        if self.document.entries:
            return
        title, keys = self._frame.hint()
        if title != self._hint_title:
            self._hint_title = title
            self.document.set_hint(Hint(title, keys))

    def show_queue(self) -> None:
        """Draw the questions that wait, or give their room back."""
        waiting = self.chat.queue
        canvas = self.query_one("#chat-queue", Canvas)
        canvas.display = bool(waiting)
        canvas.styles.height = min(3, len(waiting)) + (1 if waiting else 0)
        canvas.repaint()
        self.update_place()

    def on_prompt_area_grown(self) -> None:
        self.chips.look()
        self.meter.look()
        rows = self.prompt.rows
        holder = self.query_one("#chat-prompt")
        room = max(1, min(rows, self.size.height // 2))
        pad = 2 if self.size_class >= Size.BASE else 0
        if holder.styles.height is None or holder.size.height != room + pad:
            holder.styles.height = room + pad
            self.call_after_refresh(self.document.redraw)

    def on_descendant_focus(self) -> None:
        self.query_one("#chat-bar", Canvas).repaint()

    def on_descendant_blur(self) -> None:
        self.query_one("#chat-bar", Canvas).repaint()

    def on_block_scroll_moved(self) -> None:
        self.query_one("#chat-status", Canvas).repaint()
        self.query_one("#chat-rail", Canvas).repaint()
        self.find_line.update()
        self.shell.update_frame()

    async def show_message(self, message: Message) -> None:
        """Show the branch that a message is on, with the cursor on it."""
        await self.asking.show_message(message)
        self.document.focus()

    # --- what is typed and clicked ----------------------------------------------------------------------

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        if event.action.startswith("chat:"):
            event.stop()
            self.shell.spawn(self.open(event.action[5:]))
        else:
            super().on_canvas_clicked(event)

    def on_chat_list_action_chosen(self, event: ChatList.ActionChosen) -> None:
        event.stop()
        if event.name == "new":
            self.new_chat()
            return
        chosen = {
            "open": self._open_and_write,
            "rename": self.flows.rename,
            "delete": self.flows.delete,
            "pin": self.marking.pin,
            "tags": self.marking.tags,
            "tab": self._keep_tab,
        }[event.name]
        self.shell.spawn(chosen(event.session_id))

    async def _keep_tab(self, session_id: str) -> None:
        self.tabs.keep(session_id)

    async def _open_and_write(self, session_id: str) -> None:
        await self.open(session_id)
        self.prompt.focus()

    def on_transcript_action_chosen(self, event: Transcript.ActionChosen) -> None:
        event.stop()
        message, asking = event.message, self.asking
        if event.name == "edit":
            asking.edit(message)
        elif event.name in ("previous", "next"):
            self.shell.spawn(asking.show_sibling(message, -1 if event.name == "previous" else 1))
        else:
            chosen: dict[str, Doing] = {
                "copy-code": self.flows.copy_code,
                "export": self.flows.export_chat,
                "regenerate": asking.regenerate,
                "continue": asking.continue_answer,
                "fork": asking.fork,
                "tree": self.flows.choose_message,
                "pin": self.marking.bookmark,
                "delete": self.marking.delete,
                "editor": self.marking.open_in_editor,
                "info": self.flows.show_tokens,
                "look": self.flows.look,
                "request": self.comparing.open_lab,
            }
            self.shell.spawn(chosen[event.name](message))

    def on_call_cards_call_answered(self, event: Transcript.CallAnswered) -> None:
        event.stop()
        self.asking.consent.answer(event.name, event.state)

    def on_document_link_clicked(self, event: Transcript.LinkClicked) -> None:
        event.stop()
        self.shell.spawn(self.links.clicked(event.address))

    def on_transcript_new_asked(self, event: Transcript.NewAsked) -> None:
        event.stop()
        self.new_chat()

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if name in ("artifacts", "copy-chat", "find", "links"):
            return bool(self.document.entries)
        if name in ("next-tab", "previous-tab"):
            return self.tabs.several
        return True

    def read_again(self) -> None:
        self.shell.spawn(self.reload_list(), group="chats")
        self.shell.spawn(self.reload_tree(), group="chats")

    def action_new(self) -> None:
        self.new_chat()

    def action_tab(self) -> None:
        self.tabs.keep(self.chat.id)

    def action_next_tab(self) -> None:
        self.shell.spawn(self.tabs.step(1))

    def action_previous_tab(self) -> None:
        self.shell.spawn(self.tabs.step(-1))

    def action_thinking(self) -> None:
        self.document.toggle_thinking()

    def action_chats(self) -> None:
        self.shell.spawn(self.flows.choose_chat())

    def action_model(self) -> None:
        self.shell.spawn(self.flows.choose_model())

    def action_editor(self) -> None:
        text = edit_text(self.shell, self.prompt.text)
        if text is not None:
            self.prompt.set_text(text)

    def action_compare(self) -> None:
        self.shell.spawn(self.comparing.compare())

    def action_compact(self) -> None:
        self.shell.spawn(self.context_flows.compact())

    def action_import(self) -> None:
        self.shell.spawn(self.importing.run())

    def action_load(self) -> None:
        self.shell.spawn(self.context_flows.load())

    def go_on(self, chat: Chat) -> None:
        """Send what waits in a chat, where nothing is in the way any more."""
        self.asking.go_on(chat)

    def action_bookmarks(self) -> None:
        self.shell.spawn(self.marking.choose_bookmark())

    def action_artifacts(self) -> None:
        self.shell.spawn(self.artifacts.choose())

    def action_links(self) -> None:
        self.shell.spawn(self.links.choose())

    def action_tools(self) -> None:
        self.shell.spawn(self.tool_flows.choose())

    def action_copy_chat(self) -> None:
        if self.session is not None:
            self.shell.spawn(self.flows.copy_chat())
