"""Chats that are opened, begun and left: what is shown when the screen comes back, and what is kept when it goes."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from textual.timer import Timer

from vllm_studio_tui.domain.chat import Message, Session
from vllm_studio_tui.domain.errors import NotFound, StoreError
from vllm_studio_tui.services.chat.answers import load_client
from vllm_studio_tui.services.chat.attachments import inbox
from vllm_studio_tui.services.chat.drafts import load_left_off, save_left_off
from vllm_studio_tui.tui.screens.chat.completion import quoted
from vllm_studio_tui.tui.screens.chat.state import Chat, ChatState
from vllm_studio_tui.tui.screens.chat.stepping_back import ChatSteps

#: Chats in the list beside the transcript; all of them are behind ctrl+o.
LISTED = 60
#: Seconds after the chat was first shown in which nothing large is imported.
AFTER_PAINT = 0.4
#: Seconds between two looks for files that another terminal hands over.
LOOK_SECONDS = 1.0


class ChatOpening(ChatSteps):
    """Opens chats, begins new ones, and keeps what is left off."""

    state: ChatState

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._started = False
        self._opening: object = None
        self._looking: Timer | None = None
        self._inbox_changed = 0

    # --- being shown and left ---------------------------------------------------------------------------

    def shown(self) -> None:
        super().shown()
        if not self._started:
            self._started = True
            self.state.restore(load_left_off(self.studio.places))
            self._as_screen.prompt.earlier = self.state.left_off.history
            self.shell.spawn(self._restore(), group="chats")
            self.set_timer(AFTER_PAINT, load_client)
            self._looking = self.set_interval(LOOK_SECONDS, self._look_for_files)
        else:
            self.shell.spawn(self.reload_list(), group="chats")
        if self._looking is not None:
            self._looking.resume()
        self._say_open(on=True)

    def _say_open(self, *, on: bool) -> None:
        """Let `vllm-studio attach` know whether a chat is open here."""
        places = self.studio.places
        self.shell.spawn(self.shell.in_thread(lambda: inbox.set_open(places, on=on)), group="files")

    def _look_for_files(self) -> None:
        places = self.studio.places
        changed = inbox.changed(places)
        if changed != self._inbox_changed:
            self._inbox_changed = changed
            self.shell.spawn(self._take_files(), group="files")

    async def _take_files(self) -> None:
        """Put the files that another terminal handed over into the prompt."""
        places = self.studio.places
        paths = await self.shell.in_thread(lambda: inbox.take(places))
        prompt = self._as_screen.prompt
        for path in paths:
            prompt.insert_at_end(f"@{quoted(path)} ")
        if paths:
            many = f"{len(paths)} files" if len(paths) > 1 else "A file"
            self.shell.tell(f"{many} came from another terminal.")

    async def _restore(self) -> None:
        """Open the chat that was open last."""
        session_id = self.state.left_off.session
        self._as_screen.prompt.set_text(self.state.take_draft(self.state.left_off.draft(session_id)))
        await self.reload_list()
        if session_id is not None and self.state.shown.session is None:
            new = self.state.left_off.draft(None)
            try:
                await self.open(session_id)
            except NotFound:
                self.state.forget_session()
            else:
                typed = self.state.left_off.draft(None)  # somebody may have begun to type before it was read
                self.state.left_off.set_draft(None, new)
                self._as_screen.prompt.set_text(self.state.take_draft(typed))

    def hidden(self) -> None:
        if self._started:
            self._keep_draft()
            self.state.leave()
            if self._looking is not None:
                self._looking.pause()
            self._say_open(on=False)
            self.shell.spawn(self.save_left_off())

    async def leaving(self) -> None:
        """The studio closes: what is coming is kept, and so is what was not sent."""
        self._keep_draft()
        places = self.studio.places
        await self.shell.in_thread(lambda: inbox.set_open(places, on=False))
        self.state.close()
        await self._as_screen.answers.stop_all()
        await self.save_left_off()

    async def save_left_off(self) -> None:
        """Keep what was left off."""
        await self.shell.in_thread(partial(save_left_off, self.studio.places, self.state.left_off))

    def _keep_draft(self) -> None:
        """Keep what is typed in the chat in front, and where it is read."""
        self.state.keep_place(self._as_screen.document.reading_place())
        self.state.keep_draft(self._as_screen.prompt.text)

    # --- chats ------------------------------------------------------------------------------------------

    async def reload_list(self) -> None:
        """Read the list of chats again."""
        service = await self._as_screen.service()
        self.state.set_list(
            *await self.shell.in_thread(
                lambda: (service.sessions.list(limit=LISTED, pinned_first=True), service.sessions.count())
            )
        )
        if self.state.left_off.tabs:
            await self.shell.in_thread(partial(self._as_screen.tabs.read, service))
        self._as_screen.update_place()

    async def reload_tree(self) -> None:
        """Show the chat in front anew where messages came or went without this screen."""
        session, service = self.state.shown.session, await self._as_screen.service()
        if session is None or self._as_screen.running is not None:
            return
        tree = await self.shell.in_thread(lambda: service.tree(session.id))
        now = self.state.shown.session
        if now is session and [one.id for one in tree] != [one.id for one in self.state.tree]:
            await self.open(session.id)

    async def open(self, session_id: str, *, leaf: str | None = None) -> None:
        """Show a chat, up to a message; by default to the one it was read up to."""
        self._opening = opening = object()
        service = await self._as_screen.service()

        def read() -> tuple[Session, list[Message], str | None]:
            if not self.shell.read_only:
                with contextlib.suppress(StoreError):  # what cannot be settled now is shown as it is
                    service.settle_interrupted()
            return service.sessions.get(session_id), service.tree(session_id), service.messages.leaf(session_id)

        session, tree, here = await self.shell.in_thread(read)
        if self._opening is not opening:
            return  # another chat was opened meanwhile
        self._keep_draft()
        self.end_finding()
        self.state.open(session, tree)
        self._as_screen.document.show_branch(tree, leaf or here, self._as_screen.running)
        if leaf is None and (place := self.state.places.get(session_id)) is not None:
            self._as_screen.document.go_back_to(place)
        self._as_screen.prompt.set_text(self.state.take_draft())
        self.asking.consent.settle()
        self._as_screen.show_queue()

    async def new_with(self, recipe_id: str | None) -> None:
        """Show a new chat that a recipe answers."""
        self.new_chat()
        if recipe_id is not None:
            self.state.shown.use_recipe(recipe_id)
            self._as_screen.update_place()
        self._as_screen.prompt.focus()

    def new_chat(self) -> None:
        """Show a new chat; it begins to exist with its first question."""
        self._keep_draft()
        self._opening = None
        self.end_finding()
        self.state.open_new()
        self._as_screen.document.show_entries([])
        self._as_screen.prompt.set_text(self.state.take_draft())
        self._as_screen.prompt.focus()
        self.asking.consent.settle()
        self._as_screen.show_queue()

    async def save_settings(self, chat: Chat) -> None:
        """Keep what was chosen for a chat; read-only it holds as long as the screen."""
        if chat.id is not None and not self.shell.read_only:
            session_id, settings, service = chat.id, dict(chat.settings), await self._as_screen.service()
            await self.shell.in_thread(lambda: service.sessions.set_settings(session_id, settings))
        self._as_screen.update_place()
