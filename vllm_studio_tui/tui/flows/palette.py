"""The command palette, what a click on a link does, and the choice of a theme."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import TYPE_CHECKING, Any, cast

from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.tui.flows import replaying
from vllm_studio_tui.tui.flows.commands import Commands
from vllm_studio_tui.tui.flows.fixing import fix
from vllm_studio_tui.tui.flows.palette_entries import PaletteEntries
from vllm_studio_tui.tui.flows.palette_used import keep_used, load_used
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.registry import SCREENS
from vllm_studio_tui.tui.sheets.chooser import Choice, Chooser
from vllm_studio_tui.tui.sheets.palette import Palette
from vllm_studio_tui.tui.sheets.settings import SettingsSheet

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.widget import Widget

    from vllm_studio_tui.runs.read import RunView
    from vllm_studio_tui.tui.shell import Shell

#: Screens whose actions are about what the screen shows, and actions that are about nothing under a cursor.
WHOLE = frozenset({"chat", "monitor", "usage", "logs", "bench"})
ALONE = frozenset({"new", "import", "export", "find", "starter", "foreign", "demo"})


def palette(shell: Shell, screen: Widget) -> None:
    """Choose anything by name, and do it. The sheet is there before the next key is."""
    entries = PaletteEntries(shell, screen)
    active = {action.id for action, _ in shell.active_actions()}
    sheet = Palette(
        entries.at_once(),
        used=lambda: load_used(shell.studio.places),
        load=entries.recipes,
        later=entries.settings,
        search=entries.chats,
    )

    def chosen(said: str | None) -> None:
        if said is not None:
            shell.spawn(_do(shell, screen, said, active))

    shell.push_screen(sheet, chosen)


async def _do(shell: Shell, screen: Widget, said: str, active: Collection[str]) -> None:
    kind, _, rest = said.partition(":")
    commands = Commands(shell)
    if not shell.read_only:
        await shell.in_thread(lambda: keep_used(shell.studio.places, said))
    if kind == "action":
        action = actions.BY_ID[rest]
        if action.scope == "app" or action.id in active or not action.keys:
            await _run(shell, screen, action)
        else:
            await _elsewhere(shell, action)
    elif kind.startswith("pull-"):
        from vllm_studio_tui.tui.flows.pulling import do

        await do(shell, kind, rest)
    elif kind == "bench-stop":
        from vllm_studio_tui.tui.flows.benching import stop

        await stop(shell)
    elif kind == "replay":
        replaying.do(shell, rest)
    elif kind == "launch":
        await commands.launch(rest)
    elif kind == "edit":
        await commands.edit_recipe(rest)
    elif kind == "recipe":
        place: Any = await shell.show_place("recipes")
        await place.reload(rest)
    elif kind == "chat":
        await commands.open_chat(rest)
    elif kind == "theme":
        await _set_theme(shell, rest)
    elif kind == "setting":
        await shell.ask(SettingsSheet(rest))
    elif (run := commands.run_of(rest)) is not None:
        await _do_with_run(shell, commands, kind, run)
    else:
        shell.tell("This run is gone.")


async def _do_with_run(shell: Shell, commands: Commands, kind: str, run: RunView) -> None:
    if kind == "page":
        shell.open_run(run.run_id)
    elif kind == "url" and run.spec is not None:
        shell.copy(run.spec.base_url)
    elif kind == "talk":
        await commands.chat_with(run.recipe_id)
    elif kind == "fix":
        await fix(shell, run)
    elif kind == "log":
        await commands.open_log(run.run_id)
    elif kind == "bench":
        from vllm_studio_tui.tui.flows.benching import set_up

        set_up(shell, run.recipe_id)
    else:
        await {"stop": commands.stop, "probe": commands.probe, "dismiss": commands.dismiss}[kind](run)


async def _elsewhere(shell: Shell, action: Action) -> None:
    """Go to the screen that an action is of, and do it there; where it needs something chosen, say its key."""
    screen = next(screen for screen in SCREENS if action.scope in screen.scopes)
    place = await shell.show_place(screen.name)
    whole = screen.name in WHOLE or action.name in ALONE
    target = next((one for one in (place, *place.query("*")) if action.scope in actions.scopes_of(one)), None)
    if target is None:
        return
    if target is not place and target.focusable:
        target.focus()
    if whole and target.check_action(action.method, ()):
        await _run(shell, target, action)
    else:
        key = actions.keys_text(shell.keys_of(action.id), 1)
        shell.tell(f"{key}: {action.help}. Choose with the arrow keys first.")


async def _run(shell: Shell, screen: Widget, action: Action) -> None:
    """Run an action on the first widget that has its scope, from the focused one outwards."""
    target = _owner(shell, screen, action.scope)
    if target is not None and target.check_action(action.method, ()):
        result = getattr(target, f"action_{action.method}")()
        if isinstance(result, Awaitable):
            await result


def _owner(shell: Shell, screen: Widget, scope: str) -> DOMNode | None:
    """Return the widget that does the actions of a scope."""
    if scope == "app":
        return screen.app
    focused = shell.focused
    around: list[DOMNode] = [*(focused.ancestors_with_self if focused is not None else ()), screen]
    return next((one for one in around if scope in actions.scopes_of(one)), None)


def click(shell: Shell, action: str, screen: Widget) -> None:
    """Do what a clicked link asks for: `run:ID` opens a run, anything else is an action by id or a method's name."""
    if action.startswith("run:"):
        shell.open_run(action[4:])
        return
    known = actions.BY_ID.get(action)
    if known is not None and _owner(shell, screen, known.scope) is not None:
        shell.spawn(_run(shell, screen, known))
        return
    name = known.method if known is not None else action
    method = getattr(screen, f"action_{name}", None)
    if method is not None and screen.check_action(name, ()):
        result = method()
        if isinstance(result, Awaitable):
            shell.spawn(result)


async def choose_theme(shell: Shell) -> None:
    """Choose a theme; each is shown while the cursor is on it."""
    before = shell.theme
    themes = sorted(shell.looks.themes.items(), key=lambda item: (item[0] != before, item[0]))  # enter changes nothing
    choices = [Choice(name, name, "dark" if theme.dark else "light") for name, theme in themes]
    said = cast("str | None", await shell.ask(Chooser(choices, title="theme", preview=shell.set_theme)))
    shell.set_theme(before)
    if said is not None:
        await _set_theme(shell, said)


async def _set_theme(shell: Shell, name: str) -> None:
    """Show a theme from now on."""
    before = shell.theme
    shell.set_theme(name)
    if name != before and not shell.read_only:
        from vllm_studio_tui.config.settings import save_setting

        try:
            await shell.in_thread(lambda: save_setting(shell.studio.places, "theme", name))
        except (StudioError, NotFound) as error:
            shell.tell(f"The theme is for this session only: {error}", "warning")
