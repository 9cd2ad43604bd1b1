"""Slash commands of the prompt: one table. Every action of the chat that the palette lists is one as well.

A command of another area is a row of `COMMANDS`: its name, what it does, and a coroutine that is given the screen and
what stands behind the name.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from vllm_studio_tui.domain.sampling import BY_NAME
from vllm_studio_tui.tui.flows.palette import click
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.chat.comparing import Comparing
from vllm_studio_tui.tui.screens.chat.completion import quoted
from vllm_studio_tui.tui.screens.chat.importing import ImportFlows
from vllm_studio_tui.tui.screens.chat.library import LibraryFlows
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.shaping import Shaping

if TYPE_CHECKING:
    from textual.widget import Widget

#: A prompt that is a command. A blank before it makes it a question.
_GIVEN = re.compile(r"/([a-z][a-z-]*)(?:\s+(.*))?\s*", re.DOTALL)
#: Other names of actions, where the own one says too little without its screen.
_CALLED = {
    "chat.thinking": "fold-thinking",
    "transcript.regenerate": "again",
    "transcript.previous": "previous-answer",
    "transcript.next": "next-answer",
    "transcript.info": "tokens",
}
#: Actions of elsewhere that are commands too.
_OTHERS = ("app.help", "app.theme", "app.settings", "app.doctor", "app.quit-studio", "app.undo")
_OTHER_NAMES = {"app.settings": "studio-settings", "app.quit-studio": "quit"}


class PromptScreen(ChatScreen, Protocol):
    """The chat screen, as commands see it."""

    @property
    def widget(self) -> Widget: ...
    @property
    def shaping(self) -> Shaping: ...
    @property
    def library(self) -> LibraryFlows: ...
    @property
    def importing(self) -> ImportFlows: ...
    @property
    def comparing(self) -> Comparing: ...


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command.

    Attributes:
        name: Small letters and `-`.
        help: What it does.
        run: Does it; the second argument is what was written behind the name.
        argument: What may stand there, in a word or two; empty: nothing.
        choices: What is offered for it: `file`, `preset`, `parameter`, or the words themselves.
        writes: Whether it changes anything; `--read-only` has it not.
    """

    name: str
    help: str
    run: Callable[[PromptScreen, str], Awaitable[None]]
    argument: str = ""
    writes: bool = False
    choices: str = ""


async def _system(screen: PromptScreen, text: str) -> None:
    await (screen.shaping.set_system(text) if text else screen.shaping.write_system())


async def _preset(screen: PromptScreen, name: str) -> None:
    await (screen.shaping.use_preset(name) if name else screen.shaping.choose_preset())


async def _set(screen: PromptScreen, text: str) -> None:
    name, _, value = text.replace("=", " ", 1).partition(" ")
    name = name.replace("-", "_")
    if name and name not in BY_NAME:
        screen.shell.tell(f"{name} is no parameter of sampling; /set alone lists them.", "warning")
    elif name and value.strip():
        await screen.shaping.set_parameter(name, value.strip())
    elif name:
        await screen.shaping.ask_parameter(name)
    else:
        await screen.shaping.change_settings()


async def _stop(screen: PromptScreen, text: str) -> None:
    await (screen.shaping.set_parameter("stop", text) if text else screen.shaping.ask_parameter("stop"))


async def _logprobs(screen: PromptScreen, text: str) -> None:
    now = screen.state.shown.settings.get("logprobs")
    await screen.shaping.set_parameter("logprobs", text or ("5" if now is None else "off"))


async def _schema(screen: PromptScreen, path: str) -> None:
    await (screen.shaping.use_schema(path) if path else screen.shaping.choose_form())


async def _think(screen: PromptScreen, word: str) -> None:
    await screen.shaping.set_thinking(word)


async def _tool_choice(screen: PromptScreen, word: str) -> None:
    await screen.shaping.choose_call(word)


