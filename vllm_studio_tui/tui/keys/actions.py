"""The list of all actions, from which bindings, footer, help, palette, keymap and the docs table are generated.

The actions of a screen are declared in the screen's folder.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual.binding import Binding
from textual.keys import key_to_character

from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.screens.registry import PAGES, SCREENS

#: Scopes and their titles, in the order of the help.
SCOPES = {
    "app": "Everywhere",
    "list": "In lists",
    "table": "In tables",
    **{scope: title for screen in (*SCREENS, *PAGES) for scope, title in screen.scopes.items()},
}

ACTIONS: tuple[Action, ...] = (
    *(Action(f"app.{screen.name}", f"{screen.key},alt+{screen.key}", "", screen.help) for screen in SCREENS),
    Action("app.palette", "ctrl+p,colon", "", "Every command, by name", priority=True, palette=False),
    Action("app.help", "question_mark,f1", "", "Keys that work here", palette=False),
    Action("app.new", "n", "", "What do you want to run?", writes=True),
    Action("app.doctor", "f7", "", "Doctor: what is wrong on this machine, and what mends it", priority=True),
    Action("app.settings", "f8", "", "Settings of the studio", priority=True),
    Action("app.theme", "", "", "Choose a theme"),
    Action("app.reload", "f5", "", "Read again now: recipes, chats, runs, GPUs"),
    Action("app.mouse", "f10", "", "Mouse off and on, to select text with it"),
    Action("app.next-part", "tab", "", "To the next part of the screen", palette=False),
    Action("app.previous-part", "shift+tab", "", "To the part before", palette=False),
    Action("app.undo", "u", "", "Undo the last change of a recipe, a delete, a dismissal", writes=True),
    Action("app.interrupt", "ctrl+c", "", "Copy a selection; else cancel; twice: quit", priority=True, palette=False),
    Action("app.back", "escape", "", "Close, clear or stop, in this order", palette=False),
    Action("app.suspend-process", "ctrl+z", "", "Back to the shell; fg returns", priority=True, palette=False),
    Action("app.cancel-download", "", "", "Cancel the download that goes on"),
    Action("app.quit-studio", "q", "", "Leave; engines go on"),
    Action("list.up", "up,k", "move", "Up", palette=False),
    Action("list.down", "down,j", "", "Down", palette=False),
    Action("list.page-up", "pageup", "", "A page up", palette=False),
    Action("list.page-down", "pagedown", "", "A page down", palette=False),
    Action("list.first", "home,g", "", "To the beginning", palette=False),
    Action("list.last", "end,G", "", "To the end", palette=False),
    *(action for screen in (*SCREENS, *PAGES) for action in screen.actions),
    Action("table.order", "o", "order", "Order by the next column", palette=False),
    Action("table.reverse", "O", "", "Order the other way", palette=False),
    Action("table.filter", "slash", "filter", "Filter", palette=False),
    Action("table.mark", "space", "mark", "Mark", palette=False),
    Action("table.info", "i", "info", "Details: beside, or as a sheet", palette=False),
)

BY_ID = {action.id: action for action in ACTIONS}

#: Names of actions before, which a keymap.yaml may still have.
RENAMED = {
    "chat.transcript": "app.next-part",
    "chat.part-before": "app.previous-part",
    "transcript.find-next": "transcript.next-stop",
    "transcript.find-previous": "transcript.previous-stop",
    "monitor.table": "monitor.view",
    "dashboard.launch": "dashboard.run",
    "dashboard.foreign": "dashboard.import",
    "logs.find-next": "logs.next-stop",
    "logs.find-previous": "logs.previous-stop",
    "logs.first-error": "logs.next-stop",
    "logs.run": "logs.runs",
    "recipes.find": "table.filter",
    "recipes.launch": "recipes.run",
    "usage.by": "usage.view",
    "usage.longer": "usage.zoom-out",
    "usage.shorter": "usage.zoom-in",
    "usage.sort": "table.order",
}


def of(scope: str) -> tuple[Action, ...]:
    """Return the actions of a scope."""
    return tuple(action for action in ACTIONS if action.scope == scope)


def scopes_of(widget: object) -> tuple[str, ...]:
    """Return the scopes whose actions a widget does."""
    scopes: tuple[str, ...] = getattr(widget, "SCOPES", None) or (getattr(widget, "SCOPE", ""),)
    return scopes


def bindings(*scopes: str) -> list[Binding]:
    """Return the Textual bindings of a widget that has these scopes."""
    made = []
    for action in (action for scope in scopes for action in of(scope) if action.keys):
        # Alt with a digit types nothing, so it works in text fields too, whatever the keymap sets for the other keys.
        always = ",".join(key for key in action.keys.split(",") if key.startswith("alt+"))
        keys = [key for key in action.keys.split(",") if not key.startswith("alt+")]
        label = action.label or action.help
        for priority in (True, False):
            # A key that types a character is the text field's, where there is one.
            mine = ",".join(key for key in keys if (action.priority and not types_character(key)) is priority)
            if mine:
                made.append(Binding(mine, action.method, label, id=action.id, show=False, priority=priority))
        if always:
            made.append(Binding(always, action.method, label, show=False, priority=True))
    return made


def types_character(key: str) -> bool:
    """Whether a key types something in a text field."""
    character = character_of(key)
    return character is not None and character.isprintable()


def character_of(key: str) -> str | None:
    """Return what a key types; None for nothing. Textual does not know it of each key that has a name."""
    return _SHOWN[key] if key in ("slash", "plus", "minus") else key_to_character(key)


_SHOWN = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "plus": "+",
    "equals_sign": "=",
    "minus": "-",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "space": "space",
    "delete": "del",
}


def key_text(key: str) -> str:
    """Return a key as it is shown to users: `^p`, `?`, `enter`."""
    key = key.strip()
    if key.startswith("ctrl+"):
        return f"^{key_text(key[5:])}"
    return _SHOWN.get(key, key)


def keys_text(keys: str, limit: int = 3) -> str:
    """Return the first keys of a comma-separated list as they are shown to users."""
    return " ".join(key_text(key) for key in keys.split(",")[:limit])


def markdown_table(keymap: dict[str, str] | None = None, actions: Iterable[Action] = ACTIONS) -> str:
    """Return the tables of docs/reference/keys.md."""
    lines = []
    for scope, title in SCOPES.items():
        lines += [f"## {title}", "", "| key | action | name in keymap.yaml |", "|---|---|---|"]
        for action in actions:
            if action.scope == scope:
                keys = (keymap or {}).get(action.id, action.keys)
                shown = " ".join(f"`{key_text(key)}`" for key in keys.split(",") if key) or "palette"
                lines.append(f"| {shown} | {action.help} | `{action.id}` |")
        lines.append("")
    return "\n".join(lines)
