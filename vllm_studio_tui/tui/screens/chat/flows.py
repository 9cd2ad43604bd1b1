"""What the person chooses in the chat: another chat, the model, settings, what to copy."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

from rich.cells import cell_len, set_cell_size

from vllm_studio_tui.domain.chat import ROLE_TITLES, Message, Session
from vllm_studio_tui.domain.chat_exports import FORMS, form_of
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.document.scanner import Scanner
from vllm_studio_tui.tui.flows.changes import undo_key
from vllm_studio_tui.tui.keys.actions import key_text
from vllm_studio_tui.tui.paint.run_words import stage_word
from vllm_studio_tui.tui.screens.chat import rows as paint
from vllm_studio_tui.tui.screens.chat.chat_list import ChatList
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import attached_of
from vllm_studio_tui.tui.sheets.chat_tree import ChatTreeSheet
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question

#: Something that is done with a message.
Doing = Callable[[Message], Awaitable[None]]
#: Chats and found messages in the chooser at once.
SHOWN = 200
FOUND = 40
#: The most letters of a model's name beside its chats.
MODEL = 24


class ChatFlows:
    """Choices of the chat screen, each with its questions on the way."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._state = screen.state
        self._shell = screen.shell
        self._studio = screen.studio

    # --- chats ------------------------------------------------------------------------------------------

    async def choose_chat(self) -> None:
        """Open another chat: by title, or by what was said in it; rename or delete one."""
        rename = _while_typing(self._shell.keys_of("chats.rename"))
        delete = _while_typing(self._shell.keys_of("chats.delete"))
        while True:
            chosen = await self._shell.ask(
                Chooser(
                    self._chats,
                    title="a chat, or words in it",
                    empty="No chats yet.",
                    extra=tuple(Option(key, "") for key in (*rename, *delete)),
                    keys=() if self._shell.read_only else ((_first(rename), "rename"), (_first(delete), "delete")),
                )
            )
            if chosen is None:
                return
            what, _, rest = chosen.partition(":")
            if what in (*rename, *delete):
                session_id = rest.partition(":")[2].partition(":")[0]
                if not session_id or self._shell.read_only:
                    continue
                await (self.rename(session_id) if what in rename else self.delete(session_id))
                continue
            session_id, _, message_id = rest.partition(":")
            await self._screen.open(session_id, leaf=message_id or None)
            return

    async def choose_message(self, message: Message) -> None:
        """Show all branches of the chat, and go to the message that is chosen."""
        document, tree = self._screen.document, self._state.tree
        leaf = document.entries[-1].message.id if document.entries else None
        chosen = await self._shell.ask(ChatTreeSheet(tree, leaf, message.id))
        found = next((one for one in tree if one.id == chosen), None)
        if found is not None:
            await self._screen.show_message(found)

    def _chats(self, typed: str) -> list[Choice]:
        """Return the chats that hold what was typed, by title or in a message. Blocking; called in a thread."""
        chat = self._studio.chat
        now = time.time()
        choices = []
        sessions = chat.sessions.list(limit=SHOWN, search=typed, pinned_first=True)
        # The count comes last: it is what a narrow window can do without.
        widest = max((cell_len(clean_line(session.model or "", limit=MODEL)) for session in sessions), default=0)
        kept = self._state.left_off.tabs
        for session in sorted(sessions, key=lambda one: one.id not in kept):
            at = numbers.when(session.updated_at)
            model = set_cell_size(clean_line(session.model or "", limit=MODEL), widest)
            many = "message" if session.messages == 1 else "messages"
            choices.append(
                Choice(
                    f"open:{session.id}",
                    session.title or "New chat",
                    f"{numbers.moment(at, now):>6}  {model}  {session.messages:>3} {many}",
                    group="Tabs"
                    if session.id in kept
                    else "Pinned"
                    if session.pinned_at is not None
                    else paint.day(at, now),
                    words=" ".join(session.tags),
                )
            )
        if len(typed.strip()) > 1:
            seen = {choice.value for choice in choices}
            for hit in self._studio.chats.find_text(typed, limit=FOUND):
                if f"open:{hit.session_id}" not in seen:
                    value = f"open:{hit.session_id}:{hit.message_id}"
                    choices.append(Choice(value, clean_line(hit.snippet, limit=200), hit.title, group="Said in a chat"))
        return choices

    async def rename(self, session_id: str) -> None:
        """Ask for another title."""
        rows = (await self._screen.service()).sessions
        session = await self._shell.in_thread(partial(rows.get, session_id))
        chosen = await self._shell.ask(Prompt("Rename the chat", clean_line(session.title), select=True))
        if chosen is not None and chosen.strip():
            await self._shell.in_thread(partial(rows.rename, session_id, chosen.strip()))
            await self._refresh(session_id)

    async def delete(self, session_id: str) -> None:
        """Put a chat into the trash, after saying what that means."""
        rows = (await self._screen.service()).sessions
        session: Session = await self._shell.in_thread(partial(rows.get, session_id))
        began_at = self._shell.focused
        chosen = await self._shell.ask(
            Question(
                f"Delete {clean_line(session.title or 'New chat', limit=60)}?",
                f"Its {session.messages} messages go to the trash. {undo_key(self._shell) or 'Undo'} brings it back; "
                "so does `vllm-studio chats restore`.",
                [Option("d", "put it into the trash")],
                "keep it",
            )
        )
        if chosen is None:
            return
        self._screen.answers.stop(session_id)
        await self._shell.in_thread(partial(rows.trash, session_id))
        if key := undo_key(self._shell):
            title = clean_line(session.title or "New chat", limit=60)
            writing = "" if isinstance(began_at, ChatList) else f"; while you write: esc, {key}"
            self._shell.tell(f"{title} is deleted. {key} brings it back{writing}.")
        if self._state.shown.id == session_id:
            self._screen.new_chat()
        if isinstance(began_at, ChatList):
            began_at.focus()  # the next key is for the list too, as one that brings the chat back
        await self._screen.reload_list()

    async def _refresh(self, session_id: str) -> None:
        """Show what was changed about a chat."""
        chat = self._state.of(session_id)
        if chat is not None:
            rows = (await self._screen.service()).sessions
            chat.set_session(await self._shell.in_thread(partial(rows.get, session_id)))
        await self._screen.reload_list()

    # --- model ------------------------------------------------------------------------------------------

    async def choose_model(self) -> None:
        """Choose who answers: a run, an external server, or a recipe to launch."""
        chat = self._state.shown
        glyphs = self._shell.ink.glyphs
        choices = []
        live = set()
        for run in self._screen.commands.runs:
            if run.live:
                live.add(run.recipe_id)
                note = stage_word(run.status.stage) if run.state is State.LOADING else str(run.state)
                mark = glyphs.state(run.state)
                choices.append(Choice(f"use:{run.recipe_id}", run.name, note, "", "Running", run.recipe_id, mark))
        for recipe_id, data in await self._shell.in_thread(self._studio.recipe_list):
            if data.get("backend") == "external":
                where = mask_text(str(data.get("base_url", "")))
                choices.append(Choice(f"use:{recipe_id}", recipe_id, where, "", "External"))
        if not self._shell.read_only:
            choices += [
                Choice(f"launch:{one.value}", f"launch {one.value}", one.note, "", "Recipes", one.words)
                for one in await self._screen.commands.recipe_choices()
                if one.value not in live
            ]
        empty = "No model is up, and no recipe is there."
        chosen = await self._shell.ask(Chooser(choices, title="who answers", empty=empty))
        if chosen is None:
            return
        what, _, recipe_id = chosen.partition(":")
        if what == "launch" and await self._screen.commands.launch(recipe_id) is None:
            return
        chat.use_recipe(recipe_id, keep=True)
        await self._screen.save_settings(chat)

    # --- copying ----------------------------------------------------------------------------------------

    async def copy_code(self, message: Message) -> None:
        """Copy a code block of a message, as its source."""
        blocks = code_blocks(message.content)
        if not blocks:
            self._shell.tell("There is no code block in this message.")
            return
        index = 0
        if len(blocks) > 1:
            choices = [
                Choice(
                    str(at),
                    clean_line(code.strip().split("\n")[0], limit=60),
                    f"{language} {code.count(chr(10))} lines",
                )
                for at, (language, code) in enumerate(blocks)
            ]
            chosen = await self._shell.ask(Chooser(choices, title="which code block"))
            if chosen is None:
                return
            index = int(chosen)
        self._shell.copy(blocks[index][1])

    async def look(self, message: Message) -> None:
        """Show what went with a question, whole."""
        from vllm_studio_tui.tui.sheets.attachments import AttachmentSheet

        await self._shell.ask(AttachmentSheet(attached_of(message)))

    async def show_tokens(self, message: Message) -> None:
        """Show how likely the tokens of an answer were, and what else might have stood there."""
        from vllm_studio_tui.tui.sheets.tokens import TokenSheet, tokens_of

        if not tokens_of(message):
            self._shell.tell("The engine was not asked how likely its tokens were: /logprobs 5, then ask again.")
            return
        await self._shell.ask(TokenSheet(message))

    async def export_chat(self, message: Message | None = None) -> None:
        """Write the chat to a file, in the form that is chosen."""
        from vllm_studio_tui.tui.flows.export import export

        session = self._state.shown.session
        if session is None:
            self._shell.tell("There is nothing to export yet.")
            return
        choices = [Choice(one.name, one.name, f"{one.help}  {one.suffix}") for one in FORMS]
        chosen = await self._shell.ask(Chooser(choices, title="write this chat as"))
        if chosen is None:
            return
        form, target = form_of(chosen), None
        if form.asks:
            try:
                target = await self._shell.in_thread(partial(self._studio.launcher.target_of_chat, session))
            except StudioError as error:
                self._shell.tell(f"{error.title}: the address in it will be a guess.", "warning")
        title = clean_line(session.title, limit=60) or "chat"
        make = partial(self._studio.chats.written, session.id, form.name, target)
        await export(self._shell, title, form.suffix, make, what="this chat")

    async def copy_chat(self) -> None:
        """Copy the branch that is shown, as Markdown."""
        self._shell.copy(self._markdown())

    def _markdown(self) -> str:
        parts = [
            f"## {ROLE_TITLES.get(entry.message.role, entry.message.role)}\n\n{entry.message.content}"
            for entry in self._screen.document.entries
            if entry.message.content.strip()
        ]
        return "\n\n".join(parts) + "\n"


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Return the fenced code of a message: language and source of each block."""
    scanner = Scanner()
    found = []
    for chunk in [*scanner.feed(text), *scanner.close()]:
        lines = chunk.splitlines(keepends=True)
        first = lines[0].strip() if lines else ""
        if first.startswith(("```", "~~~")):
            body = lines[1:-1] if len(lines) > 1 and lines[-1].strip().startswith(first[:3]) else lines[1:]
            found.append((first.lstrip("`~").strip().split(" ")[0], "".join(body)))
    return found


def _while_typing(keys: str) -> list[str]:
    """Return the keys that type nothing."""
    return [key for key in keys.split(",") if len(key) > 1]


def _first(keys: list[str]) -> str:
    return key_text(keys[-1])
