"""Chat: a document, the prompt below it, the chats beside it."""

from __future__ import annotations

import contextlib
from functools import cached_property, partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.errors import NotFound, StoreError
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.chat.answers import Answers, RunningAnswer, load_client
from vllm_studio_tui.services.chat.left_off import load_desk, save_desk
from vllm_studio_tui.tui.document.blocks import Hint
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.screens.chat.asking import Answering
from vllm_studio_tui.tui.screens.chat.flows import ChatFlows
from vllm_studio_tui.tui.screens.chat.frame import ChatFrame
from vllm_studio_tui.tui.screens.chat.prompt import PromptArea
from vllm_studio_tui.tui.screens.chat.state import Chat, Chats, run_of_chat
from vllm_studio_tui.tui.screens.chat.transcript import Transcript
from vllm_studio_tui.tui.terminal.editor import edit_text
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas

#: Chats in the list beside the document; all of them are behind ctrl+o.
LISTED = 60
#: Seconds after the chat was first shown in which nothing large is imported.
AFTER_PAINT = 0.4


class ChatPlace(Place):
    """Chats with engines."""

    SCOPE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("chat")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.chats = Chats()
        self.editing: Message | None = None
        self.messages_tree: list[Message] = []
        self.listed: list[Session] = []
        self.total = 0
        self._started = False
        self._hinted = ""
        self._opening: object = None
        self._frame = ChatFrame(self)
        self.asking = Answering(self)

    # What is shown belongs to one chat. Whoever waits for something keeps the chat itself.
    @property
    def chat(self) -> Chat:
        return self.chats.shown

    @property
    def session(self) -> Session | None:
        return self.chat.session

    @property
    def settings(self) -> dict[str, Any]:
        return self.chat.settings

    @property
    def recipe(self) -> str | None:
        return self.chat.recipe

    @recipe.setter
    def recipe(self, recipe_id: str | None) -> None:
        self.chat.recipe = recipe_id

    @property
    def answers(self) -> Answers:
        """The answers that are being generated, in any chat."""
        return self.asking.answers

    @cached_property
    def flows(self) -> ChatFlows:
        return ChatFlows(self)

    @cached_property
    def desk(self) -> Any:
        return load_desk(self.studio.places)

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        frame = self._frame
        with Horizontal():
            yield ListCanvas(frame.chats, self.get_ink, id="chat-list", header=2)
            with Vertical(id="chat-main"):
                yield Canvas(frame.head, self.get_ink, id="chat-head")
                yield Transcript(self.get_ink, id="transcript")
                yield Canvas(frame.queue, self.get_ink, id="chat-queue")
                with Horizontal(id="chat-prompt"):
                    yield Canvas(frame.bar, self.get_ink, id="chat-bar")
                    yield PromptArea(id="prompt")
                yield Input(placeholder="find in this chat", id="chat-find")
                yield Canvas(frame.status, self.get_ink, id="chat-status")
            yield Canvas(frame.rail, self.get_ink, id="chat-rail")

    def on_mount(self) -> None:
        self.query_one("#chat-find").display = False
        self.query_one("#chat-queue").display = False
        self.query_one("#chat-list", ListCanvas).can_focus = False
        self.asking.follow()

    def on_unmount(self) -> None:
        self.asking.unfollow()

    @property
    def document(self) -> Transcript:
        return self.query_one("#transcript", Transcript)

    @property
    def prompt(self) -> PromptArea:
        return self.query_one("#prompt", PromptArea)

    def focus_first(self) -> None:
        self.prompt.focus()

    def shown(self) -> None:
        super().shown()
        if not self._started:
            self._started = True
            self.prompt.earlier = self.desk.history
            self.recipe = self.desk.recipe
            self.shell.spawn(self._restore(), group="chats")
            self.set_timer(AFTER_PAINT, load_client)
        else:
            self.shell.spawn(self.reload_list(), group="chats")

    async def _restore(self) -> None:
        """Open the chat that was open last."""
        session = self.desk.session
        self.prompt.set_text(self.desk.draft(session))
        await self.reload_list()
        if session is not None and self.session is None:
            try:
                await self.open(session)
            except NotFound:
                self.desk.session = None

    async def reload_list(self) -> None:
        chat = self.studio.chat
        self.listed, self.total = await self.shell.in_thread(
            lambda: (chat.sessions.list(limit=LISTED), chat.sessions.count())
        )
        self.update_place()

    def update_place(self) -> None:
        """Only what a tick can change is looked at; the document draws itself."""
        for name in ("#chat-list", "#chat-head", "#chat-status", "#chat-rail", "#chat-queue", "#chat-bar"):
            self.query_one(name, Canvas).repaint()
        self._hint()
        self.document.refresh_ages()
        self.asking.send_what_waited()

    def _hint(self) -> None:
        """An empty chat says whom one talks to, or how a model comes up."""
        if self.document.entries:
            return
        title, keys = self._frame.hint()
        if title != self._hinted:
            self._hinted = title
            self.document.set_hint(Hint(title, keys))

    # --- painting ---------------------------------------------------------------------------------------

    @property
    def turn(self) -> RunningAnswer | None:
        """The answer that comes in the chat that is shown."""
        return self.answers.running.get(self.session.id) if self.session is not None else None

    def target_run(self) -> RunView | None:
        """The run that would answer."""
        return self.run_for(self.chat)

    def run_for(self, chat: Chat) -> RunView | None:
        """The run that would answer a chat."""
        return run_of_chat(chat, list(self.commands.runs))

    def on_prompt_area_grown(self) -> None:
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
        self.shell.update_frame()

    # --- sessions ---------------------------------------------------------------------------------------

    async def open(self, session_id: str, *, leaf: str | None = None) -> None:
        """Show a chat, at its end."""
        service = self.studio.chat
        self._opening = opening = object()

        def read() -> tuple[Session, list[Message], str | None]:
            if not self.shell.read_only:
                with contextlib.suppress(StoreError):  # what cannot be settled now is shown as it is
                    service.settle_interrupted()
            return service.sessions.get(session_id), service.tree(session_id), service.messages.leaf(session_id)

        session, tree, here = await self.shell.in_thread(read)
        if self._opening is not opening:
            return  # another chat was opened meanwhile
        self.keep_draft()
        chat = self.chats.of(session_id) or Chat()
        chat.session = session
        chat.settings = dict(session.settings)
        recipe = chat.settings.get("recipe")
        chat.recipe = recipe if isinstance(recipe, str) else None
        self.chats.show(chat)
        self.messages_tree = tree
        self.editing = None
        self.asking.show_branch(leaf or here)
        self.prompt.set_text(self.desk.draft(session_id))
        self.desk.session = session_id
        self.show_queue()

    async def new_with(self, recipe_id: str | None) -> None:
        """A new chat, with a recipe."""
        self.action_new()
        if recipe_id is not None:
            self.recipe = recipe_id
            self.update_place()
        self.prompt.focus()

    def action_new(self) -> None:
        """The chat begins to exist with its first question."""
        self.keep_draft()
        self._opening = None
        settings = {key: value for key, value in self.settings.items() if key in ("recipe",)}
        self.chats.show(Chat(recipe=self.recipe, settings=settings))
        self.messages_tree, self.editing = [], None
        self.document.show_entries([])
        self.prompt.set_text(self.desk.draft(None))
        self.desk.session = None
        self.prompt.focus()
        self.show_queue()

    def keep_draft(self) -> None:
        if self.editing is None:
            self.desk.draft(self.session.id if self.session else None, self.prompt.text)

    async def leaving(self) -> None:
        """The studio closes: what is coming is kept, and so is what was not sent."""
        self.keep_draft()
        for chat in self.chats.all():
            if chat.queue:
                self.desk.draft(chat.id, "\n\n".join(filter(str.strip, (*chat.queue, self.desk.draft(chat.id)))))
        self.desk.recipe = self.recipe
        await self.answers.stop_all()
        await self.shell.in_thread(partial(save_desk, self.studio.places, self.desk))

    def hidden(self) -> None:
        if self._started:
            self.keep_draft()
            self.desk.recipe = self.recipe
            self.shell.spawn(self.shell.in_thread(partial(save_desk, self.studio.places, self.desk)))

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        if event.action.startswith("chat:"):
            event.stop()
            self.shell.spawn(self.open(event.action[5:]))
        else:
            super().on_canvas_clicked(event)

    # --- asking -----------------------------------------------------------------------------------------

    def on_prompt_area_sent(self, event: PromptArea.Sent) -> None:
        event.stop()
        text = event.text.strip("\n")
        if not text.strip():
            return
        if self.shell.read_only:
            self.shell.tell("read-only: nothing is sent", "warning")
            return
        self.desk.remember(text)
        self.prompt.earlier = self.desk.history
        self.prompt.set_text("")
        self.desk.draft(self.session.id if self.session else None, "")
        editing, self.editing = self.editing, None
        if editing is not None:
            self.shell.spawn(self.asking.ask_again(self.chat, editing, text))
        else:
            self.asking.take(self.chat, text)

    def show_queue(self) -> None:
        """Draw the questions that wait, or give their room back."""
        waiting = self.chat.queue
        canvas = self.query_one("#chat-queue", Canvas)
        canvas.display = bool(waiting)
        canvas.styles.height = min(3, len(waiting)) + (1 if waiting else 0)
        canvas.repaint()
        self.update_place()

    # --- actions ----------------------------------------------------------------------------------------

    def possible(self, name: str) -> bool:
        if name in ("copy-chat", "find"):
            return bool(self.document.entries)
        return True

    def escape(self) -> bool:
        """Close the search, leave the edit, stop the answer; in this order."""
        find = self.query_one("#chat-find", Input)
        if find.display:
            find.display = False
            self.document.find("")
            self.document.focus()
            return True
        if self.document.words:
            self.document.find("")
            return True
        if self.document.selection:
            self.document.selection.clear()
            self.document.redraw()
            return True
        if self.editing is not None:
            self.editing = None
            self.prompt.set_text(self.desk.draft(self.session.id if self.session else None))
            self.update_place()
            return True
        if self.session is not None and self.answers.stop(self.session.id):
            return True
        if self.chat.waiting_for is not None:
            self.asking.give_back(self.chat, self.asking.take_back(self.chat))
            return True
        if self.document.has_focus:
            self.prompt.focus()
            return True
        if not self.document.following:
            self.document.to_end()
            return True
        return False

    def action_transcript(self) -> None:
        (self.prompt if self.document.has_focus else self.document).focus()

    def action_thinking(self) -> None:
        self.document.toggle_thinking()

    def action_chats(self) -> None:
        self.shell.spawn(self.flows.choose_chat())

    def action_model(self) -> None:
        self.shell.spawn(self.flows.choose_model())

    def action_settings(self) -> None:
        self.shell.spawn(self.flows.change_settings())

    def action_editor(self) -> None:
        text = edit_text(self.shell, self.prompt.text)
        if text is not None:
            self.prompt.set_text(text)

    def action_find(self) -> None:
        find = self.query_one("#chat-find", Input)
        find.display = True
        find.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "chat-find":
            event.stop()
            self.document.find(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "chat-find":
            event.stop()
            event.input.display = False
            self.document.focus()

    def action_copy_chat(self) -> None:
        if self.session is not None:
            self.shell.spawn(self.flows.copy_chat())

    async def save_settings(self, chat: Chat) -> None:
        """Keep what was chosen for a chat; read-only it holds as long as the screen."""
        if chat.id is not None and not self.shell.read_only:
            session_id, settings = chat.id, dict(chat.settings)
            await self.shell.in_thread(lambda: self.studio.chat.sessions.set_settings(session_id, settings))
        self.update_place()
