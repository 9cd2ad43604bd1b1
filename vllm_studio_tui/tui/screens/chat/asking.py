"""Asking: questions that wait, answers that come, and the branches that they make."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from vllm_studio_tui.domain.chat import Attached, Delta, Ended, Message, Relabel, Target
from vllm_studio_tui.domain.chat_settings import sampling_of
from vllm_studio_tui.domain.draft import Draft, joined
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.domain.tools import ChatEvent, RoundEnded
from vllm_studio_tui.services.chat.answers import Answers, RunningAnswer
from vllm_studio_tui.services.chat.branches import branch_of, leaf_through, sibling_leaf
from vllm_studio_tui.services.chat.events import AnswerSaved
from vllm_studio_tui.services.chat.going_on import GO_ON, WayOn, cut_round, is_cut, sure_way_on
from vllm_studio_tui.tui.flows.named_files import named_files
from vllm_studio_tui.tui.screens.chat.consent import Consent
from vllm_studio_tui.tui.screens.chat.loading import gone_words
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import Chat
from vllm_studio_tui.tui.screens.chat.target import find_target
from vllm_studio_tui.tui.screens.chat.titling import Titling

#: Seconds after which an answer of a studio elsewhere is read once more: by then its share of the energy is known.
LATER = 3.0


class Asking:
    """Questions and answers of all chats; those of the chat that is shown are drawn as they come.

    Everything here is given its chat before it first waits: another one may be shown whenever it continues.

    Attributes:
        answers: Answers that are being generated.
        consent: Their calls of tools.
        titling: Titles of chats that have their first answer.
    """

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._state = screen.state
        self.answers = Answers(self._on_event, self._on_end)
        self.consent = Consent(screen)
        self.titling = Titling(screen)
        self._unsubscribe: Callable[[], None] | None = None

    def subscribe(self) -> None:
        """Be told of answers that are saved after all."""
        loop = asyncio.get_running_loop()

        def saved(event: AnswerSaved) -> None:  # comes from a thread
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(lambda: self._screen.shell.spawn(self._show_saved(event), group="chats"))

        self._unsubscribe = self._screen.studio.bus.subscribe(AnswerSaved, saved)

    def unsubscribe(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()

    # --- questions --------------------------------------------------------------------------------------

    def ask(self, chat: Chat, question: Draft) -> None:
        """Send a question, or let it wait for the answer before it or for the engine."""
        if chat.asking or chat.waiting_for is not None or self._running(chat) is not None:
            self._enqueue(chat, question)
        else:
            chat.begin_asking()
            self._screen.shell.spawn(self._ask(chat, question))

    def _running(self, chat: Chat) -> RunningAnswer | None:
        return self.answers.running.get(chat.id) if chat.id is not None else None

    def _enqueue(self, chat: Chat, question: Draft, *, first: bool = False) -> None:
        chat.enqueue(question, first=first)
        self._screen.show_queue()

    def take_back(self, chat: Chat) -> Draft:
        """Give up waiting; return the questions that waited in a chat, as one."""
        question = chat.take_back()
        self._screen.show_queue()
        return question

    async def _ask(self, chat: Chat, question: Draft) -> None:
        """Ask something; while the engine loads it waits, and is sent then."""
        screen = self._screen
        try:
            target = await find_target(screen, chat)
            if target is None:
                run = screen.run_for(chat)
                if run is not None and run.live and run.state not in ANSWERING:
                    chat.wait_for(run.run_id)
                    self._enqueue(chat, question, first=True)
                else:
                    self.give_back(chat, joined(question, self.take_back(chat)))
                return
            service = await screen.service()
            attached = await named_files(screen.shell, question.text, already=question.attached)
            if chat.session is None:
                if any(one.image is not None for one in attached):
                    await screen.shell.in_thread(lambda: service.check_sight(target))
                await self._begin_session(chat, question.title, target)
            assert chat.id is not None
            tools = await screen.tool_flows.tools_for(chat)
            events = service.send(
                chat.id,
                question.text,
                target,
                sampling=sampling_of(chat.settings),
                images=[one.image for one in attached if one.image is not None],
                files=[one.file for one in attached],
                tools=tools,
            )
            self._begin(chat, events, question=question.text, attached=attached)
        except StudioError:
            self.give_back(chat, question)
            raise
        finally:
            chat.end_asking()

    async def _begin_session(self, chat: Chat, text: str, target: Target) -> None:
        """The chat begins to exist with its first question."""
        screen, service = self._screen, await self._screen.service()
        settings = {**chat.settings, **({"recipe": chat.recipe} if chat.recipe else {})}
        session_id = await screen.shell.in_thread(
            lambda: service.new_session(text, model=target.model, settings=settings)
        )
        session = await screen.shell.in_thread(lambda: service.sessions.get(session_id))
        self._state.begin_session(chat, session)
        screen.shell.spawn(screen.reload_list(), group="chats")

    def give_back(self, chat: Chat, question: Draft) -> None:
        """Put a question that was not asked back to where it was typed, before what was typed there since."""
        if self._state.shown is chat:
            prompt, state = self._screen.prompt, self._state
            since = Draft(prompt.text, state.attached) if state.editing is None else Draft()
            prompt.set_text(state.take_draft(joined(question, since)))
            self._screen.update_place()
        else:
            self._state.add_to_draft(chat, [question])

    def send_waiting(self) -> None:
        """Send questions that were written while an engine loaded, in whichever chat, when it is ready."""
        screen = self._screen
        for chat in self._state.all():
            if chat.waiting_for is None:
                continue
            run = screen.commands.run_of(chat.waiting_for)
            if run is None or run.status.final:
                self.give_back(chat, self.take_back(chat))
                screen.shell.tell(gone_words(run), "warning")
            elif run.state in ANSWERING:
                chat.wait_for(None)
                self._next(chat)

    def go_on(self, chat: Chat) -> None:
        """Send what waits in a chat, where nothing is in the way any more."""
        if chat.waiting_for is None:
            self._next(chat)

    def _next(self, chat: Chat) -> None:
        if chat.queue and not chat.asking and self._running(chat) is None:
            question = chat.next_question()
            self._screen.show_queue()
            self.ask(chat, question)

    # --- messages that are there ------------------------------------------------------------------------

    def edit(self, message: Message) -> None:
        """Put a question into the prompt, to be asked anew in its place."""
        screen = self._screen
        if message.role != "user" or screen.running is not None:
            return
        self._state.keep_draft(screen.prompt.text)
        self._state.begin_editing(message)
        screen.prompt.set_text(message.content)
        screen.prompt.focus()
        screen.update_place()

    async def ask_again(self, chat: Chat, message: Message, question: Draft) -> None:
        """Ask an edited question in the place of an earlier one, which stays as its sibling."""
        target, service = await find_target(self._screen, chat), await self._screen.service()
        tools = await self._screen.tool_flows.tools_for(chat)
        if target is None or chat.id is None or self._running(chat) is not None:
            self.give_back(chat, question)
            return
        text = question.text
        # What the question no longer names does not go with it.
        kept = [one for one in question.attached if one.file.name in text or one.file.name not in message.content]
        try:
            attached = await named_files(self._screen.shell, text, already=kept)
        except StudioError:
            self.give_back(chat, question)
            raise
        self._cut_at(chat, message)
        events = service.edit(
            chat.id,
            message.id,
            text,
            target,
            sampling=sampling_of(chat.settings),
            images=[one.image for one in attached if one.image is not None],
            files=[one.file for one in attached],
            tools=tools,
        )
        self._begin(chat, events, question=text, attached=attached)

    async def regenerate(self, message: Message) -> None:
        """Answer a question once more; the answer that is there stays as a sibling."""
        chat = self._state.of(message.session_id)
        target = await find_target(self._screen, chat) if chat is not None else None
        service = await self._screen.service()
        tools = await self._screen.tool_flows.tools_for(chat) if chat is not None else None
        if target is None or chat is None or chat.id is None or self._running(chat) is not None:
            return
        self._cut_at(chat, message, keep=message.role == "user")
        sampling = sampling_of(chat.settings)
        self._begin(chat, service.regenerate(chat.id, message.id, target, sampling=sampling, tools=tools))

    async def continue_answer(self, message: Message) -> None:
        """Go on where an answer, or its round of calls, was cut off.

        Raises:
            UsageError: There is nothing to go on with.
        """
        chat = self._state.of(message.session_id)
        target = await find_target(self._screen, chat) if chat is not None else None
        service = await self._screen.service()
        tools = await self._screen.tool_flows.tools_for(chat) if chat is not None else None
        entries = self._screen.document.entries
        if target is None or chat is None or chat.id is None or self._running(chat) is not None or not entries:
            return
        last = message.id if is_cut(message) else entries[-1].message.id
        branch = [one for one, _ in branch_of(self._state.tree, last)]
        way = sure_way_on(branch, target)
        events = service.go_on(chat.id, last, target, sampling=sampling_of(chat.settings), tools=tools)
        if way in (WayOn.TEXT, WayOn.AGAIN):
            self._cut_at(chat, message)
        cut = cut_round(branch) if tools is not None else None
        if cut is None:
            question = GO_ON if way is WayOn.QUESTION else None
            self._begin(chat, events, question=question, before=message if way is WayOn.TEXT else None)
            return
        ended = Ended("tool_calls", tool_calls=cut.open)
        self.answers.start(chat.id, events, after=RoundEnded(cut.number, ended, cut.answer.id))
        self._screen.document.show_branch(self._state.tree, last, self._running(chat))
        self._screen.update_place()
        self._screen.shell.update_frame()

    def _cut_at(self, chat: Chat, message: Message, *, keep: bool = False) -> None:
        """Show what is above the new answer."""
        if self._state.shown is chat:
            self._screen.document.cut_at(message, keep=keep)

    async def show_sibling(self, message: Message, step: int) -> None:
        """Show another answer to the same question."""
        screen, chat = self._screen, self._state.of(message.session_id)
        leaf = sibling_leaf(self._state.tree, message.id, step)
        if leaf is None or chat is None or self._running(chat) is not None:
            return
        await self._show_leaf(chat, message, leaf)
        if self._state.shown is chat:
            screen.document.move(0)

    async def show_message(self, message: Message) -> None:
        """Show the branch that a message is on, with the cursor on it."""
        chat = self._state.of(message.session_id)
        if chat is None or chat.id is None:
            return
        if self._running(chat) is not None:
            self._screen.shell.tell("An answer is being written here: another branch can be shown when it has ended.")
            return
        document = self._screen.document
        shown = document.entries[-1].message.id if document.entries else None
        leaf = leaf_through(self._state.tree, message.id, shown)
        if leaf != shown:
            await self._show_leaf(chat, message, leaf)
        if self._state.shown is chat:
            document.go_to(message.id)

    async def _show_leaf(self, chat: Chat, message: Message, leaf: str) -> None:
        screen, service = self._screen, await self._screen.service()
        await screen.shell.in_thread(lambda: service.sessions.set_leaf(message.session_id, leaf))
        if self._state.shown is chat:
            screen.document.show_branch(self._state.tree, leaf, screen.running)

    async def fork(self, message: Message) -> None:
        """Make a chat of its own that begins as this one up to a message."""
        screen, chat = self._screen, self._state.of(message.session_id)
        service = await screen.service()
        made = await screen.shell.in_thread(lambda: service.sessions.fork(message.session_id, message.id))
        if self._state.shown is chat:
            await screen.open(made.id)
        await screen.reload_list()
        screen.shell.tell("This is a copy up to here; the chat it came from stays.")

    # --- answers ----------------------------------------------------------------------------------------

    def _begin(
        self,
        chat: Chat,
        events: AsyncGenerator[ChatEvent, None],
        *,
        question: str | None = None,
        before: Message | None = None,
        attached: Sequence[Attached] = (),
    ) -> None:
        assert chat.id is not None
        running = self.answers.start(chat.id, events, question=question, before=before, attached=attached)
        if self._state.shown is chat:
            self._screen.document.show_answer(running)
        self._screen.update_place()
        self._screen.shell.update_frame()

    def _on_event(self, running: RunningAnswer, event: ChatEvent) -> None:
        if isinstance(event, Delta | Relabel):
            if self._state.shown.id == running.session_id:
                self._screen.document.feed(event)
        elif not isinstance(event, Ended):
            self.consent.take(running, event)

    def _on_end(self, running: RunningAnswer, error: StudioError | None) -> None:
        chat = self._state.of(running.session_id)
        self._state.answered(running.session_id)
        self._screen.shell.notices.answered(time.monotonic() - running.began)
        if error is not None:
            self._screen.shell.tell_error(error)
            if chat is not None and running.question is not None and not running.answer.received:
                # It could not even be kept. What its words name is read again.
                besides = [one for one in running.attached if one.file.name not in running.question]
                self.give_back(chat, Draft(running.question, tuple(besides)))
        self._screen.shell.spawn(self._show_end(running.session_id, chat), group="chats")

    async def _show_end(self, session_id: str, chat: Chat | None) -> None:
        """Show the end of an answer, and send the question that waited for it."""
        screen, service = self._screen, await self._screen.service()
        session, tree, leaf = await screen.shell.in_thread(
            lambda: (service.sessions.get(session_id), service.tree(session_id), service.messages.leaf(session_id))
        )
        if chat is not None:
            chat.set_session(session)
            if self._state.shown is chat:
                self._state.set_tree(tree)
                screen.document.show_end(tree, leaf, screen.running)
                self.consent.settle()
        screen.shell.update_frame()  # other keys work now
        screen.studio.sampler.wake()
        await screen.reload_list()
        if chat is not None and chat.waiting_for is None:
            self._next(chat)
        if chat is not None and chat.id == session_id:
            self.titling.answered(chat, tree)
        if screen.studio.host is not None and tree:
            await asyncio.sleep(LATER)  # what is found out afterwards is said on the bus there
            await self._show_saved(AnswerSaved(session_id, leaf))

    async def _show_saved(self, event: AnswerSaved) -> None:
        """An answer that could not be saved is in the database now: it no longer says otherwise."""
        message_id = event.message_id
        if message_id is None or self._state.shown.id != event.session_id:
            return
        service = await self._screen.service()
        try:
            message = await self._screen.shell.in_thread(lambda: service.messages.get(message_id))
        except NotFound:
            return  # it was deleted meanwhile
        if self._state.shown.id != event.session_id or message.finish == "streaming":
            return
        self._state.replace_message(message)
        self._screen.document.replace_message(message)
