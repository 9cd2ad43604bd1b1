"""The footer of the page: the keys that work where the focus is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.keys.action import Action
from vllm_studio_tui.tui.paint.glyphs import Glyphs
from vllm_studio_tui.tui.paint.ink import Row

#: The width from which there are three blanks between two keys, and the palette has its whole name.
ROOMY = 120


@dataclass(frozen=True, slots=True)
class Hint:
    """A key, what it does in one or two words, the action of a click on it, and whether it has room at every width."""

    key: str
    word: str
    action: str
    kept: bool = False

    @property
    def width(self) -> int:
        return cell_len(self.key) + cell_len(self.word) + 1


def footer(width: int, here: Sequence[Hint], always: Sequence[Hint]) -> list[Row]:
    """Draw the footer: `always` at the right, at the left as many of `here` as there is room for, in their order.

    Those that are kept have their room before the others.
    """
    row = Row()
    gap = 3 if width >= ROOMY else 2
    end = width - 1
    for hint in reversed(always):
        if end - hint.width < 1:
            break
        end -= hint.width
        _put(row, end, hint)
        end -= gap
    x, room = 1, 0  # room for those that are kept and yet to come
    kept = []
    for hint in (one for one in here if one.kept):
        if x + room + hint.width <= end:
            room += hint.width + gap
            kept.append(hint)
    for hint in here:
        if hint in kept:
            room -= hint.width + gap
        if x + hint.width + room <= end:
            x = _put(row, x, hint) + gap
    return [row]


def _put(row: Row, x: int, hint: Hint) -> int:
    after = row.run(x, [(hint.key, "fg bold"), (f" {hint.word}", "dim")])
    row.link(x, after, hint.action)
    return after


def hints(active: Sequence[tuple[Action, str]], glyphs: Glyphs) -> list[Hint]:
    """Return the enabled actions that have a word for the footer, once for each word."""
    found: dict[str, Hint] = {}
    for action, keys in active:
        if action.label and action.label not in found:
            first = keys.split(",")[0]
            text = {"up": glyphs.up_down, "left": glyphs.left_right}.get(first, actions.key_text(first))
            found[action.label] = Hint(action.footer or text, action.label, action.id, action.kept)
    return list(found.values())


def always(active: Sequence[tuple[Action, str]], width: int) -> list[Hint]:
    """Return the two keys that stand at the right: all commands, and the help."""
    words = {"app.palette": "commands" if width >= ROOMY else "all", "app.help": "help"}
    keys = {action.id: keys for action, keys in active}
    return [Hint(actions.key_text(keys[one].split(",")[0]), word, one) for one, word in words.items() if one in keys]
