"""Asking several at once from the chat: what is typed, or the last question once more, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.tui.flows.sides import choose_sides
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.dialogs import Writing


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
        chosen = await choose_sides(shell, self._before)
        if chosen is None:
            return
        sides, blind = chosen
        compare = await shell.in_thread(lambda: screen.studio.compare)
        await shell.in_thread(lambda: compare.sides(sides, settings=chat.settings))  # it says what is wrong with them
        typed, question_id = screen.prompt.text.strip("\n"), None
        if text.strip() or typed.strip():
            text = text if text.strip() else chat.unfolded(typed)
            screen.state.sent(text)
            screen.prompt.earlier = screen.state.left_off.history
            screen.prompt.set_text("")
        else:
            asked = [one.message for one in screen.document.entries if one.message.role == "user" and one.message.id]
            if asked and chat.id is not None:
                text, question_id = asked[-1].content, asked[-1].id
            else:
                text = await shell.ask(Writing("What do all of them answer?", note="f2 asks")) or ""
        if not text.strip():
            return
        self._before = sides
        wanted = {"text": text, "sides": list(sides), "session_id": chat.id, "question_id": question_id, "blind": blind}
        shell.open_page("compare", json.dumps({**wanted, "settings": dict(chat.settings)}))
