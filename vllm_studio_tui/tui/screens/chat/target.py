"""Who answers a question: the engine that the chat was held with; another one only if the person says so."""

from __future__ import annotations

from functools import partial

from vllm_studio_tui.domain.chat import Target
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.keys.actions import key_text
from vllm_studio_tui.tui.screens.chat.protocol import ChatScreen
from vllm_studio_tui.tui.screens.chat.state import Chat
from vllm_studio_tui.tui.sheets.dialogs import Option, Question


async def find_target(screen: ChatScreen, chat: Chat) -> Target | None:
    """Return where a question of a chat goes; None where nothing answers yet, which the person has been told."""
    shell = screen.shell
    while True:
        run = screen.run_for(chat)
        if run is not None and run.live and run.state not in ANSWERING:
            return None
        name = chat.recipe or (run.recipe_id if run is not None else None)
        if name is None and (chat.session is None or chat.session.model is None):
            advice = "" if shell.read_only else f" {key_text(shell.keys_of('chat.model'))} chooses or launches one."
            shell.tell(f"No model is up.{advice}", "warning")
            return None
        try:
            target = await shell.in_thread(partial(_find, screen, chat, name))
        except StudioError as error:
            if not await _choose_another(screen, chat, name, error):
                return None
            continue
        chat.use_recipe(target.recipe_id or name)
        return target


def _find(screen: ChatScreen, chat: Chat, name: str | None) -> Target:
    """Blocking."""
    launcher = screen.studio.launcher
    if name is not None:
        return launcher.target(recipe=name)
    assert chat.session is not None
    return launcher.target_of_chat(chat.session)


async def _choose_another(screen: ChatScreen, chat: Chat, name: str | None, error: StudioError) -> bool:
    """Ask what to do, as whom the chat was held with does not answer; return whether to look again."""
    shell, commands = screen.shell, screen.commands
    who = name or (chat.session.model if chat.session is not None else None) or ""
    others = {run.recipe_id: run for run in commands.runs if run.live and run.state in ANSWERING}
    others.pop(who, None)
    recipes = dict(await shell.in_thread(screen.studio.recipe_list))
    options = []
    if name in recipes and recipes[name].get("backend") != "external" and not shell.read_only:
        options.append(Option("l", f"launch {clean_line(name, limit=40)}; the question waits until it is ready"))
    keys = dict(zip("123456789", others, strict=False))
    options += [Option(key, f"ask {clean_line(others[other].name, limit=40)} instead") for key, other in keys.items()]
    if not options:
        shell.tell_error(error)
        return False
    chosen = await shell.ask(
        Question(
            f"{clean_line(who, limit=60)} does not answer",
            "\n".join(filter(None, (error.title, error.cause))),
            options,
            "leave the question in the prompt",
        )
    )
    if chosen == "l" and name is not None:
        return await commands.launch(name) is not None
    if chosen not in keys:
        return False
    chat.use_recipe(keys[chosen], keep=True)
    await screen.save_settings(chat)
    return True
