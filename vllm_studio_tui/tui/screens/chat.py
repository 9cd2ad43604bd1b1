"""Chat: a document, the prompt below it, the chats beside it."""

from __future__ import annotations

import threading
import time
from functools import cached_property, partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from vllm_studio_tui.domain.chat import Ended, Message, Sampling, Session, StreamEvent, Target
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.branches import branch_of, sibling_leaf
from vllm_studio_tui.services.desk import load_desk, save_desk
from vllm_studio_tui.tui import actions
from vllm_studio_tui.tui.chat_flows import ChatFlows
from vllm_studio_tui.tui.document.blocks import Hint
from vllm_studio_tui.tui.document.view import Document, Entry
from vllm_studio_tui.tui.editor import edit_text
from vllm_studio_tui.tui.paint import chat as paint
from vllm_studio_tui.tui.paint.ink import Row
from vllm_studio_tui.tui.place import Place
from vllm_studio_tui.tui.sizes import Size
from vllm_studio_tui.tui.turns import Turn, Turns
from vllm_studio_tui.tui.widgets.canvas import Canvas, ListCanvas
from vllm_studio_tui.tui.widgets.prompt import PromptArea

#: Chats in the list beside the document; all of them are behind ctrl+o.
LISTED = 60
#: Seconds after the chat was first shown in which nothing large is imported.
AFTER_PAINT = 0.4


class Transcript(Document):
    """The document with its keys."""

    SCOPE = "transcript"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("transcript")]

    @property
    def place(self) -> ChatPlace:
        return next(node for node in self.ancestors if isinstance(node, ChatPlace))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        known = actions.BY_ID.get(f"transcript.{action.replace('_', '-')}")
        if known is None:
            return super().check_action(action, parameters)
        if known.writes and self.place.studio_app.read_only:
            return False
        return self.place.possible_here(known.name)

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
            self.place.studio_app.copy(entry.message.content)

    def action_copy_code(self) -> None:
        if (entry := self.message) is not None:
            self.place.studio_app.spawn(self.place.flows.copy_code(entry.message))

    def action_regenerate(self) -> None:
        if (entry := self.message) is not None:
            self.place.studio_app.spawn(self.place.regenerate(entry.message))

    def action_continue(self) -> None:
        if (entry := self.message) is not None:
            self.place.studio_app.spawn(self.place.continue_answer(entry.message))

    def action_edit(self) -> None:
        if (entry := self.message) is not None:
            self.place.edit(entry.message)

    def action_fork(self) -> None:
        if (entry := self.message) is not None:
            self.place.studio_app.spawn(self.place.fork(entry.message))

    def action_previous(self) -> None:
        self._turn_to(-1)

    def action_next(self) -> None:
        self._turn_to(1)

    def _turn_to(self, step: int) -> None:
        if (entry := self.message) is not None:
            self.place.studio_app.spawn(self.place.sibling(entry.message, step))


