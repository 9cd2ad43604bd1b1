"""The command palette, what a click on a link does, and the choice of a theme."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.run import ANSWERING
from vllm_studio_tui.kit.sanitize import clean_line
from vllm_studio_tui.tui.flows.commands import Commands
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.widget import Widget

    from vllm_studio_tui.tui.shell import Shell


async def palette(shell: Shell, screen: Widget) -> None:
    """Choose a command by name and run it: of a run, of `screen`, of the app, or launching a recipe."""
    commands = Commands(shell)
    active = shell.active_actions()
    scopes = {action.scope for action, _ in active}
    active += [(action, "") for action in actions.ACTIONS if not action.keys and action.scope in scopes]
    here = {action.id for action, _ in active}
    load = partial(_choices, shell, commands, active)
    said = await shell.ask(Chooser((), title="a command", load=load))
    if said is None:
        return
    kind, _, rest = said.partition(":")
    if kind == "launch":
        await commands.launch(rest)
    elif kind == "chat":
        await commands.chat_with(rest)
    elif kind == "log":
        await commands.open_log(rest)
    elif kind == "run":
        shell.open_run(rest)
    elif kind == "stop" and (found := commands.run_of(rest)) is not None:
        await commands.stop(found)
    elif said in actions.BY_ID:
        action = actions.BY_ID[said]
        if action.id in here or action.scope == "app":
            await _run(shell, screen, action)


async def _choices(shell: Shell, commands: Commands, active: Sequence[tuple[Action, str]]) -> list[Choice]:
    """Return what the palette offers: runs, what can be done here, what everywhere, recipes."""
    choices: list[Choice] = []
    for run in commands.runs:
        mark = shell.ink.glyphs.state(run.state)
        name = clean_line(run.name, limit=40)
        if run.state in ANSWERING:
            choices.append(Choice(f"chat:{run.recipe_id}", f"chat with {name}", "", "", "Runs", mark=mark))
        if not shell.read_only:
            choices.append(Choice(f"stop:{run.run_id}", f"stop {name}", str(run.state), "", "Runs", mark=mark))
        choices.append(Choice(f"run:{run.run_id}", f"open {name}", str(run.state), "", "Runs", mark=mark))
        choices.append(Choice(f"log:{run.run_id}", f"log of {name}", "", "", "Runs", mark=mark))
    groups = (
        ("Here", [action for action, _ in active if action.scope not in ("app", "list", "table")]),
        ("Everywhere", actions.of("app")),
    )
    choices += [
        Choice(action.id, action.help, "", actions.keys_text(shell.keys_of(action.id), 1), group)
        for group, found in groups
        for action in found
        if action.palette and not (action.writes and shell.read_only)
    ]
    if not shell.read_only:
        live = {run.recipe_id for run in commands.runs if run.live}
        choices += [
            Choice(f"launch:{one.value}", f"launch {one.value}", one.note, "", "Recipes", one.words)
            for one in await commands.recipe_choices()
            if one.value not in live
        ]
    return choices


async def _run(shell: Shell, screen: Widget, action: Action) -> None:
    """Run an action on the first widget that has its scope, from the focused one outwards."""
    app = screen.app
    focused = shell.focused
    targets: list[DOMNode] = [*(focused.ancestors_with_self if focused is not None else ()), screen, app]
    for target in targets:
        method = getattr(target, f"action_{action.method}", None)
        scope = getattr(target, "SCOPE", "app" if target is app else None)
        if method is not None and scope == action.scope:
            result = method()
            if isinstance(result, Awaitable):
                await result
            return


def click(shell: Shell, action: str, screen: Widget) -> None:
    """Do what a clicked link asks for: `run:ID` opens a run, anything else is an action by id or a method's name."""
    if action.startswith("run:"):
        shell.open_run(action[4:])
        return
    known = actions.BY_ID.get(action)
    target: DOMNode = screen
    if known is not None and known.scope == "app":
        target = screen.app
    elif known is not None and known.scope in ("list", "table") and shell.focused is not None:
        target = shell.focused
    name = known.method if known is not None else action
    method = getattr(target, f"action_{name}", None)
    if method is not None and target.check_action(name, ()):
        result = method()
        if isinstance(result, Awaitable):
            shell.spawn(result)


async def choose_theme(shell: Shell) -> None:
    """Choose a theme; each is shown while the cursor is on it."""
    before = shell.theme
    themes = sorted(shell.looks.themes.items())
    choices = [Choice(name, name, "dark" if theme.dark else "light") for name, theme in themes]
    said = cast("str | None", await shell.ask(Chooser(choices, title="theme", preview=shell.set_theme)))
    shell.set_theme(said or before)
    if said is not None and said != before and not shell.read_only:
        from vllm_studio_tui.config.settings import save_setting

        try:
            await shell.in_thread(lambda: save_setting(shell.studio.places, "theme", said))
        except (StudioError, NotFound) as error:
            shell.tell(f"The theme is for this session only: {error}", "warning")
