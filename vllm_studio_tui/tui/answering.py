"""Asking, and what follows: questions that wait, answers that come, and the branches they make."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Delta, Ended, Message, Sampling, StreamEvent, Target
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.services.branches import branch_of, sibling_leaf
from vllm_studio_tui.tui.document.view import Entry
from vllm_studio_tui.tui.sizes import Size
from vllm_studio_tui.tui.turns import Turn, Turns

if TYPE_CHECKING:
    from vllm_studio_tui.tui.screens.chat import ChatPlace


class Answering:
    """Questions and answers of all chats; the one that is shown is drawn as they come.

    Attributes:
        turns: Answers that are coming.
        queue: Questions that wait, by chat; the empty key is the chat that does not exist yet.
        waiting_for: The run that has to be ready before a question is sent.
    """

    def __init__(self, place: ChatPlace) -> None:
        self._place = place
        self.turns = Turns(self._told, self._over)
        self.queue: dict[str, list[str]] = {}
        self.waiting_for: str | None = None

    # --- questions --------------------------------------------------------------------------------------

    @property
    def _key(self) -> str:
        session = self._place.session
        return session.id if session is not None else ""

    @property
    def waiting(self) -> list[str]:
        """Questions that wait in the chat that is shown."""
        return self.queue.get(self._key, [])

    def take(self, text: str) -> None:
        """A question: send it, or let it wait for the answer before it or for the engine."""
        if self._place.turn is not None or self.waiting_for is not None:
            self._wait(text)
        else:
            self._place.studio_app.spawn(self.ask(text))

    def _wait(self, text: str, *, first: bool = False) -> None:
        waiting = self.queue.setdefault(self._key, [])
        waiting.insert(0 if first else len(waiting), text)
        self._place.show_queue()

    def take_back(self) -> str:
        """Give up waiting for the engine: what waited in the chat that is shown."""
        self.waiting_for = None
        text = "\n\n".join(self.queue.pop(self._key, []))
        self._place.show_queue()
        return text

    async def ask(self, text: str) -> None:
        """Ask something; while the engine loads it waits, and is then sent."""
        place = self._place
        target = await self._target()
        if target is None:
            run = place.target_run()
            if run is not None and run.live:
                self.waiting_for = run.run_id
                self._wait(text, first=True)
            else:
                place.prompt.set_text(text)
            return
        chat = place.studio.chat
        if place.session is None:
            settings = {**place.settings, **({"recipe": place.recipe} if place.recipe else {})}
            session_id = await place.studio_app.in_thread(
                lambda: chat.new_session(text, model=target.model, settings=settings)
            )
            place.session = await place.studio_app.in_thread(lambda: chat.sessions.get(session_id))
            if self.queue.get(""):
                self.queue[session_id] = self.queue.pop("")
            place.desk.session = session_id
            place.studio_app.spawn(place.reload_list(), group="chats")
        self._begin(chat.send(place.session.id, text, target, sampling=self._sampling()), question=text)

    def send_what_waited(self) -> None:
        """A question that was written while the engine loaded is sent when it is ready."""
        if self.waiting_for is None:
            return
        place = self._place
        run = place.studio_app.commands.run_of(self.waiting_for)
        if run is None or run.status.final:
            place.prompt.set_text(self.take_back())
            place.studio_app.tell("The engine did not come up; the question is back in the prompt.", "warning")
        elif run.state in (State.READY, State.UNHEALTHY):
            self.waiting_for = None
            self._next(self.waiting)

    def _next(self, waiting: list[str]) -> None:
        if waiting:
            text = waiting.pop(0)
            self._place.show_queue()
            self._place.studio_app.spawn(self.ask(text))

    def edit(self, message: Message) -> None:
        """Put a question into the prompt, to be asked anew in its place."""
        place = self._place
        if message.role != "user" or place.turn is not None:
            return
        place.keep_draft()
        place.editing = message
        place.prompt.set_text(message.content)
        place.prompt.focus()
        place.update_place()

    async def ask_again(self, message: Message, text: str) -> None:
        """Ask an edited question in the place of an earlier one, which stays as its sibling."""
        place = self._place
        target = await self._target()
        if target is None or place.session is None:
            place.prompt.set_text(text)
            return
        place.document.show_entries(self._until(None, message), spacious=self._spacious)
        self._begin(
            place.studio.chat.edit(place.session.id, message.id, text, target, sampling=self._sampling()), question=text
        )

    async def regenerate(self, message: Message) -> None:
        """Answer a question once more; the answer that is there stays as a sibling."""
        place = self._place
        target = await self._target()
        if target is None or place.session is None or place.turn is not None:
            return
        kept = self._until(message if message.role == "user" else None, message)
        place.document.show_entries(kept, spacious=self._spacious)
        self._begin(place.studio.chat.regenerate(place.session.id, message.id, target, sampling=self._sampling()))

    async def continue_answer(self, message: Message) -> None:
        """Let the engine go on where an answer was cut off."""
        place = self._place
        target = await self._target()
        if target is None or place.session is None or place.turn is not None:
            return
        place.document.show_entries(self._until(None, message), spacious=self._spacious)
        self._begin(place.studio.chat.continue_answer(place.session.id, message.id, target, sampling=self._sampling()))
        place.document.feed(Delta(message.content, message.reasoning))

    def _until(self, last: Message | None, message: Message) -> list[Entry]:
        """What stands before the new answer."""
        out: list[Entry] = []
        for entry in self._place.document.entries:
            if entry.message.id == message.id:
                return [*out, entry] if last is not None else out
            out.append(entry)
        return out

    @property
    def _spacious(self) -> bool:
        return self._place.size_class >= Size.FULL

    async def _target(self) -> Target | None:
        """Where the question goes; None where nothing answers yet, which is said."""
        place = self._place
        run = place.target_run()
        if run is not None and run.live and run.state not in (State.READY, State.UNHEALTHY):
            return None
        name = place.recipe or (run.recipe_id if run is not None else None)
        if name is None:
            place.studio_app.tell("No model is up. l on the dashboard launches one.", "warning")
            return None
        try:
            target = await place.studio_app.in_thread(partial(place.studio.launcher.target, recipe=name))
        except StudioError as error:
            place.studio_app.tell_error(error)
            return None
        place.recipe = target.recipe_id or name
        return target

    def _sampling(self) -> Sampling:
        """What shapes answers in this chat."""
        settings = self._place.settings
        return Sampling(
            temperature=settings.get("temperature"),
            top_p=settings.get("top_p"),
            max_tokens=settings.get("max_tokens"),
            thinking=settings.get("thinking"),
        )

    # --- branches ---------------------------------------------------------------------------------------

    async def sibling(self, message: Message, step: int) -> None:
        """Read another answer to the same question."""
        place = self._place
        leaf = sibling_leaf(place.messages_tree, message.id, step)
        if leaf is None or place.session is None or place.turn is not None:
            return
        session_id = place.session.id
        await place.studio_app.in_thread(lambda: place.studio.chat.sessions.set_leaf(session_id, leaf))
        place.show_branch(leaf)
        place.document.move(0)

    async def fork(self, message: Message) -> None:
        """A chat of its own that begins as this one up to a message."""
        place = self._place
        if place.session is None:
            return
        session_id = place.session.id
        made = await place.studio_app.in_thread(lambda: place.studio.chat.sessions.fork(session_id, message.id))
        await place.open(made.id)
        await place.reload_list()
        place.studio_app.tell("This is a copy up to here; the chat it came from stays.")

    # --- answers ----------------------------------------------------------------------------------------

    def _begin(self, events: Any, *, question: str | None = None) -> None:
        place = self._place
        assert place.session is not None
        if question is not None:
            message = Message("", place.session.id, "user", question)
            place.document.add(Entry(message), spacious=self._spacious)
        place.document.begin(Entry(Message("", place.session.id, "assistant", "", finish="streaming")))
        self.turns.start(place.session.id, events)
        place.update_place()

    def _told(self, turn: Turn, event: StreamEvent) -> None:
        session = self._place.session
        if session is not None and turn.session_id == session.id and not isinstance(event, Ended):
            self._place.document.feed(event)

    def _over(self, turn: Turn, failed: StudioError | None) -> None:
        if failed is not None:
            self._place.studio_app.tell_error(failed)
        self._place.studio_app.spawn(self._ended(turn), group="chats")

    async def _ended(self, turn: Turn) -> None:
        """Show the end as it was kept, and send what waited."""
        place = self._place
        if place.session is not None and place.session.id == turn.session_id:
            chat = place.studio.chat
            session_id = turn.session_id
            place.session, place.messages_tree, leaf = await place.studio_app.in_thread(
                lambda: (chat.sessions.get(session_id), chat.messages.tree(session_id), chat.messages.leaf(session_id))
            )
            entries = [Entry(message, sibling) for message, sibling in branch_of(place.messages_tree, leaf)]
            if place.document.live is not None and len(entries) == len(place.document.entries):
                for index, entry in enumerate(entries[:-1]):
                    place.document.entries[index] = entry
                place.document.finish(entries[-1])
            else:
                place.show_branch(leaf)
        place.studio.sampler.wake()
        await place.reload_list()
        waiting = self.queue.get(turn.session_id)
        if waiting and place.session is not None and place.session.id == turn.session_id:
            text = waiting.pop(0)
            place.show_queue()
            await self.ask(text)
