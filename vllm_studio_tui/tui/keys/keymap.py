"""The keys in use: the defaults of the list of actions, overridden by the user's keymap.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual.binding import ActiveBinding

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action


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
        self.keymap, problems = read_keymap(path, known, together)
        return problems

    def of(self, action_id: str) -> str:
        """Return the keys of an action, separated by commas."""
        return self.keymap.get(action_id, actions.BY_ID[action_id].keys)

    def active(self, bindings: Iterable[ActiveBinding]) -> list[tuple[Action, str]]:
        """Return the enabled actions with their keys; those of a focused list come first."""
        found: dict[str, tuple[Action, str]] = {}
        for active in bindings:
            action = actions.BY_ID.get(active.binding.id or "")
            if action is not None and active.enabled and action.id not in found:
                found[action.id] = (action, self.of(action.id))
        order = {action.id: index for index, action in enumerate(actions.ACTIONS)}
        focused = "list" if any(action.scope == "list" for action, _ in found.values()) else ""
        return sorted(found.values(), key=lambda one: (one[0].scope != focused, order[one[0].id]))
