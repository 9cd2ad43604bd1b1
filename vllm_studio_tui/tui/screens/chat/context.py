"""The context of the chat in front: counted while nothing is typed or written, made shorter, its model loaded again."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from textual.timer import Timer

from vllm_studio_tui.domain.context import ContextReport
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.tools import tools_of
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.document.summary_block import is_shortening
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import Chat
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm_studio_tui.domain.chat import Message, Target

#: Seconds that nothing has to change before it is counted.
REST = 0.6
#: What a chat may do by itself when it is nearly full: the next of these is chosen.
_NEXT = {None: "summary", "summary": "window", "window": None}
_BY_ITSELF = {None: "no", "summary": "by a summary", "window": "by a window"}


class CountingScreen(ChatScreen, Protocol):
    """The chat screen, as this part sees it."""

    def set_timer(self, delay: float, callback: Callable[[], None]) -> Timer: ...
    def go_on(self, chat: Chat) -> None: ...


class ChatMeter:
    """How full the context of the chat in front is.

    Attributes:
        report: As it was counted last; None: not yet, or of another chat.
    """

    def __init__(self, screen: CountingScreen) -> None:
        self._screen = screen
        self.report: ContextReport | None = None
        self._of: object = None
        self._counted: Hashable = None
        self._seen: Hashable = None
        self._timer: Timer | None = None
        self._busy = False

    def look(self) -> None:
        """Count soon, if anything changed since and nothing is being written; cheap, called at every tick and key."""
        screen = self._screen
        chat = screen.state.shown
        if self._of is not chat:
            self._of, self.report, self._counted = chat, None, None
        if screen.running is not None or self._busy:
            return
        now = self._what()
        if now == self._counted:
            return
        if now != self._seen or self._timer is None:
            self._seen = now
            if self._timer is not None:
                self._timer.stop()
            self._timer = screen.set_timer(REST, self._rested)

    def _what(self) -> Hashable:
        """Return what the count depends on."""
        screen = self._screen
        chat, entries = screen.state.shown, screen.document.entries
        last = entries[-1].message if entries else None
        run = screen.run_for(chat)
        return (
            chat.id,
            len(entries),
            (last.id, last.finish, last.role) if last is not None else None,
            sum(
                bool(one.message.details.get("summary", {}).get("undone"))
                for one in entries
                if is_shortening(one.message)
            ),
            str(sorted(chat.settings.items(), key=lambda item: item[0])),
            (run.run_id, str(run.state)) if run is not None else None,
            screen.prompt.text,
            tuple(one.file.name for one in screen.state.attached),
        )

    def _rested(self) -> None:
        self._timer = None
        now = self._what()
        if now != self._seen or self._screen.running is not None or self._busy:
            self.look()
            return
        chat = self._screen.state.shown
        if chat.id is None and not self._screen.chips.sent().strip() and tools_of(chat.settings) is None:
            self.report, self._counted = None, now
            return
        self._busy = True
        self._screen.shell.spawn(self._count(chat, now), group="chats")

    async def _count(self, chat: Chat, now: Hashable) -> None:
        screen = self._screen
        draft = screen.chips.sent() if screen.state.editing is None else ""
        system, choice = chat.settings.get("system"), tools_of(chat.settings)
        tools = choice.names or () if choice is not None else ()

        def count() -> ContextReport:
            target = target_of(screen, chat)
            given = system if isinstance(system, str) else None
            return screen.studio.context.report(chat.id, target, draft=draft, system=given, tools=tools)

        try:
            report = await screen.shell.in_thread(count)
        except StudioError:
            report = None  # the meter is no reason for a message: the last answer's own count stands
        finally:
            self._busy = False
        if screen.state.shown is chat:
            self.report, self._counted = report, now
            screen.update_place()
            await self._count_answer(chat)

    async def _count_answer(self, chat: Chat) -> None:
        """Have the last answer counted here, if its engine sent no counts; nothing is kept read-only."""
        screen, entries = self._screen, self._screen.document.entries
        last = entries[-1].message if entries else None
        if last is None or last.role != "assistant" or last.finish in (None, "streaming", "failed"):
            return
        known = last.usage.completion_tokens is not None or "counted" in last.details
        if known or last.unsaved is not None or not (last.content or last.reasoning) or screen.shell.read_only:
            return

        def count() -> Message:
            return screen.studio.context.count_answer(last.id, target_of(screen, chat))

        try:
            message = await screen.shell.in_thread(count)
        except StudioError:
            return  # it is as unknown as before
        if screen.state.shown is chat and screen.running is None:
            screen.state.replace_message(message)
            screen.document.replace_message(message)


class ContextFlows:
    """Making the chat shorter, and loading its model."""

    def __init__(self, screen: CountingScreen) -> None:
        self._screen = screen

    async def compact(self, how: str = "") -> None:
        """Make the chat in front shorter, take that back, or allow it to do so by itself."""
        screen, chat = self._screen, self._screen.state.shown
        shell = screen.shell
        if chat.id is None or not screen.document.entries:
            shell.tell("Nothing was said in this chat yet.")
            return
        if screen.running is not None or chat.busy:
            shell.tell("An answer comes in this chat: wait for it or stop it first.", "warning")
            return
        shortened = [
            one.message
            for one in screen.document.entries
            if is_shortening(one.message) and not one.message.details["summary"].get("undone")
        ]
        by_itself = chat.settings.get("compact")
        choices = [
            Choice("summary", "send the beginning as a summary", "the model writes it; the last 4 turns stay"),
            Choice("window", "send only the last 4 turns", "nothing stands for the beginning"),
            *([Choice("undo", "send everything again", "what was left out last")] if shortened else []),
            Choice("auto", "by itself when it is nearly full", _BY_ITSELF.get(by_itself, "no")),
        ]
        known = {one.value for one in choices}
        chosen = how if how in known else await shell.ask(Chooser(choices, title="a shorter chat; nothing is deleted"))
        if chosen == "auto":
            chat.set("compact", _NEXT.get(by_itself))
            await screen.save_settings(chat)
            shell.tell(f"When it is nearly full, this chat is made shorter: {_BY_ITSELF[_NEXT.get(by_itself)]}.")
        elif chosen == "undo":
            await shell.in_thread(partial(screen.studio.context.undo_compaction, shortened[-1].id))
            await self._show(chat)
        elif chosen is not None:
            await self._shorten(chat, summary=chosen == "summary")

    async def _shorten(self, chat: Chat, *, summary: bool) -> None:
        screen, session_id = self._screen, chat.id
        assert session_id is not None
        if summary:
            screen.shell.tell("The model writes a summary; what you send meanwhile waits for it.")
        chat.begin_asking()
        try:

            def work() -> Message:
                target = target_of(screen, chat) if summary else None
                return screen.studio.context.compact(session_id, target, summary=summary)

            made = await screen.shell.in_thread(work)
        finally:
            chat.end_asking()
            screen.go_on(chat)
        await self._show(chat)
        count = made.details["summary"]["messages"]
        screen.shell.tell(
            f"{count} messages are {'sent as a summary' if summary else 'not sent any more'}; /compact undoes it."
        )

    async def _show(self, chat: Chat) -> None:
        """Show the chat as it is kept now."""
        screen, session_id, service = self._screen, chat.id, await self._screen.service()
        assert session_id is not None
        tree, leaf = await screen.shell.in_thread(lambda: (service.tree(session_id), service.messages.leaf(session_id)))
        if screen.state.shown is chat:
            screen.state.set_tree(tree)
            screen.document.show_branch(tree, leaf, screen.running)
        screen.update_place()

    async def load(self) -> None:
        """Load the model that this chat was held with."""
        screen, chat = self._screen, self._screen.state.shown
        shell = screen.shell
        run = screen.run_for(chat)
        if run is not None and run.live:
            shell.tell(f"{clean_line(run.name, limit=40)} is {run.state} already.")
            return
        names = [chat.recipe, chat.session.model if chat.session is not None else None]
        names += [one.message.model for one in reversed(screen.document.entries)]
        recipes = await shell.in_thread(screen.studio.recipe_list)
        for name in filter(None, names):
            for recipe_id, data in recipes:
                if name in (recipe_id, data.get("served_model_name"), data.get("name"), data.get("model_path")):
                    if await screen.commands.launch(recipe_id) is not None:
                        chat.use_recipe(recipe_id)
                        screen.update_place()
                    return
        used = next(filter(None, names), None)
        if used is None:
            shell.tell("No model was used in this chat yet.")
        else:
            shell.tell(f"No recipe has {clean_line(used, limit=60)}, with which this chat was held.", "warning")


def target_of(screen: ChatScreen, chat: Chat) -> Target | None:
    """Return who answers a chat, without asking a person; None: nobody does now. Blocking."""
    launcher = screen.studio.launcher
    run = screen.run_for(chat)
    name = chat.recipe or (run.recipe_id if run is not None else None)
    try:
        if name is not None:
            return launcher.target(recipe=name)
        return launcher.target_of_chat(chat.session) if chat.session is not None else None
    except StudioError:
        return None