class ChatPlace(Place):
    """Chats with engines."""

    SCOPE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [*actions.bindings("chat")]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.session: Session | None = None
        self.settings: dict[str, Any] = {}
        self.recipe: str | None = None
        self.queue: dict[str, list[str]] = {}
        self.editing: Message | None = None
        self.messages_tree: list[Message] = []
        self._sessions: list[Session] = []
        self._total = 0
        self._started = False
        self._waiting_for: str | None = None
        self._hinted = ""
        self.turns = Turns(self._told, self._over)

    @cached_property
    def flows(self) -> ChatFlows:
        return ChatFlows(self)

    @cached_property
    def desk(self) -> Any:
        return load_desk(self.studio.places)

    # --- layout -----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield ListCanvas(self._paint_list, self.get_ink, id="chat-list", header=2)
            with Vertical(id="chat-main"):
                yield Canvas(self._paint_head, self.get_ink, id="chat-head")
                yield Transcript(self.get_ink, id="transcript")
                yield Canvas(self._paint_queue, self.get_ink, id="chat-queue")
                with Horizontal(id="chat-prompt"):
                    yield Canvas(self._paint_bar, self.get_ink, id="chat-bar")
                    yield PromptArea(id="prompt")
                yield Input(placeholder="find in this chat", id="chat-find")
                yield Canvas(self._paint_status, self.get_ink, id="chat-status")
            yield Canvas(self._paint_rail, self.get_ink, id="chat-rail")

    def on_mount(self) -> None:
        self.query_one("#chat-find").display = False
        self.query_one("#chat-queue").display = False
        self.query_one("#chat-list", ListCanvas).can_focus = False

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
            self.studio_app.spawn(self._restore(), group="chats")
            self.set_timer(AFTER_PAINT, self._load_client)
        else:
            self.studio_app.spawn(self.reload_list(), group="chats")

    def _load_client(self) -> None:
        """Import what the first answer needs while nobody waits for it: it takes most of a second."""
        from vllm_studio_tui.inference.client import load

        threading.Thread(target=load, name="chat-imports", daemon=True).start()

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
        self._sessions, self._total = await self.studio_app.in_thread(
            lambda: (chat.sessions.list(limit=LISTED), chat.sessions.count())
        )
        self.update_place()

    def update_place(self) -> None:
        """Only what a tick can change is looked at; the document draws itself."""
        for name in ("#chat-list", "#chat-head", "#chat-status", "#chat-rail", "#chat-queue", "#chat-bar"):
            self.query_one(name, Canvas).repaint()
        self._hint()
        self.document.refresh_ages()
        self._send_what_waited()

    def _hint(self) -> None:
        """An empty chat says whom one talks to, or how a model comes up."""
        if self.document.entries:
            return
        run = self.target_run()
        name = run.name if run is not None else self.recipe
        if name is None:
            title, keys = "No model is up.", [("f2", "choose or launch one"), ("alt+1", "dashboard")]
        else:
            title = f"Ask {name} anything."
            keys = [("enter", "send"), ("^j", "new line"), ("^o", "earlier chats"), ("f2", "another model")]
        if title != self._hinted:
            self._hinted = title
            self.document.set_hint(Hint(title, keys))

    # --- painting ---------------------------------------------------------------------------------------

    @property
    def turn(self) -> Turn | None:
        """The answer that comes in the chat that is shown."""
        return self.turns.going.get(self.session.id) if self.session is not None else None

    def target_run(self) -> RunView | None:
        """The run that would answer."""
        if self.recipe is not None:
            return self.studio_app.commands.run_of(self.recipe)
        live = [run for run in self.studio_app.commands.runs if run.live]
        answering = [run for run in live if run.state in (State.READY, State.UNHEALTHY)]
        return next(iter(answering or live), None)

    def view(self) -> paint.ChatView:
        """What is shown around the document."""
        run = self.target_run()
        snapshot = self.snapshot
        metrics = snapshot.engine(run.run_id) if snapshot is not None and run is not None else None
        return paint.ChatView(
            self.session,
            run,
            self.recipe,
            metrics,
            self.settings,
            self.turn,
            self.context(run),
            len(self.queue.get(self.session.id if self.session else "", ())),
            self.document.following,
            self.editing is not None,
            self._waiting_for,
        )

    def context(self, run: RunView | None) -> tuple[int | None, int | None]:
        """Tokens that the chat takes, as the engine counted them with the last answer, and the most there may be."""
        used = None
        for entry in reversed(self.document.entries):
            usage = entry.message.usage
            if usage.total_tokens is not None:
                used = usage.total_tokens
                break
        limit = run.spec.recipe.get("max_model_len") if run is not None and run.spec is not None else None
        return used, limit if isinstance(limit, int) and limit > 0 else None

    def _paint_list(self, width: int, height: int) -> list[Row]:
        here = self.session.id if self.session is not None else None
        return paint.session_rows(
            self._sessions, self._total, here, width, height, time.time(), self.turns.going, self.ink.glyphs
        )

    def _paint_head(self, width: int, height: int) -> list[Row]:
        return paint.head_rows(self.view(), self.ink.glyphs, width, self.size_class)

    def _paint_status(self, width: int, height: int) -> list[Row]:
        return [paint.status_row(self.view(), self.ink.glyphs, width, self.size_class)]

    def _paint_rail(self, width: int, height: int) -> list[Row]:
        return paint.rail_rows(self.view(), self.ink.glyphs, width, height)

    def _paint_queue(self, width: int, height: int) -> list[Row]:
        waiting = self.queue.get(self.session.id if self.session else "", ())
        return paint.queue_rows(waiting, width, height)

    def _paint_bar(self, width: int, height: int) -> list[Row]:
        focused = self.prompt.has_focus
        rows = []
        for _ in range(height):
            row = Row(plane="surf")
            glyphs = self.ink.glyphs
            row.put(0, glyphs.cursor if focused else glyphs.block, "accent" if focused else "track")
            rows.append(row)
        return rows

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
        self.studio_app.update_frame()

    # --- sessions ---------------------------------------------------------------------------------------

    async def open(self, session_id: str, *, leaf: str | None = None) -> None:
        """Show a chat, at its end."""
        chat = self.studio.chat

        def read() -> tuple[Session, list[Message], str | None]:
            chat.settle_interrupted()
            return chat.sessions.get(session_id), chat.messages.tree(session_id), chat.messages.leaf(session_id)

        session, tree, here = await self.studio_app.in_thread(read)
        self._keep_draft()
        self.session, self.messages_tree = session, tree
        self.settings = dict(session.settings)
        if isinstance(self.settings.get("recipe"), str):
            self.recipe = self.settings["recipe"]
        self.editing = None
        self._show(leaf or here)
        self.prompt.set_text(self.desk.draft(session_id))
        self.desk.session = session_id
        self.update_place()

    def _show(self, leaf: str | None) -> None:
        """Show the branch of a leaf; an answer that is coming goes on."""
        turn = self.turn
        entries = [Entry(message, sibling) for message, sibling in branch_of(self.messages_tree, leaf)]
        coming = None
        if turn is not None and entries and entries[-1].message.finish == "streaming":
            coming = entries.pop()
        self.document.show_entries(entries, spacious=self.size_class >= Size.FULL)
        if coming is not None and turn is not None:
            from vllm_studio_tui.domain.chat import Delta

            self.document.begin(coming)
            self.document.feed(Delta("".join(turn.content), "".join(turn.reasoning)))

    async def new_with(self, recipe_id: str | None) -> None:
        """A new chat, with a recipe."""
        if recipe_id is not None:
            self.recipe = recipe_id
        self.action_new()
        self.prompt.focus()

    def action_new(self) -> None:
        """The chat begins to exist with its first question."""
        self._keep_draft()
        self.session, self.messages_tree, self.editing = None, [], None
        self.settings = {key: value for key, value in self.settings.items() if key in ("recipe",)}
        self.document.show_entries([])
        self.prompt.set_text(self.desk.draft(None))
        self.desk.session = None
        self.prompt.focus()
        self.update_place()

    def _keep_draft(self) -> None:
        if self.editing is None:
            self.desk.draft(self.session.id if self.session else None, self.prompt.text)

    async def leaving(self) -> None:
        """The studio closes: what is coming is kept, and so is what was not sent."""
        for session_id, waiting in self.queue.items():
            if waiting:
                self.desk.draft(session_id or None, "\n\n".join(waiting))
        self._keep_draft()
        self.desk.recipe = self.recipe
        await self.turns.stop_all()
        await self.studio_app.in_thread(partial(save_desk, self.studio.places, self.desk))

    def hidden(self) -> None:
        if self._started:
            self._keep_draft()
            self.desk.recipe = self.recipe
            self.studio_app.spawn(self.studio_app.in_thread(partial(save_desk, self.studio.places, self.desk)))

    def on_canvas_clicked(self, event: Canvas.Clicked) -> None:
        if event.action.startswith("chat:"):
            event.stop()
            self.studio_app.spawn(self.open(event.action[5:]))
        else:
            super().on_canvas_clicked(event)

    # --- asking -----------------------------------------------------------------------------------------

    def on_prompt_area_sent(self, event: PromptArea.Sent) -> None:
        event.stop()
        text = event.text.strip("\n")
        if not text.strip():
            return
        if self.studio_app.read_only:
            self.studio_app.tell("read-only: nothing is sent", "warning")
            return
        self.desk.remember(text)
        self.prompt.earlier = self.desk.history
        self.prompt.set_text("")
        self.desk.draft(self.session.id if self.session else None, "")
        editing, self.editing = self.editing, None
        if editing is not None:
            self.studio_app.spawn(self._ask_again(editing, text))
        elif self.turn is not None or self._waiting_for is not None:
            self._queue(text)
        else:
            self.studio_app.spawn(self.ask(text))

    def _queue(self, text: str, *, first: bool = False) -> None:
        key = self.session.id if self.session is not None else ""
        waiting = self.queue.setdefault(key, [])
        waiting.insert(0 if first else len(waiting), text)
        self._show_queue()

    def _show_queue(self) -> None:
        waiting = self.queue.get(self.session.id if self.session else "", ())
        canvas = self.query_one("#chat-queue", Canvas)
        canvas.display = bool(waiting)
        canvas.styles.height = min(3, len(waiting)) + (1 if waiting else 0)
        canvas.repaint()
        self.update_place()

    async def ask(self, text: str) -> None:
        """Ask something; while the engine loads it waits, and is then sent."""
        target = await self._target()
        if target is None:
            run = self.target_run()
            if run is not None and run.live:
                self._waiting_for = run.run_id
                self._queue(text, first=True)
            else:
                self.prompt.set_text(text)
            return
        chat = self.studio.chat
        if self.session is None:
            settings = {**self.settings, **({"recipe": self.recipe} if self.recipe else {})}
            session_id = await self.studio_app.in_thread(
                lambda: chat.new_session(text, model=target.model, settings=settings)
            )
            self.session = await self.studio_app.in_thread(lambda: chat.sessions.get(session_id))
            if self.queue.get(""):
                self.queue[session_id] = self.queue.pop("")
            self.desk.session = session_id
        self._begin(chat.send(self.session.id, text, target, sampling=self.sampling()), question=text)

    async def _target(self) -> Target | None:
        """Where the question goes; None where nothing answers yet, which is said."""
        run = self.target_run()
        if run is not None and run.live and run.state not in (State.READY, State.UNHEALTHY):
            return None
        name = self.recipe or (run.recipe_id if run is not None else None)
        if name is None:
            self.studio_app.tell("No model is up. l on the dashboard launches one.", "warning")
            return None
        try:
            target = await self.studio_app.in_thread(partial(self.studio.launcher.target, recipe=name))
        except StudioError as error:
            self.studio_app.tell_error(error)
            return None
        self.recipe = target.recipe_id or name
        return target

    def sampling(self) -> Sampling:
        """What shapes answers in this chat."""
        settings = self.settings
        return Sampling(
            temperature=settings.get("temperature"),
            top_p=settings.get("top_p"),
            max_tokens=settings.get("max_tokens"),
            thinking=settings.get("thinking"),
        )

    def _begin(self, events: Any, *, question: str | None = None) -> None:
        assert self.session is not None
        if question is not None:
            message = Message("", self.session.id, "user", question)
            self.document.add(Entry(message), spacious=self.size_class >= Size.FULL)
        self.document.begin(Entry(Message("", self.session.id, "assistant", "", finish="streaming")))
        self.turns.start(self.session.id, events)
        self.update_place()

    def _told(self, turn: Turn, event: StreamEvent) -> None:
        if self.session is not None and turn.session_id == self.session.id and not isinstance(event, Ended):
            self.document.feed(event)

    def _over(self, turn: Turn, failed: StudioError | None) -> None:
        if failed is not None:
            self.studio_app.tell_error(failed)
        self.studio_app.spawn(self._ended(turn), group="chats")

    async def _ended(self, turn: Turn) -> None:
        """Show the end as it was kept, and send what waited."""
        if self.session is not None and self.session.id == turn.session_id:
            chat = self.studio.chat
            session_id = turn.session_id
            self.session, self.messages_tree, leaf = await self.studio_app.in_thread(
                lambda: (chat.sessions.get(session_id), chat.messages.tree(session_id), chat.messages.leaf(session_id))
            )
            entries = [Entry(message, sibling) for message, sibling in branch_of(self.messages_tree, leaf)]
            if self.document.live is not None and len(entries) == len(self.document.entries):
                for index, entry in enumerate(entries[:-1]):
                    self.document.entries[index] = entry
                self.document.finish(entries[-1])
            else:
                self._show(leaf)
        self.studio.sampler.wake()
        await self.reload_list()
        waiting = self.queue.get(turn.session_id)
        if waiting and self.session is not None and self.session.id == turn.session_id:
            text = waiting.pop(0)
            self._show_queue()
            await self.ask(text)

    def _send_what_waited(self) -> None:
        """A question that was written while the engine loaded is sent when it is ready."""
        if self._waiting_for is None:
            return
        run = self.studio_app.commands.run_of(self._waiting_for)
        if run is None or run.status.final:
            self._waiting_for = None
            key = self.session.id if self.session is not None else ""
            texts = self.queue.pop(key, [])
            self.prompt.set_text("\n\n".join(texts))
            self._show_queue()
            self.studio_app.tell("The engine did not come up; the question is back in the prompt.", "warning")
        elif run.state in (State.READY, State.UNHEALTHY):
            self._waiting_for = None
            key = self.session.id if self.session is not None else ""
            waiting = self.queue.get(key)
            if waiting:
                text = waiting.pop(0)
                self._show_queue()
                self.studio_app.spawn(self.ask(text))

    # --- answers ----------------------------------------------------------------------------------------

    def possible_here(self, name: str) -> bool:
        """Whether something can be done with the message under the cursor."""
        entry = self.document.message
        if name in ("up", "down", "page-up", "page-down", "first", "last", "find"):
            return True
        if name in ("find-next", "find-previous"):
            return bool(self.document.words)
        if entry is None:
            return False
        role = entry.message.role
        if name in ("regenerate",):
            return role in ("user", "assistant") and self.turn is None
        if name == "continue":
            cut = entry.message.finish in ("stopped", "interrupted", "length")
            return role == "assistant" and cut and self.turn is None
        if name == "edit":
            return role == "user"
        if name in ("previous", "next"):
            return entry.sibling[1] > 1
        return True

    async def regenerate(self, message: Message) -> None:
        target = await self._target()
        if target is None or self.session is None or self.turn is not None:
            return
        kept = self._until(message if message.role == "user" else None, message)
        self.document.show_entries(kept, spacious=self.size_class >= Size.FULL)
        self._begin(self.studio.chat.regenerate(self.session.id, message.id, target, sampling=self.sampling()))

    def _until(self, last: Message | None, message: Message) -> list[Entry]:
        """What stands before the new answer."""
        out: list[Entry] = []
        for entry in self.document.entries:
            if entry.message.id == message.id:
                return [*out, entry] if last is not None else out
            out.append(entry)
        return out

    async def continue_answer(self, message: Message) -> None:
        target = await self._target()
        if target is None or self.session is None or self.turn is not None:
            return
        self.document.show_entries(self._until(None, message), spacious=self.size_class >= Size.FULL)
        self._begin(self.studio.chat.continue_answer(self.session.id, message.id, target, sampling=self.sampling()))
        from vllm_studio_tui.domain.chat import Delta

        self.document.feed(Delta(message.content, message.reasoning))

    def edit(self, message: Message) -> None:
        """Put a question into the prompt, to be asked anew in its place."""
        if message.role != "user" or self.turn is not None:
            return
        self._keep_draft()
        self.editing = message
        self.prompt.set_text(message.content)
        self.prompt.focus()
        self.update_place()

    async def _ask_again(self, message: Message, text: str) -> None:
        target = await self._target()
        if target is None or self.session is None:
            self.prompt.set_text(text)
            return
        self.document.show_entries(self._until(None, message), spacious=self.size_class >= Size.FULL)
        self._begin(
            self.studio.chat.edit(self.session.id, message.id, text, target, sampling=self.sampling()), question=text
        )

    async def sibling(self, message: Message, step: int) -> None:
        """Read another answer to the same question."""
        leaf = sibling_leaf(self.messages_tree, message.id, step)
        if leaf is None or self.session is None or self.turn is not None:
            return
        session_id = self.session.id
        await self.studio_app.in_thread(lambda: self.studio.chat.sessions.set_leaf(session_id, leaf))
        self._show(leaf)
        self.document.move(0)

    async def fork(self, message: Message) -> None:
        if self.session is None:
            return
        session_id = self.session.id
        made = await self.studio_app.in_thread(lambda: self.studio.chat.sessions.fork(session_id, message.id))
        await self.open(made.id)
        await self.reload_list()
        self.studio_app.tell("This is a copy up to here; the chat it came from stays.")

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
        if self.session is not None and self.turns.stop(self.session.id):
            return True
        if self._waiting_for is not None:
            self._waiting_for = None
            texts = self.queue.pop(self.session.id if self.session else "", [])
            self.prompt.set_text("\n\n".join(texts))
            self._show_queue()
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
        self.studio_app.spawn(self.flows.choose_chat())

    def action_model(self) -> None:
        self.studio_app.spawn(self.flows.choose_model())

    def action_settings(self) -> None:
        self.studio_app.spawn(self.flows.change_settings())

    def action_editor(self) -> None:
        text = edit_text(self.studio_app, self.prompt.text)
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
            self.studio_app.spawn(self.flows.copy_chat())

    async def save_settings(self) -> None:
        """Keep what was chosen for this chat; read-only it holds as long as the screen."""
        if self.session is not None and not self.studio_app.read_only:
            session_id, settings = self.session.id, dict(self.settings)
            await self.studio_app.in_thread(lambda: self.studio.chat.sessions.set_settings(session_id, settings))
        self.update_place()
