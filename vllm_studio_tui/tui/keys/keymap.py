"""The keys in use: the defaults of the list of actions, overridden by the user's keymap.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from textual.binding import ActiveBinding

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action

if TYPE_CHECKING:
    from textual.widget import Widget


class Keys:
    """The keys of each action."""

    def __init__(self) -> None:
        self.keymap: dict[str, str] = {}

    def read(self, path: Path) -> list[str]:
        """Read a keymap file, and return its problems in words."""
        from vllm_studio_tui.config.keymap import read_keymap

        together = {scope: {"app", scope, "list", "table"} for scope in actions.SCOPES}
        together["app"] = set(actions.SCOPES)
        together["list"] = together["table"] = set(actions.SCOPES)
        known = {action.id: action.keys for action in actions.ACTIONS}
        self.keymap, problems = read_keymap(path, known, together, renamed=actions.RENAMED)
        return problems

    def of(self, action_id: str) -> str:
        """Return the keys of an action, separated by commas."""
        return self.keymap.get(action_id, actions.BY_ID[action_id].keys)

    def active(self, bindings: Mapping[str, ActiveBinding], focused: Widget | None) -> list[tuple[Action, str]]:
        """Return the enabled actions with those of their keys that reach them, what is done most first.

        First comes what has the focus, then what the screen does, then what can be done everywhere, and last how to
        move. A key that would type a character into the focused field is none.
        """
        found: dict[str, list[str]] = {}
        for key, active in bindings.items():
            action_id = active.binding.id or ""
            taken = not active.binding.priority and _consumes(focused, key)
            if active.enabled and action_id in actions.BY_ID and not taken:
                found.setdefault(action_id, []).append(key)
        scopes = actions.scopes_of(focused)

        def rank(action: Action) -> tuple[int, int]:
            others = {"app": 4, "list": 5}
            group = 0 if action.scope in scopes else others.get(action.scope, 3 if action.rare else 2)
            first = ("app.back", "app.next-part", "app.previous-part")  # how to stop, and how to leave
            return (1, first.index(action.id)) if action.id in first else (group, _ORDER[action.id])

        kept = sorted((actions.BY_ID[one] for one in found), key=rank)
        return [(action, ",".join(self._in_order(action.id, found[action.id]))) for action in kept]

    def _in_order(self, action_id: str, keys: list[str]) -> list[str]:
        written = self.of(action_id).split(",")
        return sorted(keys, key=lambda key: written.index(key) if key in written else len(written))


_ORDER = {action.id: index for index, action in enumerate(actions.ACTIONS)}


def _consumes(focused: Widget | None, key: str) -> bool:
    return focused is not None and focused.check_consume_key(key, actions.character_of(key))
