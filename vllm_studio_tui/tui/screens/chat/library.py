"""The library of prompts and system prompts, as a sheet: use, write, change, rename, delete."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vllm_studio_tui.domain.library import KINDS, LibraryText
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Question, Writing

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROUPS = {"prompt": "Prompts", "system": "System prompts"}
_KEYS = ("ctrl+n", "f9", "ctrl+r", "ctrl+d")


class LibraryFlows:
    """What a person does with the texts kept by name."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._shell = screen.shell
        self._library = screen.studio.library

    def texts(self) -> Sequence[LibraryText]:
        """Return the prompts and system prompts. Blocking."""
        return [one for one in self._library.list() if one.kind in _GROUPS]

    async def open(self) -> None:
        """Show the library until something is used, or esc."""
        writing = not self._shell.read_only
        while True:
            texts = await self._shell.in_thread(self.texts)
            choices = [
                Choice(
                    f"{one.kind}:{one.name}",
                    one.name,
                    clean_line(one.text.strip().partition("\n")[0], limit=60),
                    group=_GROUPS[one.kind],
                    words=one.text[:500],
                )
                for kind in _GROUPS
                for one in texts
                if one.kind == kind
            ]
            if writing:
                choices += [
                    Choice("new:prompt", "write a prompt", group="New"),
                    Choice("new:system", "write a system prompt", group="New"),
                ]
            chosen = await self._shell.ask(
                Chooser(
                    choices,
                    title="library: prompts and system prompts",
                    empty="Nothing is kept yet.",
                    extra=tuple(Option(key, "") for key in _KEYS) if writing else (),
                    keys=(("^n", "new"), ("f9", "edit"), ("^r", "rename"), ("^d", "delete")) if writing else (),
                )
            )
            if chosen is None:
                return
            key, _, rest = chosen.partition(":")
            if key in _GROUPS:
                await self.use(key, rest)
                return
            if key == "new":
                await self.write(rest)
                continue
            kind, _, name = rest.partition(":")
            if kind == "new" or key == "ctrl+n":
                await self.write(name if kind == "new" else kind)
            elif key == "f9":
                await self._edit(kind, name)
            elif key == "ctrl+r":
                new = await self._shell.ask(Prompt(f"Rename the {KINDS[kind]}", clean_line(name), select=True))
                if new and new.strip():
                    await self._shell.in_thread(partial(self._library.rename, kind, name, new))
            else:
                await self._delete(kind, name)

    async def use(self, kind: str, name: str) -> None:
        """Put a prompt where the cursor is, or make a system prompt that of this chat."""
        one = await self._shell.in_thread(partial(self._library.get, kind, name))
        if kind == "prompt":
            self._screen.prompt.insert(one.text)
            self._screen.prompt.focus()
            return
        chat = self._screen.state.shown
        chat.set("system", one.text.strip() or None)
        await self._screen.save_settings(chat)
        self._shell.tell(f"The system prompt of this chat is {clean_line(one.name)} now.")

    async def write(self, kind: str) -> None:
        """Ask for a new text and its name."""
        begin = (
            self._screen.prompt.text if kind == "prompt" else str(self._screen.state.shown.settings.get("system") or "")
        )
        text = await self._shell.ask(Writing(f"A {KINDS[kind]} for the library", begin, "next comes its name"))
        if text is not None and text.strip():
            await self._name(kind, text)

    async def keep_question(self, name: str) -> None:
        """Keep the last question of this chat as a prompt."""
        entries = self._screen.document.entries
        asked = next((one.message.content for one in reversed(entries) if one.message.role == "user"), "")
        if not asked.strip():
            self._shell.tell("No question was asked here yet.")
        elif name:
            await self._save("prompt", name, asked)
        else:
            await self._name("prompt", asked)

    async def _name(self, kind: str, text: str) -> None:
        first = clean_line(text.strip().partition("\n")[0], limit=40)
        name = await self._shell.ask(
            Prompt(f"Name of the {KINDS[kind]}", first, note="# finds it by this", select=True)
        )
        if name and name.strip():
            await self._save(kind, name, text)

    async def _save(self, kind: str, name: str, text: str) -> None:
        one = await self._shell.in_thread(partial(self._library.save, kind, name, {"text": text}))
        self._shell.tell(f"{clean_line(one.name)} is in the library; # in the prompt finds it.")

    async def _edit(self, kind: str, name: str) -> None:
        one = await self._shell.in_thread(partial(self._library.get, kind, name))
        text = await self._shell.ask(Writing(clean_line(name), one.text))
        if text is not None and text.strip():
            await self._shell.in_thread(partial(self._library.save, kind, one.name, {"text": text}))

    async def _delete(self, kind: str, name: str) -> None:
        question = Question(
            f"Delete {clean_line(name, limit=60)}?",
            f"The {KINDS[kind]} is gone then. Chats that use it keep its text.",
            [Option("d", "delete it")],
            "keep it",
        )
        if await self._shell.ask(question) is not None:
            await self._shell.in_thread(partial(self._library.delete, kind, name))