async def _library(screen: PromptScreen, text: str) -> None:
    await screen.library.open()


async def _keep(screen: PromptScreen, name: str) -> None:
    await screen.library.keep_question(name)


async def _attach(screen: PromptScreen, path: str) -> None:
    screen.prompt.insert_at_end(f"@{quoted(path)} " if path else "@")


async def _import(screen: PromptScreen, path: str) -> None:
    await screen.importing.run(path)


async def _compare(screen: PromptScreen, text: str) -> None:
    await screen.comparing.compare(text)


COMMANDS: tuple[SlashCommand, ...] = (
    SlashCommand("system", "the system prompt of this chat", _system, "text"),
    SlashCommand("preset", "parameters of sampling that are kept by name", _preset, "name", choices="preset"),
    SlashCommand("set", "one parameter of sampling, for this chat", _set, "name value", choices="parameter"),
    SlashCommand("stop-at", "texts at which an answer ends", _stop, "text"),
    SlashCommand("schema", "hold answers to a JSON schema, or another form", _schema, "file", choices="file"),
    SlashCommand("logprobs", "tell how likely each token was: how many others, or off", _logprobs, "number"),
    SlashCommand(
        "think",
        "have the model think: on, off, or as it does by itself: auto",
        _think,
        "on off auto",
        choices="on off auto",
    ),
    SlashCommand(
        "tool-choice",
        "whether a tool is called: auto, none, required, or the name of one",
        _tool_choice,
        "choice",
        choices="auto none required",
    ),
    SlashCommand("library", "prompts and system prompts: use, write, change, delete", _library),
    SlashCommand("keep", "keep your last question in the library", _keep, "name", writes=True),
    SlashCommand("compare", "one question to 2 to 4 runs or presets, side by side", _compare, "question", writes=True),
    SlashCommand("import", "chats of ChatGPT, LM Studio, oterm, others", _import, "path", writes=True, choices="file"),
    SlashCommand("attach", "a file, with what follows", _attach, "path", choices="file"),
)


@lru_cache(maxsize=1)
def every() -> tuple[SlashCommand, ...]:
    """Return all commands, by name."""
    found = {one.name: one for one in COMMANDS}
    for action in actions.ACTIONS:
        ours = action.scope in ("chat", "transcript", "prompt", "chats") and action.palette
        if ours or action.id in _OTHERS:
            name = _CALLED.get(action.id) or _OTHER_NAMES.get(action.id) or action.name
            run = _with_message(action, name) if action.scope == "transcript" else _action(action.id)
            found.setdefault(name, SlashCommand(name, action.help, run, writes=action.writes))
    return tuple(sorted(found.values(), key=lambda one: one.name))


def _action(action_id: str) -> Callable[[PromptScreen, str], Awaitable[None]]:
    async def run(screen: PromptScreen, text: str) -> None:
        click(screen.shell, action_id, screen.widget)

    return run


def _with_message(action: Action, name: str) -> Callable[[PromptScreen, str], Awaitable[None]]:
    """Return what does an action of the transcript from the prompt: with the message under the cursor, or the last."""

    async def run(screen: PromptScreen, text: str) -> None:
        document = screen.document
        if not document.check_action(action.method, ()):
            screen.shell.tell(f"/{name} is not for this message, or not now: {action.help}", "warning")
            return
        getattr(document, f"action_{action.method}")()

    return run


def offered(*, read_only: bool) -> tuple[SlashCommand, ...]:
    """Return the commands that can be given now."""
    return tuple(one for one in every() if not (one.writes and read_only))


def given(text: str) -> tuple[SlashCommand | None, str, str] | None:
    """Return the command, its name and what stands behind it; None where a prompt is no command."""
    found = _GIVEN.fullmatch(text)
    if found is None:
        return None
    command = next((one for one in every() if one.name == found[1]), None)
    return command, found[1], (found[2] or "").strip()
