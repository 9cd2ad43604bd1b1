"""Asking several at once from the chat: what is typed, or the last question once more, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.domain.compare import Question, Side
from vllm_studio_tui.domain.draft import Draft
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.flows.named_files import named_files
from vllm_studio_tui.tui.flows.sides import choose_sides
from vllm_studio_tui.tui.keys.actions import key_text
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import Chat


class Comparing:
    """Comparisons that are begun in the chat screen."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._before: Sequence[str] = ()

    async def open_lab(self, message: Message) -> None:
        """Show the request of an answer, to be changed and sent again."""
        from vllm_studio_tui.tui.sheets.request_lab import RequestLabSheet

        shell, studio = self._screen.shell, self._screen.studio
        request, lab = await shell.in_thread(
            lambda: (studio.compare.lab.last(message.session_id, message.id), studio.compare.lab)
        )
        await shell.ask(RequestLabSheet(request, lab))

    async def compare(self, text: str = "") -> None:
        """Have a question answered by several at once: the given one, what is typed, or the last of the chat."""
        screen, shell, chat = self._screen, self._screen.shell, self._screen.state.shown
        if screen.running is not None or chat.busy:
            shell.tell("An answer comes in this chat: wait for it or stop it first.", "warning")
            return
        asked = [one.message for one in screen.document.entries if one.message.role == "user" and one.message.id]
        if not (text.strip() or screen.prompt.text.strip() or screen.state.attached or (asked and chat.id)):
            key = key_text(shell.keys_of("chat.compare").split(",")[0]) or "/compare"
            shell.tell(f"Write the question first: then {key} has several answer it.")
            return
        chosen = await choose_sides(shell, self._before)
        if chosen is None:
            return
        sides, blind = chosen
        compare = await shell.in_thread(lambda: screen.studio.compare)
        found = await shell.in_thread(lambda: compare.sides(sides, settings=chat.settings))  # it says what is wrong
        typed, question_id = screen.prompt.text.strip("\n"), None
        written = bool(text.strip() or typed.strip() or screen.state.attached)
        if written:
            text = text if text.strip() else typed
        elif asked and chat.id is not None:
            text, question_id = asked[-1].content, asked[-1].id
        question = Draft(text, screen.state.attached if question_id is None else ())
        if not question:
            return
        session_id = chat.id
        if question_id is None:
            try:
                kept = await self._keep(chat, question, found)
            except StudioError:
                if not screen.prompt.text and screen.state.shown is chat:
                    screen.prompt.set_text(text)
                raise
            session_id, question_id = kept.session_id, kept.message_id
        if written and screen.state.shown is chat:
            screen.state.sent(text)
            screen.prompt.earlier = screen.state.left_off.history
            screen.prompt.set_text("")
            screen.chips.look()
        self._before = sides
        wanted = {"text": text, "sides": list(sides), "session_id": session_id, "question_id": question_id}
        shell.open_page("compare", json.dumps({**wanted, "blind": blind, "settings": dict(chat.settings)}))

    async def _keep(self, chat: Chat, question: Draft, sides: Sequence[Side]) -> Question:
        """Keep a question with the files that it names, and what goes with it besides.

        Raises:
            StudioError: A file cannot be sent, or a side reads no pictures.
        """
        shell, session_id = self._screen.shell, chat.id
        attached = await named_files(shell, question.text, already=question.attached)
        system = chat.settings.get("system") if session_id is None else None
        return await shell.in_thread(
            lambda: self._screen.studio.compare.begin(
                question.text,
                session_id=session_id,
                system=system,
                images=[one.image for one in attached if one.image is not None],
                files=[one.file for one in attached],
                sides=sides,
            )
        )
