"""Every action there is. Bindings, footer, help, palette, keymap and the docs table come from this one list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """Something a person can do.

    Attributes:
        id: `scope.name`; the method is `action_<name>` of whatever stands for the scope.
        keys: Default keys, by comma.
        label: One or two words for the footer; empty: not in the footer.
        help: What it does, for help and palette.
        writes: Changes something, so that `--read-only` leaves it out.
        priority: Works in text fields too.
        palette: Shown in the palette.
    """

    id: str
    keys: str
    label: str
    help: str
    writes: bool = False
    priority: bool = False
    palette: bool = True

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        return self.id.partition(".")[2]

    @property
    def method(self) -> str:
        return self.name.replace("-", "_")


#: Scopes in the order of help, with their titles.
SCOPES = {
    "app": "Everywhere",
    "list": "In lists",
    "dashboard": "Dashboard",
    "recipes": "Recipes",
    "form": "Recipe form",
    "chat": "Chat",
    "transcript": "Chat: transcript",
    "chats": "Chat: list",
    "monitor": "Monitor",
    "usage": "Usage",
    "logs": "Logs",
}

ACTIONS: tuple[Action, ...] = (
    Action("app.dashboard", "1,alt+1", "", "Dashboard: runs, GPUs, events"),
    Action("app.recipes", "2,alt+2", "", "Recipes: how models are launched"),
    Action("app.chat", "3,alt+3", "", "Chat with a model"),
    Action("app.monitor", "4,alt+4", "", "Monitor: engines and GPUs over time"),
    Action("app.usage", "5,alt+5", "", "Usage: tokens, requests, energy"),
    Action("app.logs", "6,alt+6", "", "Logs of the engines"),
    Action("app.palette", "ctrl+p", "", "Every command, by name", priority=True, palette=False),
    Action("app.help", "question_mark,f1", "", "Keys that work here", palette=False),
    Action("app.theme", "", "", "Choose a theme"),
    Action("app.interrupt", "ctrl+c", "", "Copy a selection; else cancel; twice: quit", priority=True, palette=False),
    Action("app.back", "escape", "", "Close, clear or stop, in this order", palette=False),
    Action("app.suspend-process", "ctrl+z", "", "Back to the shell; fg returns", priority=True, palette=False),
    Action("app.quit-studio", "q", "", "Leave; engines go on"),
    # Lists
    Action("list.up", "up,k", "move", "Up", palette=False),
    Action("list.down", "down,j", "", "Down", palette=False),
    Action("list.page-up", "pageup", "", "A page up", palette=False),
    Action("list.page-down", "pagedown", "", "A page down", palette=False),
    Action("list.first", "home,g", "", "To the beginning", palette=False),
    Action("list.last", "end,G", "", "To the end", palette=False),
    # Dashboard
    Action("dashboard.open", "enter", "open", "Open the run: its log and what went wrong", palette=False),
    Action("dashboard.launch", "l", "launch", "Launch a recipe", writes=True),
    Action("dashboard.stop", "s", "stop", "Stop the run", writes=True),
    Action("dashboard.chat", "c", "chat", "Chat with the run"),
    Action("dashboard.fix", "f", "fix", "Take the advised change of the recipe and launch", writes=True),
    Action("dashboard.edit", "e", "", "Edit the run's recipe", writes=True),
    Action("dashboard.log", "L", "log", "The run's log"),
    Action("dashboard.dismiss", "x", "", "Dismiss a failed run", writes=True),
    Action("dashboard.new", "n", "", "A new recipe", writes=True),
    Action("dashboard.probe", "p", "", "Ask the run for a tool call and a thought: do its parsers work?", writes=True),
    Action("dashboard.foreign", "o", "", "Engines that the studio did not start: attach, stop, clean up", writes=True),
    Action("dashboard.demo", "d", "", "The demo: a small model on the CPU", writes=True),
    # Recipes
    Action("recipes.launch", "enter,l", "launch", "Launch the recipe", writes=True),
    Action("recipes.edit", "e", "edit", "Edit the recipe", writes=True),
    Action("recipes.new", "n", "new", "A new recipe", writes=True),
    Action("recipes.duplicate", "d", "duplicate", "Duplicate the recipe", writes=True),
    Action("recipes.delete", "x", "delete", "Delete the recipe", writes=True),
    Action("recipes.find", "slash", "find", "Search recipes"),
    Action("recipes.stop", "s", "", "Stop the recipe's run", writes=True),
    Action("recipes.switch", "w", "", "Switch: stop what holds its port or GPUs, then launch", writes=True),
    Action("recipes.yaml", "E", "", "Edit as YAML in $EDITOR", writes=True),
    Action("recipes.import", "i", "", "Import recipes from a file or pasted text", writes=True),
    Action("recipes.export", "o", "", "Export all recipes to a file"),
    Action("recipes.copy-command", "y", "", "Copy the launch command"),
    Action("recipes.starter", "S", "", "Take a starter recipe", writes=True),
    Action("recipes.chat", "c", "", "Chat with the recipe's run"),
    Action("recipes.log", "L", "", "Log of the recipe's last run"),
    # Form
    Action("form.save", "f2", "save", "Save the recipe", writes=True, priority=True),
    Action("form.launch", "f5", "save, launch", "Save and launch", writes=True, priority=True),
    Action("form.choose", "f4", "choose", "Choose a value: models found here, GPUs, parsers", priority=True),
    Action("form.yaml", "f6", "as YAML", "Edit as YAML in $EDITOR", writes=True, priority=True),
    Action("form.next-section", "ctrl+pagedown,f8", "", "Next section", priority=True),
    Action("form.previous-section", "ctrl+pageup,f7", "", "Previous section", priority=True),
    Action("form.leave", "escape", "back", "Leave the form", palette=False),
    # Chat
    Action("chat.transcript", "tab", "transcript", "Between prompt and transcript", priority=True, palette=False),
    Action("chat.thinking", "ctrl+t", "thinking", "Show or fold all thinking", priority=True),
    Action("chat.new", "ctrl+n", "new", "A new chat", priority=True),
    Action("chat.chats", "ctrl+o", "chats", "Chats: open, search, rename, delete", priority=True),
    Action("chat.model", "f2", "model", "Choose the model", priority=True),
    Action("chat.settings", "f3", "settings", "System prompt, temperature, tokens, thinking", priority=True),
    Action("chat.editor", "f4", "", "Write the prompt in $EDITOR", priority=True),
    Action("chat.find", "ctrl+f", "", "Find in this chat", priority=True),
    Action("chat.copy-chat", "f6", "", "Copy the whole chat", priority=True),
    # Transcript
    Action("transcript.up", "up,k", "message", "Message above", palette=False),
    Action("transcript.down", "down,j", "", "Message below", palette=False),
    Action("transcript.page-up", "pageup", "", "A page up", palette=False),
    Action("transcript.page-down", "pagedown,space", "", "A page down", palette=False),
    Action("transcript.first", "home,g", "", "To the first message", palette=False),
    Action("transcript.last", "end,G", "", "To the end, and follow", palette=False),
    Action("transcript.fold", "enter", "fold", "Open or fold thinking and tools", palette=False),
    Action("transcript.copy", "y", "copy", "Copy the message"),
    Action("transcript.copy-code", "Y", "copy code", "Copy a code block of the message, as its source"),
    Action("transcript.regenerate", "r", "again", "Another answer, keeping this one", writes=True),
    Action("transcript.edit", "e", "edit", "Edit the question and ask again", writes=True),
    Action("transcript.continue", "c", "continue", "Continue a cut answer", writes=True),
    Action("transcript.fork", "F", "fork", "Fork the chat here", writes=True),
    Action("transcript.previous", "left_square_bracket,left", "", "The answer before, of several"),
    Action("transcript.next", "right_square_bracket,right", "", "The next answer, of several"),
    Action("transcript.find", "slash", "", "Find in this chat", palette=False),
    Action("transcript.find-next", "n", "", "Next hit", palette=False),
    Action("transcript.find-previous", "N", "", "Hit before", palette=False),
    # Chats
    Action("chats.rename", "f2", "rename", "Rename the chat", writes=True, priority=True),
    Action("chats.delete", "delete,ctrl+d", "delete", "Put the chat into the trash", writes=True, priority=True),
    # Monitor
    Action("monitor.earlier", "left", "cursor", "Cursor to earlier", palette=False),
    Action("monitor.later", "right", "", "Cursor to later", palette=False),
    Action("monitor.zoom-in", "plus,equals_sign", "zoom", "Shorter time"),
    Action("monitor.zoom-out", "minus", "", "Longer time"),
    Action("monitor.hold", "space", "pause", "Hold the picture"),
    Action("monitor.table", "t", "table", "Processes instead of lanes"),
    # Usage
    Action("usage.longer", "right_square_bracket", "days", "More days"),
    Action("usage.shorter", "left_square_bracket", "", "Fewer days"),
    Action("usage.by", "b", "by", "By model, recipe, day or chat"),
    Action("usage.sort", "s", "sort", "Sort by the next column"),
    Action("usage.earlier", "left", "", "The day before", palette=False),
    Action("usage.later", "right", "", "The next day", palette=False),
    Action("usage.export", "x", "export", "Export as CSV"),
    # Logs
    Action("logs.run", "enter,r", "run", "Choose the run, also earlier ones"),
    Action("logs.first-error", "E", "first error", "To the first error"),
    Action("logs.level", "v", "level", "All lines, warnings, errors"),
    Action("logs.find", "slash", "find", "Search the log"),
    Action("logs.find-next", "n", "", "Next hit", palette=False),
    Action("logs.find-previous", "N", "", "Hit before", palette=False),
    Action("logs.fold", "z", "fold", "Fold or open a traceback"),
    Action("logs.follow", "f", "follow", "Follow the end"),
    Action("logs.copy", "y", "copy", "Copy the last 50 lines"),
)

BY_ID = {action.id: action for action in ACTIONS}


def of(scope: str) -> tuple[Action, ...]:
    return tuple(action for action in ACTIONS if action.scope == scope)


def bindings(*scopes: str) -> list[Binding]:
    """The bindings of whatever stands for these scopes."""
    made = []
    for action in (action for scope in scopes for action in of(scope) if action.keys):
        # With alt a digit is no text: it works in text fields too, whatever the keymap makes of the other keys.
        always = ",".join(key for key in action.keys.split(",") if key.startswith("alt+"))
        keys = ",".join(key for key in action.keys.split(",") if not key.startswith("alt+"))
        label = action.label or action.help
        if keys:
            made.append(Binding(keys, action.method, label, id=action.id, show=False, priority=action.priority))
        if always:
            made.append(Binding(always, action.method, label, show=False, priority=True))
    return made


_SHOWN = {
    "question_mark": "?",
    "slash": "/",
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
    """A key as it is written for people: `^p`, `?`, `enter`."""
    key = key.strip()
    if key.startswith("ctrl+"):
        return f"^{key_text(key[5:])}"
    return _SHOWN.get(key, key)


def keys_text(keys: str, limit: int = 3) -> str:
    """Several keys as they are written for people."""
    return " ".join(key_text(key) for key in keys.split(",")[:limit])


def markdown_table(keymap: dict[str, str] | None = None, actions: Iterable[Action] = ACTIONS) -> str:
    """The table of docs/reference/keys.md."""
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
