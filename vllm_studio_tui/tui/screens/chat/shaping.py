"""What shapes the answers of a chat: system prompt, thinking, presets, parameters of sampling, the form of answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.chat_settings import form_of, shaped, with_preset
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.sampling import (
    BY_NAME,
    FORMS,
    MOST_TEXT,
    PARAMETERS,
    AnswerForm,
    form_of_text,
    read_form,
    read_value,
    written,
)
from vllm_studio_tui.domain.tool_choice import AUTO, WORDS, forces
from vllm_studio_tui.domain.tools import tools_of
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.screens.chat.completion import summary
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.dialogs import Option, Prompt, Writing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm_studio_tui.tui.screens.chat.state import Chat

_THINKING = {None: "as the model does it", True: "on", False: "off"}
_OFF = ("", "off", "none", "default")


class Shaping:
    """Choices of what shapes the answers of the chat that is shown."""

    def __init__(self, screen: ChatScreen) -> None:
        self._screen = screen
        self._state = screen.state
        self._shell = screen.shell
        self._studio = screen.studio

    async def _keep(self, chat: Chat, words: str = "") -> None:
        await self._screen.save_settings(chat)
        if words:
            self._shell.tell(words)

    # --- one sheet of all -------------------------------------------------------------------------------

    async def change_settings(self) -> None:
        """Everything that shapes the answers of this chat, one after the other until esc."""
        chat = self._state.shown
        while True:
            chosen = await self._shell.ask(
                Chooser(
                    self._settings(chat),
                    title="settings of this chat",
                    extra=(Option("ctrl+d", ""),),
                    keys=(("^d", "unset"),),
                )
            )
            if chosen is None:
                return
            taken_back = chosen.startswith("ctrl+d:")
            what = chosen.removeprefix("ctrl+d:")
            if taken_back:
                chat.set(what, None)
                await self._keep(chat)
            elif what == "preset":
                await self.choose_preset()
            elif what == "thinking":
                chat.set("thinking", {None: True, True: False, False: None}[chat.settings.get("thinking")])
                await self._keep(chat)
            elif what == "system":
                await self.write_system()
            elif what == "form":
                await self.choose_form()
            else:
                await self.ask_parameter(what)

    def _settings(self, chat: Chat) -> list[Choice]:
        settings, takes = chat.settings, self._takes(chat)
        values = shaped(settings)
        form, preset = form_of(settings), settings.get("preset")
        choices = [
            Choice("preset", "preset", clean_line(str(preset), limit=60) if preset else "none"),
            Choice("system", "system prompt", _note(settings["system"]) if settings.get("system") else "none"),
            Choice("thinking", "thinking", _THINKING.get(settings.get("thinking"), _THINKING[None])),
            Choice("form", "form of answers", "free" if form is None else clean_line(form.words, limit=60)),
        ]
        for one in PARAMETERS:
            refused = takes is not None and one.name not in takes[1]
            note = _note(values.get(one.name))
            if refused and takes is not None:
                note = f"{note}  {takes[0]} takes none" if one.name in values else f"{takes[0]} takes none"
            group = "Sampling" if not refused else "Not taken"
            choices.append(Choice(one.name, one.title, note, "", group, one.help))
        return sorted(choices, key=lambda one: ["", "Sampling", "Not taken"].index(one.group))

    def _takes(self, chat: Chat) -> tuple[str, Mapping[str, str]] | None:
        """Return the title of the engine that would answer, and the parameters it takes; None: they are not known."""
        from vllm_studio_tui.backends import registry

        run = self._screen.run_for(chat)
        name = run.spec.backend if run is not None and run.spec is not None else None
        backend = registry.find(name) if name is not None else None
        return None if backend is None or backend.sampling is None else (backend.title, backend.sampling)

    # --- one after the other ----------------------------------------------------------------------------

    async def write_system(self) -> None:
        chat = self._state.shown
        before = str(chat.settings.get("system") or "")
        note = "/library keeps it by name; blank: none"
        text = await self._shell.ask(Writing("System prompt of this chat", before, note))
        if text is not None:
            chat.set("system", text.strip() or None)
            await self._keep(chat)

    async def set_system(self, text: str) -> None:
        chat = self._state.shown
        chat.set("system", None if text.strip() in _OFF else text)
        await self._keep(chat, "This chat has no system prompt now." if text.strip() in _OFF else "")

    async def set_thinking(self, word: str) -> None:
        chat = self._state.shown
        words = {"on": True, "off": False, "auto": None}
        now = chat.settings.get("thinking")
        if word and word not in words:
            self._shell.tell("/think on, off or auto", "warning")
            return
        chat.set("thinking", words[word] if word else {None: True, True: False, False: None}[now])
        await self._keep(chat, f"thinking: {_THINKING[chat.settings.get('thinking')]}")

    async def ask_parameter(self, name: str) -> None:
        """Ask for the value of one parameter."""
        if name == "tool_choice":
            await self.choose_call("")
            return
        chat, one = self._state.shown, BY_NAME[name]
        now = shaped(chat.settings).get(name)
        if one.kind == "texts":
            note = r"one a line; \n is a line's end; blank: none"
            text = await self._shell.ask(Writing(f"{one.title}: {one.help}", "" if now is None else written(now), note))
        else:
            note = "blank leaves it to the engine"
            check = partial(_wrong, name)
            before = "" if now is None else written(now)
            title = f"{one.title}: {one.help}"
            text = await self._shell.ask(Prompt(title, before, note=note, check=check, select=True))
        if text is not None:
            await self.set_parameter(name, text)

    async def set_parameter(self, name: str, text: str) -> None:
        """Take a value as it was written; blank or `off`: the engine's own."""
        chat = self._state.shown
        value: Any = None
        off = ("", "off", "default", AUTO) if name == "tool_choice" else _OFF
        if text.strip().lower() not in off or (BY_NAME[name].kind == "bool" and text.strip() == "off"):
            try:
                value = read_value(name, text)
            except ValueError as error:
                self._shell.tell(f"{name}: {error}", "warning")
                return
        chat.set(name, list(value) if isinstance(value, tuple) else value)
        takes = self._takes(chat)
        lost = value is not None and takes is not None and name not in takes[1]
        words = f"{name}: {'the engine’s own' if value is None else written(value)}".replace("\n", "  ")
        await self._keep(chat, words)
        if lost and takes is not None:
            self._shell.tell(f"{takes[0]} takes no {name}: it will not be sent.", "warning")

    async def choose_call(self, word: str) -> None:
        """Leave calls of tools to the model, forbid them, or force one: a word, or the name of a tool."""
        chat = self._state.shown
        if not word:
            now = shaped(chat.settings).get("tool_choice", AUTO)
            choices = [Choice(one, one, f"{what}  now" if one == now else what) for one, what in WORDS.items()]
            choices += [
                Choice(one.name, one.name, "now" if one.name == now else "", group="Force a call of")
                for one in self._screen.tool_flows.offered(chat)
            ]
            chosen = await self._shell.ask(Chooser(choices, title="calls of tools, or the name of one", free=True))
            if chosen is None:
                return
            word = chosen
        await self.set_parameter("tool_choice", word)
        if forces(shaped(chat.settings).get("tool_choice")) and tools_of(chat.settings) is None:
            self._shell.tell("This chat has no tools to call: /tools chooses them.", "warning")

    # --- presets ----------------------------------------------------------------------------------------

    async def choose_preset(self) -> None:
        """Use a preset, keep what is set as one, rename or delete one."""
        while True:
            chat = self._state.shown
            presets = await self._shell.in_thread(lambda: self._studio.library.list("preset"))
            now = shaped(chat.settings)
            choices = [
                Choice(
                    f"use:{one.name}", one.name, summary(one.data), group="Yours" if not one.built_in else "Built in"
                )
                for one in presets
            ]
            if chat.settings.get("preset") or now:
                choices.append(Choice("none:", "none: all as the engine does it", group="This chat"))
            if now and not self._shell.read_only:
                choices.append(Choice("save:", "keep what is set as a preset", summary(now), group="This chat"))
            keys = () if self._shell.read_only else (("^n", "keep this"), ("f9", "rename"), ("^d", "delete"))
            extra = () if self._shell.read_only else tuple(Option(key, "") for key in ("ctrl+n", "f9", "ctrl+d"))
            chosen = await self._shell.ask(Chooser(choices, title="preset", extra=extra, keys=keys))
            if chosen is None:
                return
            key, _, rest = chosen.partition(":")
            if key in ("use", "none", "save"):
                await self._preset_chosen(key, rest, now)
                return
            name = rest.partition(":")[2]
            if key == "ctrl+n":
                await self._save_preset(now)
            elif key == "f9" and name:
                new = await self._shell.ask(Prompt("Rename the preset", clean_line(name), select=True))
                if new:
                    await self._shell.in_thread(partial(self._studio.library.rename, "preset", name, new))
            elif key == "ctrl+d" and name:
                await self._shell.in_thread(partial(self._studio.library.delete, "preset", name))
                self._shell.tell(f"The preset {clean_line(name)} is deleted; chats that use it stay as they are.")

    async def _preset_chosen(self, what: str, name: str, now: dict[str, Any]) -> None:
        if what == "use":
            await self.use_preset(name)
        elif what == "none":
            await self.use_preset("none")
        else:
            await self._save_preset(now)

    async def use_preset(self, name: str) -> None:
        """Put a preset in the place of all that shapes the answers of this chat."""
        chat = self._state.shown
        if name in _OFF:
            chat.replace_settings(with_preset(chat.settings, "", {}))
            chat.set("preset", None)
            await self._keep(chat, "Answers are shaped as the engine does it by itself.")
            return
        one = await self._shell.in_thread(partial(self._studio.library.get, "preset", name))
        chat.replace_settings(with_preset(chat.settings, one.name, one.data))
        await self._keep(chat, f"preset {clean_line(one.name)}: {summary(one.data)}")

    async def _save_preset(self, now: dict[str, Any]) -> None:
        if not now:
            self._shell.tell("Nothing is set for this chat that could be kept.")
            return
        chat = self._state.shown
        before = str(chat.settings.get("preset") or "")
        name = await self._shell.ask(Prompt("Keep what is set as a preset called", before, note=summary(now)))
        if name and name.strip():
            save = partial(self._studio.library.save, "preset", name, {**now})
            one = await self._shell.in_thread(save)
            chat.set("preset", one.name)
            await self._keep(chat, f"The preset {clean_line(one.name)} is kept; f3 or /preset uses it in any chat.")

    # --- the form of answers ----------------------------------------------------------------------------

    async def choose_form(self) -> None:
        """Choose what answers must be: free, JSON, by a schema, an expression, a choice, a grammar; or one kept."""
        chat = self._state.shown
        kept = await self._shell.in_thread(lambda: self._studio.library.list("form"))
        form = form_of(chat.settings)
        choices = [Choice("free", "free text", "" if form is not None else "now")]
        choices += [
            Choice(f"kind:{kind}", what, "now" if form is not None and form.kind == kind else "")
            for kind, what in FORMS.items()
        ]
        choices += [Choice(f"kept:{one.name}", one.name, FORMS[str(one.data["kind"])], group="Kept") for one in kept]
        chosen = await self._shell.ask(Chooser(choices, title="what answers must be"))
        if chosen is None:
            return
        what, _, rest = chosen.partition(":")
        if what == "free":
            await self._use_form(None)
        elif what == "kept":
            await self._use_form(read_form(next(one.data for one in kept if one.name == rest)))
        elif rest == "json_object":
            await self._use_form(AnswerForm("json_object"))
        else:
            await self._write_form(rest, form)

    async def _write_form(self, kind: str, before: AnswerForm | None) -> None:
        import json

        text = ""
        if before is not None and before.kind == kind:
            indented = kind == "json_schema"
            text = json.dumps(before.value, indent=2, ensure_ascii=False) if indented else written(before.value)
        notes = {"json_schema": "the schema, or /schema FILE reads it", "choice": "one a line"}
        while True:
            written_text = await self._shell.ask(Writing(FORMS[kind], text, notes.get(kind, "")))
            if written_text is None:
                return
            text = written_text
            try:
                await self._use_form(form_of_text(kind, text))
            except ValueError as error:
                self._shell.tell(f"{FORMS[kind]}: {error}", "warning")
            else:
                return

    async def use_schema(self, path: str) -> None:
        """Hold answers to the JSON schema of a file; `off`: to none."""
        if path in _OFF:
            await self._use_form(None)
            return

        def read() -> AnswerForm:
            try:
                with Path(path).expanduser().open("rb") as file:
                    text = file.read(MOST_TEXT + 1).decode(errors="replace")
            except (OSError, ValueError) as error:
                cause = getattr(error, "strerror", None) or str(error)
                raise UsageError(f"{clean_line(path, limit=80)} cannot be read", cause=cause) from None
            try:
                return form_of_text("json_schema", text, Path(path).name)
            except ValueError as error:
                raise UsageError(f"{clean_line(path, limit=80)} is no JSON schema", cause=str(error)) from None

        try:
            form = await self._shell.in_thread(read)
        except StudioError as error:
            self._shell.tell_error(error)
            return
        await self._use_form(form)

    async def _use_form(self, form: AnswerForm | None) -> None:
        chat = self._state.shown
        chat.set("form", None if form is None else form.to_json())
        words = "Answers are free again." if form is None else f"Answers must be {clean_line(form.words, limit=80)}."
        await self._keep(chat, words)


def _note(value: Any) -> str:
    if value is None:
        return "left to the engine"
    return clean_line(value if isinstance(value, str) else written(value).replace("\n", "  "), limit=60)


def _wrong(name: str, text: str) -> str | None:
    """Return what is wrong with a value that was typed; None where nothing is."""
    if text.strip().lower() in _OFF:
        return None
    try:
        read_value(name, text)
    except ValueError as error:
        return str(error)
    return None
