"""Asking, and what follows: questions that wait, answers that come, and the branches they make."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import Delta, Ended, Message, Sampling, StreamEvent, Target
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.services.chat.answers import Answers, RunningAnswer
from vllm_studio_tui.services.chat.branches import branch_of, sibling_leaf
from vllm_studio_tui.services.chat.events import AnswerSaved
from vllm_studio_tui.tui.document.view import Entry
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.screens.chat.state import Chat
from vllm_studio_tui.tui.sheets.dialogs import Option, Question

if TYPE_CHECKING:
    from vllm_studio_tui.tui.screens.chat.place import ChatPlace


class Answering:
    """Questions and answers of all chats; the one that is shown is drawn as they come.

    Every flow is given its chat before the first wait: which one is shown may change at any of them.

    Attributes:
        answers: Answers that are being generated.
    """

    def __init__(self, place: ChatPlace) -> None:
        self._place = place
        self.answers = Answers(self._told, self._over)
        self._unsubscribe: Callable[[], None] | None = None

    def follow(self) -> None:
        """Hear of answers that are saved after all."""
        loop = asyncio.get_running_loop()

        def saved(told: AnswerSaved) -> None:  # comes from a thread
            with contextlib.suppress(RuntimeError):  # the loop has been closed over us
                loop.call_soon_threadsafe(lambda: self._place.shell.spawn(self._saved(told), group="chats"))

        self._unsubscribe = self._place.studio.bus.subscribe(AnswerSaved, saved)

    def unfollow(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()

    # --- questions --------------------------------------------------------------------------------------

    def take(self, chat: Chat, text: str) -> None:
        """A question: send it, or let it wait for the answer before it or for the engine."""
        if chat.asking or chat.waiting_for is not None or self._turn(chat) is not None:
            self._wait(chat, text)
        else:
            chat.asking = True
            self._place.shell.spawn(self._ask(chat, text))

    def _turn(self, chat: Chat) -> RunningAnswer | None:
        return self.answers.running.get(chat.id) if chat.id is not None else None

    def _wait(self, chat: Chat, text: str, *, first: bool = False) -> None:
        chat.queue.insert(0 if first else len(chat.queue), text)
        self._place.show_queue()

    def take_back(self, chat: Chat) -> str:
        """Give up waiting for the engine: what waited in a chat."""
        chat.waiting_for = None
        text = "\n\n".join(chat.queue)
        chat.queue.clear()
        self._place.show_queue()
        return text

    async def _ask(self, chat: Chat, text: str) -> None:
        """Ask something; while the engine loads it waits, and is then sent."""
        place = self._place
        try:
            target = await self._target(chat)
            if target is None:
                run = place.run_for(chat)
                if run is not None and run.live and run.state not in ANSWERING:
                    chat.waiting_for = run.run_id
                    self._wait(chat, text, first=True)
                else:
                    self.give_back(chat, "\n\n".join([text, self.take_back(chat)]).rstrip("\n"))
                return
            if chat.session is None:
                await self._begin_chat(chat, text, target)
            assert chat.id is not None
            events = place.studio.chat.send(chat.id, text, target, sampling=_sampling(chat))
            self._begin(chat, events, question=text)
        except StudioError:
            self.give_back(chat, text)
            raise
        finally:
            chat.asking = False

    async def _begin_chat(self, chat: Chat, text: str, target: Target) -> None:
        """The chat begins to exist with its first question."""
        place, service = self._place, self._place.studio.chat
        settings = {**chat.settings, **({"recipe": chat.recipe} if chat.recipe else {})}
        session_id = await place.shell.in_thread(
            lambda: service.new_session(text, model=target.model, settings=settings)
        )
        chat.session = await place.shell.in_thread(lambda: service.sessions.get(session_id))
        if place.chat is chat:
            place.desk.session = session_id
        place.shell.spawn(place.reload_list(), group="chats")

    def give_back(self, chat: Chat, text: str) -> None:
        """A question that was not asked goes back to where it was typed, before what was typed there since."""
        place = self._place
        if place.chat is chat:
            since = place.prompt.text if place.editing is None else ""
            place.prompt.set_text("\n\n".join(filter(str.strip, (text, since))))
        else:
            place.desk.draft(chat.id, "\n\n".join(filter(str.strip, (text, place.desk.draft(chat.id)))))

    def send_what_waited(self) -> None:
        """A question that was written while the engine loaded is sent when it is ready, to whichever chat it is."""
        place = self._place
        for chat in place.chats.all():
            if chat.waiting_for is None:
                continue
            run = place.commands.run_of(chat.waiting_for)
            if run is None or run.status.final:
                self.give_back(chat, self.take_back(chat))
                place.shell.tell("The engine did not come up; the question is back in the prompt.", "warning")
            elif run.state in ANSWERING:
                chat.waiting_for = None
                self._next(chat)

    def _next(self, chat: Chat) -> None:
        if chat.queue and not chat.asking and self._turn(chat) is None:
            text = chat.queue.pop(0)
            self._place.show_queue()
            self.take(chat, text)

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

    async def ask_again(self, chat: Chat, message: Message, text: str) -> None:
        """Ask an edited question in the place of an earlier one, which stays as its sibling."""
        target = await self._target(chat)
        if target is None or chat.id is None or self._turn(chat) is not None:
            self.give_back(chat, text)
            return
        self._show_until(chat, None, message)
        events = self._place.studio.chat.edit(chat.id, message.id, text, target, sampling=_sampling(chat))
        self._begin(chat, events, question=text)

    async def regenerate(self, message: Message) -> None:
        """Answer a question once more; the answer that is there stays as a sibling."""
        chat = self._place.chats.of(message.session_id)
        target = await self._target(chat) if chat is not None else None
        if target is None or chat is None or chat.id is None or self._turn(chat) is not None:
            return
        self._show_until(chat, message if message.role == "user" else None, message)
        events = self._place.studio.chat.regenerate(chat.id, message.id, target, sampling=_sampling(chat))
        self._begin(chat, events)

    async def continue_answer(self, message: Message) -> None:
        """Let the engine go on where an answer was cut off."""
        chat = self._place.chats.of(message.session_id)
        target = await self._target(chat) if chat is not None else None
        if target is None or chat is None or chat.id is None or self._turn(chat) is not None:
            return
        self._show_until(chat, None, message)
        events = self._place.studio.chat.continue_answer(chat.id, message.id, target, sampling=_sampling(chat))
        self._begin(chat, events, before=message)

    def _show_until(self, chat: Chat, last: Message | None, message: Message) -> None:
        """Show what stands before the new answer."""
        place = self._place
        if place.chat is not chat:
            return
        kept: list[Entry] = []
        for entry in place.document.entries:
            if entry.message.id == message.id:
                kept = [*kept, entry] if last is not None else kept
                break
            kept.append(entry)
        place.document.show_entries(kept, spacious=self._spacious)

    @property
    def _spacious(self) -> bool:
        return self._place.size_class >= Size.FULL

    # --- who answers ------------------------------------------------------------------------------------

    async def _target(self, chat: Chat) -> Target | None:
        """Where a question of a chat goes; None where nothing answers yet, which is said.

        A chat goes on with whom it was held. Another engine is asked only when the person says so.
        """
        place, app = self._place, self._place.shell
        while True:
            run = place.run_for(chat)
            if run is not None and run.live and run.state not in ANSWERING:
                return None
            name = chat.recipe or (run.recipe_id if run is not None else None)
            if name is None and (chat.session is None or chat.session.model is None):
                app.tell("No model is up. l on the dashboard launches one.", "warning")
                return None
            try:
                target = await app.in_thread(partial(self._find, chat, name))
            except StudioError as error:
                if not await self._another(chat, name, error):
                    return None
                continue
            chat.recipe = target.recipe_id or name
            return target

    def _find(self, chat: Chat, name: str | None) -> Target:
        """Blocking."""
        launcher = self._place.studio.launcher
        if name is not None:
            return launcher.target(recipe=name)
        assert chat.session is not None
        return launcher.target_of_chat(chat.session)

    async def _another(self, chat: Chat, name: str | None, error: StudioError) -> bool:
        """Whom a chat was held with does not answer: ask what to do; whether to try again."""
        place, app = self._place, self._place.shell
        who = name or (chat.session.model if chat.session is not None else None) or ""
        others = {run.recipe_id: run for run in place.commands.runs if run.live and run.state in ANSWERING}
        others.pop(who, None)
        recipes = dict(await app.in_thread(place.studio.recipe_list))
        answers = []
        if name in recipes and recipes[name].get("backend") != "external":
            answers.append(Option("l", f"launch {clean_line(name, limit=40)}; the question waits until it is ready"))
        keys = dict(zip("123456789", others, strict=False))
        answers += [Option(key, f"ask {clean_line(others[one].name, limit=40)} instead") for key, one in keys.items()]
        if not answers:
            app.tell_error(error)
            return False
        said = await app.ask(
            Question(
                f"{clean_line(who, limit=60)} does not answer",
                "\n".join(filter(None, (error.title, error.cause))),
                answers,
                "leave the question in the prompt",
            )
        )
        if said == "l" and name is not None:
            return await place.commands.launch(name) is not None
        if said not in keys:
            return False
        chat.recipe = keys[said]
        chat.settings["recipe"] = chat.recipe
        await place.save_settings(chat)
        return True

    # --- branches ---------------------------------------------------------------------------------------

    async def sibling(self, message: Message, step: int) -> None:
        """Read another answer to the same question."""
        place, chat = self._place, self._place.chats.of(message.session_id)
        leaf = sibling_leaf(place.messages_tree, message.id, step)
        if leaf is None or chat is None or self._turn(chat) is not None:
            return
        session_id = message.session_id
        await place.shell.in_thread(lambda: place.studio.chat.sessions.set_leaf(session_id, leaf))
        if place.chat is chat:
            self.show_branch(leaf)
            place.document.move(0)

    async def fork(self, message: Message) -> None:
        """A chat of its own that begins as this one up to a message."""
        place, chat = self._place, self._place.chats.of(message.session_id)
        session_id = message.session_id
        made = await place.shell.in_thread(lambda: place.studio.chat.sessions.fork(session_id, message.id))
        if place.chat is chat:
            await place.open(made.id)
        await place.reload_list()
        place.shell.tell("This is a copy up to here; the chat it came from stays.")

    # --- answers ----------------------------------------------------------------------------------------

    def _begin(self, chat: Chat, events: Any, *, question: str | None = None, before: Message | None = None) -> None:
        place = self._place
        assert chat.id is not None
        running = self.answers.start(chat.id, events, question=question, before=before)
        if place.chat is chat:
            self.draw_coming(chat.id, question)
            if before is not None:
                place.document.feed(Delta(*running.answer.text()))
        place.update_place()

    def show_branch(self, leaf: str | None) -> None:
        """Show the branch of a leaf; an answer that is coming goes on."""
        place, turn = self._place, self._place.turn
        entries = [Entry(message, sibling) for message, sibling in branch_of(place.messages_tree, leaf)]
        coming = None
        if turn is not None and entries:
            last, before = entries[-1].message, turn.answer.before
            if last.finish == "streaming" or (before is not None and last.id == before.id):
                coming = entries.pop()
        place.document.show_entries(entries, spacious=self._spacious)
        if turn is not None:
            if coming is not None:
                place.document.begin(coming)
            else:  # it is being kept at this moment
                self.draw_coming(turn.session_id, turn.question)
            place.document.feed(Delta(*turn.answer.text()))

    def draw_coming(self, session_id: str, question: str | None) -> None:
        """Draw a question, where there is one, and the answer that begins below it."""
        document = self._place.document
        if question is not None:
            document.add(Entry(Message("", session_id, "user", question)), spacious=self._spacious)
        document.begin(Entry(Message("", session_id, "assistant", "", finish="streaming")))

    def _told(self, turn: RunningAnswer, event: StreamEvent) -> None:
        if self._place.chat.id == turn.session_id and not isinstance(event, Ended):
            self._place.document.feed(event)

    def _over(self, turn: RunningAnswer, failed: StudioError | None) -> None:
        chat = self._place.chats.of(turn.session_id)
        if failed is not None:
            self._place.shell.tell_error(failed)
            if chat is not None and turn.question is not None and not turn.answer.received:
                self.give_back(chat, turn.question)  # it could not even be kept
        self._place.shell.spawn(self._ended(turn, chat), group="chats")

    async def _ended(self, turn: RunningAnswer, chat: Chat | None) -> None:
        """Show the end of an answer, and send what waited for it."""
        place, service = self._place, self._place.studio.chat
        session_id = turn.session_id
        session, tree, leaf = await place.shell.in_thread(
            lambda: (service.sessions.get(session_id), service.tree(session_id), service.messages.leaf(session_id))
        )
        if chat is not None:
            chat.session = session
        if place.chat is chat:
            place.messages_tree = tree
            entries = [Entry(message, sibling) for message, sibling in branch_of(tree, leaf)]
            if place.document.live is not None and len(entries) == len(place.document.entries):
                for index, entry in enumerate(entries[:-1]):
                    place.document.entries[index] = entry
                place.document.finish(entries[-1])
            else:
                self.show_branch(leaf)
        place.studio.sampler.wake()
        await place.reload_list()
        if chat is not None and chat.waiting_for is None:
            self._next(chat)

    async def _saved(self, told: AnswerSaved) -> None:
        """An answer that could not be saved is in the database now: it no longer says otherwise."""
        place = self._place
        if told.message_id is None or place.chat.id != told.session_id:
            return
        message_id = told.message_id
        message = await place.shell.in_thread(lambda: place.studio.chat.messages.get(message_id))
        place.messages_tree = [message if one.id == message_id else one for one in place.messages_tree]
        place.document.replace_message(message)


def _sampling(chat: Chat) -> Sampling:
    """What shapes answers in a chat."""
    settings = chat.settings
    return Sampling(
        temperature=settings.get("temperature"),
        top_p=settings.get("top_p"),
        max_tokens=settings.get("max_tokens"),
        thinking=settings.get("thinking"),
    )
