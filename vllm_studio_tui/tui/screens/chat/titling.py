"""Titles of new chats: the model that gave the first answer writes one, where nothing else waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.services.chat.request import title_of
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import Chat

_log = logging.getLogger(__name__)


class Titling:
    """Asks for titles in the background; a chat for which none comes keeps the first words of its question."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen

    def answered(self, chat: Chat, tree: Sequence[Message]) -> None:
        """An answer of a chat has ended: ask for a title, if it was the first one and nothing is in the way."""
        begin = beginning(tree)
        session = chat.session
        if begin is None or session is None or not self._wanted(chat) or session.title != title_of(begin[0]):
            return
        self._screen.shell.spawn(self._title(chat, session, *begin), group="titles")

    def _wanted(self, chat: Chat) -> bool:
        """Whether a title may be asked for, and whoever would write it has nothing of ours to do."""
        screen = self._screen
        if not screen.studio.settings.chat_titles or chat.busy:
            return False
        who = self._who(chat)
        others = [screen.state.of(session_id) for session_id in screen.answers.running]
        return who is not None and not any(other is None or self._who(other) == who for other in others)

    def _who(self, chat: Chat) -> str | None:
        """Return the name of whom a chat is held with."""
        run = self._screen.run_for(chat)
        if run is not None and run.live:
            return run.run_id
        return chat.recipe or (chat.session.model if chat.session is not None else None)

    async def _title(self, chat: Chat, session: Session, question: str, answer: str) -> None:
        screen, who = self._screen, self._who(chat)
        title = await in_background(lambda: screen.studio.write_title(question, answer, who))
        if not title or title == session.title:
            return
        rows = (await screen.service()).sessions

        def rename() -> Session | None:
            if rows.get(session.id).title != session.title:
                return None  # a person was faster
            rows.rename(session.id, title)
            return rows.get(session.id)

        try:
            named = await screen.shell.in_thread(rename)
        except StudioError:
            return  # the chat is gone, or the database cannot be written: it is called by its first words
        if named is not None:
            if chat.id == named.id:
                chat.set_session(named)
            await screen.reload_list()
            screen.update_place()


def beginning(tree: Sequence[Message]) -> tuple[str, str] | None:
    """Return the question and the answer of a chat that holds one whole answer; None of any other."""
    questions = [one for one in tree if one.role == "user"]
    answers = [one for one in tree if one.role == "assistant" and not one.tool_calls]
    if len(questions) != 1 or len(answers) != 1:
        return None
    question, answer = questions[0], answers[0]
    if answer.finish != "stop" or not answer.content.strip() or not question.content.strip():
        return None
    return question.content, answer.content


async def in_background(work: Callable[[], str]) -> str:
    """Return what a slow call returns, empty where it fails. The studio may be left while it goes on."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str] = loop.create_future()

    def run() -> None:
        found = ""
        try:
            found = work()
        except Exception:  # noqa: BLE001, RUF100
            # Nobody asked for it: whatever fails is told to nobody.
            _log.info("no title was written", exc_info=True)
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(lambda: None if told.done() else told.set_result(found))

    threading.Thread(target=run, name="chat-title", daemon=True).start()
    return await told
