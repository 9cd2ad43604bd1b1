"""What a person marks and puts in order: messages taken away and bookmarked, chats pinned and tagged."""

from __future__ import annotations

from functools import partial

from vllm_studio_tui.domain.chat import Message
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.flows.changes import undo_key
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.chat_tree import first_words
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question
from vllm_studio_tui.tui.terminal.editor import open_text


class Marking:
    """Marks of the chat screen."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._state = screen.state
        self._shell = screen.shell
        self._chats = screen.studio.chats

    # --- messages ---------------------------------------------------------------------------------------

    async def delete(self, message: Message) -> None:
        """Take a message out of the chat with all below it; more than an answer is asked about first."""
        gone = await self._shell.in_thread(partial(self._chats.marks.below, message.id))
        key = undo_key(self._shell)
        if len(gone) > 2:
            question = Question(
                f"Take away {clean_line(first_words(message), limit=50)}?",
                f"With it go {len(gone) - 1} messages below it, on {'all its' if _forked(gone) else 'this'} "
                f"{'branches' if _forked(gone) else 'branch'}. {key or 'Undo'} brings them back.",
                [Option("d", "take them away")],
                "keep them",
            )
            if await self._shell.ask(question) is None:
                return
        removed = await self._shell.in_thread(partial(self._chats.marks.remove, message.id))
        if self._state.shown.id == removed.session_id:
            await self._screen.open(removed.session_id)
            self._screen.document.focus()
        await self._screen.reload_list()
        many = "1 message is" if removed.count == 1 else f"{removed.count} messages are"
        self._shell.tell(f"{many} taken away." + (f" {key} brings it back." if key else ""))

    async def bookmark(self, message: Message) -> None:
        """Mark a message, or take its mark away."""
        on = await self._shell.in_thread(partial(self._chats.marks.bookmark, message.id))
        service = await self._screen.service()
        self._state.replace_message(await self._shell.in_thread(partial(service.messages.get, message.id)))
        self._shell.tell("Bookmarked: /bookmarks lists them." if on else "No longer bookmarked.")

    async def choose_bookmark(self) -> None:
        """Go to a message that is bookmarked, in whichever chat."""

        def found() -> list[tuple[Message, str]]:
            marked = self._chats.marks.bookmarks()
            titles = {one: self._chats.get(one).title for one in {message.session_id for message in marked}}
            return [(message, titles[message.session_id]) for message in marked]

        choices = [
            Choice(
                f"{message.session_id}:{message.id}",
                first_words(message),
                f"{numbers.moment(numbers.when(message.created_at))}",
                group=clean_line(title or "New chat", limit=60),
                words=clean_line(message.content, limit=2000),
            )
            for message, title in await self._shell.in_thread(found)
        ]
        empty = "No message is bookmarked: p on a message does it."
        chosen = await self._shell.ask(Chooser(choices, title="a bookmarked message, or words in it", empty=empty))
        if chosen is None:
            return
        session_id, _, message_id = chosen.partition(":")
        if self._state.shown.id != session_id:
            await self._screen.open(session_id)
        message = next((one for one in self._state.tree if one.id == message_id), None)
        if message is not None:
            await self._screen.show_message(message)

    async def open_in_editor(self, message: Message) -> None:
        """Open the text of a message in $EDITOR or $PAGER; it stays as it is."""
        thought = f"<think>\n{message.reasoning}\n</think>\n\n" if message.reasoning else ""
        open_text(self._shell, thought + message.content)

    # --- chats ------------------------------------------------------------------------------------------

    async def pin(self, session_id: str) -> None:
        """Keep a chat before the others, or no longer."""
        session = await self._shell.in_thread(partial(self._chats.get, session_id))
        await self._shell.in_thread(partial(self._chats.pin, session_id, session.pinned_at is None))
        await self._screen.reload_list()

    async def tags(self, session_id: str) -> None:
        """Ask for the tags of a chat."""
        session = await self._shell.in_thread(partial(self._chats.get, session_id))
        known = [name for name, _ in await self._shell.in_thread(self._chats.tags)]
        others = ", ".join(name for name in known[:8] if name not in session.tags)
        said = await self._shell.ask(
            Prompt(
                "Tags of this chat, with commas between them",
                ", ".join(session.tags),
                note=f"In use: {others}. ^o finds chats by them." if others else "^o finds chats by their tags.",
            )
        )
        if said is not None:
            await self._shell.in_thread(partial(self._chats.set_tags, session_id, said.split(",")))
            await self._screen.reload_list()


def _forked(messages: list[Message]) -> bool:
    parents = [message.parent_id for message in messages[1:]]
    return len(set(parents)) < len(parents)
