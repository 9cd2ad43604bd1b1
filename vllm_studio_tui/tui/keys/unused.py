"""What is said when a key has a meaning, and nothing on this screen takes it."""

from __future__ import annotations

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.keys.grammar import RULES
from vllm_studio_tui.tui.screens.registry import PAGES, SCREENS


def actions_of(key: str, place: str) -> list[Action]:
    """Return the actions of a screen that a key is for."""
    scopes = next(screen.scopes for screen in (*SCREENS, *PAGES) if screen.name == place)
    return [action for action in actions.ACTIONS if action.scope in scopes and key in action.keys.split(",")]


def why_nothing(key: str, place: str, *, read_only: bool) -> str:
    """Return a line on a key that did nothing; empty for a key without a meaning."""
    rule = next((rule for rule in RULES if key in rule.keys), None)
    if rule is None:
        return ""
    here = actions_of(key, place)
    shown = actions.key_text(key)
    if read_only and any(action.writes for action in here):
        return f"read-only: {shown} changes something, and nothing is changed."
    return f"{shown} does nothing here. Elsewhere: {rule.verb}."
