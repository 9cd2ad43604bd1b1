"""Chats: what can be asked in them, and where each answer goes in a chat's tree of messages.

Every way to ask returns an asynchronous generator of stream events. To stop an answer, close it or cancel the task
that reads it: what has come is kept. With tools, answers that call them are followed by further ones, and the end comes
once. Everything is also published on the bus, for faces that did not ask.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.chat import Attachment, Message, Sampling, Stream, Target
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.domain.tools import ChatEvent, Consents, ToolBox, ToolChoice
from vllm_studio_tui.kit.paths import unsaved_folders
from vllm_studio_tui.services.chat.attachments.seeing import Sight, sight
from vllm_studio_tui.services.chat.events import Publisher
from vllm_studio_tui.services.chat.going_on import GO_ON, WayOn, sure_way_on
from vllm_studio_tui.services.chat.in_thread import in_thread
from vllm_studio_tui.services.chat.reopening import Reopening, plan
from vllm_studio_tui.services.chat.request import title_of
from vllm_studio_tui.services.chat.tool_loop import OpenTools, ToolLoop
from vllm_studio_tui.services.chat.turn import Turn
from vllm_studio_tui.services.chat.turn_runner import CHECKPOINT_SECONDS, TurnRunner
from vllm_studio_tui.store.chats import ChatRows
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.messages import MessageRows

#: Called with a chat, who answers, and what will be asked. Blocking.
Shorten = Callable[[str, Target, str], object]


class ChatService:
    """Chats with engines.

    Args:
        folders: Where recovery files go, the first one that can be written.
        stream: Asks an engine; None: the client of `inference`.
        consents: Calls of tools that were allowed for longer; None: none were.
        open_tools: Opens tools by their names; None: there are none here.
        shorten: Makes a chat shorter that may be and has become full, before it is asked more in; None: nothing does.
        sight_of: Says whether an engine reads pictures.

    Attributes:
        sessions, messages: The tables themselves, for reading and for what needs no engine.
        unsaved: Answers whose end the database has not taken yet.
        decide: Decides a call of a tool that waits, see `ToolDecisions.decide`.
    """

    def __init__(
        self,
        db: Database,
        bus: Publisher | None = None,
        stream: Stream | None = None,
        *,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        folders: Sequence[Path] | None = None,
        consents: Consents | None = None,
        open_tools: OpenTools | None = None,
        shorten: Shorten | None = None,
        sight_of: Callable[[Target], Sight] = sight,
    ) -> None:
        folders = list(folders) if folders is not None else unsaved_folders(db.path)
        self._db = db
        self._sight = sight_of
        self._runner = TurnRunner(db, folders, bus, stream, checkpoint_seconds=checkpoint_seconds, sight_of=sight_of)
        self._loop = ToolLoop(db, self._runner, consents, open_tools)
        self.decide = self._loop.decisions.decide
        self._shorten = shorten
        self.sessions = ChatRows(db)
        self.messages = MessageRows(db)
        self.unsaved = self._runner.unsaved

    def new_session(
        self, prompt: str = "", *, model: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> str:
        """Make a chat, titled by its first question where that is known; return its id. Blocking."""
        return self.sessions.create(title_of(prompt) if prompt else "", model=model, settings=settings).id

    def settle_interrupted(self) -> int:
        """Bring in the answers of programs that are gone; return how many. Blocking; done once before the first turn.

        Raises:
            StoreError: The database cannot be read or written now.
        """
        return self._runner.settle_interrupted()

    def tree(self, session_id: str) -> list[Message]:
        """Return every message of a chat, in order, with what the database has not taken yet. Blocking."""
        return self.unsaved.over(self.messages.tree(session_id))

    def interrupt(self, reason: str) -> None:
        """Have answers whose readers are cancelled from now on end as interrupted, rather than stopped by a person."""
        self._runner.leaving = reason

    def close(self) -> list[Path]:
        """Save what is not saved yet; return the recovery files of what still is not. Blocking."""
        return self.unsaved.close()

    def check_sight(self, target: Target) -> None:
        """Refuse pictures for a model of which somebody says that it reads none. Blocking.

        Raises:
            UsageError: It reads none.
        """
        found = self._sight(target)
        if found.sees is False:
            raise UsageError(
                f"{target.recipe_id or target.model} reads no pictures",
                cause=found.why,
                advice=" ".join(filter(None, ("Ask without them, or ask a model that sees.", found.advice))),
            )

    # --- ways to ask ------------------------------------------------------------------------------------

    def send(
        self,
        session_id: str | None,
        text: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        images: Sequence[str] = (),
        files: Sequence[Attachment] = (),
        parent_id: str | None = None,
        system: str | None = None,
        tools: ToolBox | ToolChoice | None = None,
        temporary: bool = False,
        history: Sequence[Message] = (),
    ) -> AsyncGenerator[ChatEvent, None]:
        """Ask something.

        Args:
            images: Data URLs.
            files: What goes with it: their texts are sent before its words; of pictures, what is known of `images`.
            parent_id: The message to go on from; None: the one that the chat is read up to.
            system: The system prompt of this turn; None: the one in the chat's settings.
            tools: What the model may call; a call that needs consent waits for `decide`.
            temporary: Keep nothing of it in the chats (the request is counted all the same); `session_id` may be None.
            history: Earlier messages of a temporary chat.

        Raises:
            StudioError: While it is read: the question could not be kept, or the answer could not.
        """
        turn = Turn(target, temporary=temporary or session_id is None)
        if images:
            turn.check = lambda: self.check_sight(target)

        def prepare() -> None:
            if temporary or session_id is None:
                question = Message("", "", "user", text, images=tuple(images), files=tuple(files))
                turn.prepare((*history, question), system)
            else:
                parent = parent_id or self.messages.leaf(session_id)
                self._ask(turn, session_id, parent, system, text, images, files)

        events = self._run(turn, prepare, sampling, tools)
        if self._shorten is None or session_id is None or temporary or parent_id is not None:
            return events
        shorten = partial(self._shorten, session_id, target, text)
        return _after(shorten, events)

    def answer(
        self,
        session_id: str,
        parent_id: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        system: str | None = None,
        tools: ToolBox | ToolChoice | None = None,
        answer_id: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Have an answer written below a message: a question, or the result of a tool.

        Args:
            answer_id: What its message will be called; empty: the store names it.
            details: What is kept with it, see `Message.details`.
        """
        turn = Turn(target, answer_id=answer_id, details=details or {})
        return self._run(turn, lambda: self._add_answer(turn, session_id, parent_id, system), sampling, tools)

    def regenerate(
        self,
        session_id: str,
        message_id: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        tools: ToolBox | ToolChoice | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Another answer to the same question, beside the given one, which stays; below the result of a tool, one that
        goes on from there."""
        turn = Turn(target)

        def prepare() -> None:
            message = self.messages.get(message_id)
            parent = message.id if message.role in ("user", "tool") else message.parent_id
            if parent is None:
                raise UsageError("there is no question to answer again", advice="Ask one.")
            self._add_answer(turn, session_id, parent, None)

        return self._run(turn, prepare, sampling, tools)

    def edit(
        self,
        session_id: str,
        message_id: str,
        text: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        tools: ToolBox | ToolChoice | None = None,
        images: Sequence[str] | None = None,
        files: Sequence[Attachment] | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Ask a changed question in place of an earlier one, which stays beside it with all that followed.

        Args:
            images, files: What goes with it; None: what went with the earlier one.
        """
        turn = Turn(target)

        def check() -> None:
            if self.messages.get(message_id).images if images is None else images:
                self.check_sight(target)

        turn.check = check

        def prepare() -> None:
            message = self.messages.get(message_id)
            if message.role != "user":
                raise UsageError("only a question can be edited", advice="Choose one of your own messages.")
            there = (message.images if images is None else images, message.files if files is None else files)
            self._ask(turn, session_id, message.parent_id, None, text, *there)

        return self._run(turn, prepare, sampling, tools)

    async def go_on(
        self,
        session_id: str,
        message_id: str | None,
        target: Target,
        *,
        sampling: Sampling | None = None,
        tools: ToolBox | ToolChoice | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Go on where a chat was cut off; see `going_on`.

        Args:
            message_id: Up to which message the chat is gone on with; None: the one that it is read up to.
            tools: What the model may call. Calls that were never made are asked about again, and made.

        Raises:
            UsageError: While it is read: the last answer is whole, or there are calls, and no tools to make them with.
        """
        branch = await in_thread(lambda: self._branch_of(session_id, message_id))
        way, last = sure_way_on(branch, target), branch[-1]
        options: dict[str, Any] = {"sampling": sampling, "tools": tools}
        if way is WayOn.TEXT:
            events = self.continue_answer(session_id, last.id, target, **options)
        elif way is WayOn.AGAIN:
            events = self.regenerate(session_id, last.id, target, **options)
        elif way is WayOn.QUESTION:
            events = self.send(session_id, GO_ON, target, parent_id=last.id, **options)
        elif way is WayOn.ANSWER:
            events = self.answer(session_id, last.id, target, **options)
        else:
            what, turn = plan(branch, tools), Turn(target, answer_id=uuid.uuid4().hex)
            prepare = partial(self._add_answer, turn, session_id, what.last, None)
            events = self._run(turn, prepare, **options, after=what)
        async with contextlib.aclosing(events):
            async for event in events:
                yield event

    def continue_answer(
        self,
        session_id: str,
        message_id: str,
        target: Target,
        *,
        sampling: Sampling | None = None,
        tools: ToolBox | ToolChoice | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        """Have a cut answer written on, in the same message.

        Raises:
            UsageError: While it is read: the engine cannot do that, or the answer had only begun to think.
        """
        backend = registry.find(target.backend)
        options = backend.continue_options if backend is not None else None
        turn = Turn(target, fields=options or {})

        def prepare() -> None:
            (message,) = self.unsaved.over([self.messages.get(message_id)])
            advice = "Have it answered again instead."
            if options is None:
                raise UsageError(f"{target.backend} cannot write on in an answer", advice=advice)
            if message.role != "assistant" or not message.content.strip():
                raise UsageError("there is no text to write on from", advice=advice)
            if message.finish == "streaming":
                raise UsageError("this answer is being written", advice="Wait for its end, or stop it.")
            branch = self.unsaved.over(self.messages.branch(session_id, message_id))
            system = self._system(session_id)
            with self._db.write():
                self.messages.reopen(message_id)
                self.sessions.set_leaf(session_id, message_id)
            turn.prepare(branch, system, message)

        # An engine would begin the form anew within the text.
        return self._run(turn, prepare, replace(sampling or Sampling(), form=None), tools)

    def _run(
        self,
        turn: Turn,
        prepare: Callable[[], None],
        sampling: Sampling | None,
        tools: ToolBox | ToolChoice | None,
        after: Reopening | None = None,
    ) -> AsyncGenerator[ChatEvent, None]:
        if tools is None:
            return self._runner.run(turn, prepare, sampling)
        return self._loop.run(turn, prepare, sampling, tools, self._answer_below, after)

    def _answer_below(self, further: Turn, parent_id: str, system: str | None) -> None:
        self._add_answer(further, self.messages.get(parent_id).session_id, parent_id, system)

    # --- the tree of messages ---------------------------------------------------------------------------

    def _branch_of(self, session_id: str, message_id: str | None) -> list[Message]:
        """Return a branch with what the database has not taken yet. Blocking."""
        self.sessions.get(session_id)
        if message_id is not None and self.messages.get(message_id).session_id != session_id:
            raise NotFound(f"no message {message_id[:80]} in chat {session_id}")
        return self.unsaved.over(self.messages.branch(session_id, message_id))

    def _system(self, session_id: str) -> str | None:
        system = self.sessions.get(session_id).settings.get("system")
        return system if isinstance(system, str) and system else None

    def _ask(
        self,
        turn: Turn,
        session_id: str,
        parent_id: str | None,
        system: str | None,
        text: str,
        images: Sequence[str],
        files: Sequence[Attachment],
    ) -> None:
        """Add a question below a message, and an empty answer below that."""
        with self._db.write():
            if not self.sessions.get(session_id).title:
                self.sessions.rename(session_id, title_of(text))
            question = self.messages.append(
                Message("", session_id, "user", text, parent_id=parent_id, images=tuple(images), files=tuple(files))
            )
            self._add_answer(turn, session_id, question.id, system)

    def _add_answer(self, turn: Turn, session_id: str, parent_id: str, system: str | None) -> None:
        """Add an empty answer below a message, to be filled."""
        branch = self.unsaved.over(self.messages.branch(session_id, parent_id))
        system = self._system(session_id) if system is None else system
        model = turn.target.model or None
        empty = Message(turn.answer_id, session_id, "assistant", "", parent_id, model=model, finish="streaming")
        empty = replace(empty, details=turn.details)
        with self._db.write():
            message = self.messages.append(empty)
            if model:
                self.sessions.set_model(session_id, model)
        turn.prepare(branch, system, message)


async def _after(
    first: Callable[[], object], events: AsyncGenerator[ChatEvent, None]
) -> AsyncGenerator[ChatEvent, None]:
    """Do something in a thread, then yield events."""
    async with contextlib.aclosing(events):
        await in_thread(first)
        async for event in events:
            yield event
