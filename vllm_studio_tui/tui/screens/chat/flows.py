"""What is chosen and asked for in a chat: another chat, the model, settings, what to copy."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat import ROLE_TITLES, Message, Session
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.kit import numbers
from vllm_studio_tui.kit.masking import mask_text
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.document.scanner import Scanner
from vllm_studio_tui.tui.keys.actions import key_text
from vllm_studio_tui.tui.paint.run_words import stage_word
from vllm_studio_tui.tui.screens.chat import rows as paint
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question, Writing

if TYPE_CHECKING:
    from vllm_studio_tui.tui.screens.chat.place import ChatPlace

#: Chats and found messages in the chooser at once.
SHOWN = 200
FOUND = 40


class ChatFlows:
    """Flows of the chat screen."""

    def __init__(self, place: ChatPlace) -> None:
        self._place = place
        self._app = place.shell
        self._studio = place.studio

    # --- chats ------------------------------------------------------------------------------------------

    async def choose_chat(self) -> None:
        """Open another chat: by title, or by what was said in it; rename or delete one."""
        rename = self._app.keys_of("chats.rename").split(",")
        delete = self._app.keys_of("chats.delete").split(",")
        while True:
            said = await self._app.ask(
                Chooser(
                    self._chats,
                    title=f"a chat, or words in it   {_first(rename)} rename   {_first(delete)} delete",
                    empty="No chats yet.",
                    extra=tuple(Option(key, "") for key in (*rename, *delete)),
                )
            )
            if said is None:
                return
            what, _, rest = said.partition(":")
            if what in (*rename, *delete):
                session_id = rest.partition(":")[2].partition(":")[0]
                if not session_id or self._app.read_only:
                    continue
                await (self._rename(session_id) if what in rename else self._delete(session_id))
                continue
            session_id, _, message_id = rest.partition(":")
            await self._place.open(session_id, leaf=message_id or None)
            return

    def _chats(self, typed: str) -> list[Choice]:
        """Blocking; called in a thread."""
        chat = self._studio.chat
        now = time.time()
        choices = []
        for session in chat.sessions.list(limit=SHOWN, search=typed):
            at = paint.when(session.updated_at)
            choices.append(
                Choice(
                    f"open:{session.id}",
                    session.title or "New chat",
                    f"{numbers.moment(at, now)}   {session.messages} messages   {session.model or ''}",
                    group=paint.day(at, now),
                )
            )
        if len(typed.strip()) > 1:
            seen = {choice.value for choice in choices}
            for hit in self._studio.chats.find_text(typed, limit=FOUND):
                if f"open:{hit.session_id}" not in seen:
                    value = f"open:{hit.session_id}:{hit.message_id}"
                    choices.append(Choice(value, clean_line(hit.snippet, limit=200), hit.title, group="Said in a chat"))
        return choices

    async def _rename(self, session_id: str) -> None:
        rows = self._studio.chat.sessions
        session = await self._app.in_thread(partial(rows.get, session_id))
        said = await self._app.ask(Prompt("Rename the chat", clean_line(session.title)))
        if said is not None and said.strip():
            await self._app.in_thread(partial(rows.rename, session_id, said.strip()))
            await self._refresh(session_id)

    async def _delete(self, session_id: str) -> None:
        rows = self._studio.chat.sessions
        session: Session = await self._app.in_thread(partial(rows.get, session_id))
        said = await self._app.ask(
            Question(
                f"Delete {clean_line(session.title or 'New chat', limit=60)}?",
                f"Its {session.messages} messages go to the trash: `vllm-studio chats list --trash` shows it.",
                [Option("d", "put it into the trash")],
                "keep it",
            )
        )
        if said is None:
            return
        self._place.answers.stop(session_id)
        await self._app.in_thread(partial(rows.trash, session_id))
        if self._place.session is not None and self._place.session.id == session_id:
            self._place.action_new()
        await self._place.reload_list()

    async def _refresh(self, session_id: str) -> None:
        chat = self._place.chats.of(session_id)
        if chat is not None:
            chat.session = await self._app.in_thread(partial(self._studio.chat.sessions.get, session_id))
        await self._place.reload_list()

    # --- model ------------------------------------------------------------------------------------------

    async def choose_model(self) -> None:
        """Choose who answers: a run, an external server, or a recipe to launch."""
        chat = self._place.chat
        glyphs = self._app.ink.glyphs
        choices = []
        live = set()
        for run in self._place.commands.runs:
            if run.live:
                live.add(run.recipe_id)
                note = stage_word(run.status.stage) if run.state is State.LOADING else str(run.state)
                mark = glyphs.state(run.state)
                choices.append(Choice(f"use:{run.recipe_id}", run.name, note, "", "Running", run.recipe_id, mark))
        for recipe_id, data in await self._app.in_thread(self._studio.recipe_list):
            if data.get("backend") == "external":
                where = mask_text(str(data.get("base_url", "")))
                choices.append(Choice(f"use:{recipe_id}", recipe_id, where, "", "External"))
        if not self._app.read_only:
            choices += [
                Choice(f"launch:{one.value}", f"launch {one.value}", one.note, "", "Recipes", one.words)
                for one in await self._place.commands.recipe_choices()
                if one.value not in live
            ]
        empty = "No model is up, and no recipe is there."
        said = await self._app.ask(Chooser(choices, title="who answers", empty=empty))
        if said is None:
            return
        what, _, recipe_id = said.partition(":")
        if what == "launch" and await self._place.commands.launch(recipe_id) is None:
            return
        chat.recipe = recipe_id
        chat.settings["recipe"] = recipe_id
        await self._place.save_settings(chat)

    # --- settings ---------------------------------------------------------------------------------------

    async def change_settings(self) -> None:
        """System prompt, sampling and thinking of this chat, one after the other until esc."""
        place, chat = self._place, self._place.chat
        while True:
            settings = chat.settings
            thinking = settings.get("thinking")
            choices = [
                Choice("thinking", "thinking", {None: "as the model does it", True: "on", False: "off"}[thinking]),
                Choice("system", "system prompt", _note(settings.get("system"))),
                Choice("temperature", "temperature", _note(settings.get("temperature"))),
                Choice("top_p", "top_p", _note(settings.get("top_p"))),
                Choice("max_tokens", "max tokens", _note(settings.get("max_tokens"))),
            ]
            said = await self._app.ask(Chooser(choices, title="settings of this chat"))
            if said is None:
                return
            if said == "thinking":
                _put(settings, "thinking", {None: True, True: False, False: None}[thinking])
            elif said == "system":
                text = await self._app.ask(Writing("System prompt of this chat", str(settings.get("system") or "")))
                if text is not None:
                    _put(settings, "system", text.strip() or None)
            else:
                check = partial(_wrong_number, said)
                now = settings.get(said)
                text = await self._app.ask(
                    Prompt(said, "" if now is None else f"{now:g}", note="blank leaves it to the engine", check=check)
                )
                if text is not None:
                    value = text.strip()
                    _put(settings, said, None if not value else int(value) if said == "max_tokens" else float(value))
            await place.save_settings(chat)

    # --- copying ----------------------------------------------------------------------------------------

    async def copy_code(self, message: Message) -> None:
        """A code block of a message, as its source."""
        blocks = code_blocks(message.content)
        if not blocks:
            self._app.tell("There is no code block in this message.")
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
            said = await self._app.ask(Chooser(choices, title="which code block"))
            if said is None:
                return
            index = int(said)
        self._app.copy(blocks[index][1])

    async def copy_chat(self) -> None:
        """The branch that is read, as Markdown."""
        parts = [
            f"## {ROLE_TITLES.get(entry.message.role, entry.message.role)}\n\n{entry.message.content}"
            for entry in self._place.document.entries
            if entry.message.content.strip()
        ]
        self._app.copy("\n\n".join(parts) + "\n")


def code_blocks(text: str) -> list[tuple[str, str]]:
    """The fenced code of a message: language and source."""
    scanner = Scanner()
    found = []
    for chunk in [*scanner.feed(text), *scanner.close()]:
        lines = chunk.splitlines(keepends=True)
        first = lines[0].strip() if lines else ""
        if first.startswith(("```", "~~~")):
            body = lines[1:-1] if len(lines) > 1 and lines[-1].strip().startswith(first[:3]) else lines[1:]
            found.append((first.lstrip("`~").strip().split(" ")[0], "".join(body)))
    return found


def _first(keys: list[str]) -> str:
    return key_text(keys[-1])


def _note(value: Any) -> str:
    if value is None:
        return "left to the engine"
    return f"{value:g}" if isinstance(value, int | float) else clean_line(str(value), limit=60)


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        settings.pop(name, None)
    else:
        settings[name] = value


_BOUNDS = {"temperature": (0.0, 5.0), "top_p": (0.0, 1.0), "max_tokens": (1, 10_000_000)}


def _wrong_number(name: str, text: str) -> str | None:
    if not text.strip():
        return None
    low, high = _BOUNDS[name]
    try:
        value = int(text) if name == "max_tokens" else float(text)
    except ValueError:
        return "not a number"
    return None if low <= value <= high else f"from {low:g} to {high:g}"
