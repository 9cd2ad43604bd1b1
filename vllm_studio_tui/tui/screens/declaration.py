"""How a screen declares itself, in the `__init__` of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vllm_studio_tui.tui.keys.action import Action


@dataclass(frozen=True, slots=True)
class Screen:
    """A screen: all that is known of it before it is shown.

    Attributes:
        name: The name of its folder, of `--screen` and of the action `app.<name>`.
        order: Its place among the others, from 1; its last digit is the key that brings it to the front. None: a page,
            which has neither a key nor a name in the header: it opens over any screen and goes back to it.
        title: What the header calls it.
        help: What it shows, for help and palette.
        widget: The class in its `place.py`, which is imported when the screen is first shown.
        scopes: The scopes of its actions in the order of help, with their titles.
        actions: What a person can do there.
    """

    name: str
    order: int | None
    title: str
    help: str
    widget: str
    scopes: Mapping[str, str]
    actions: tuple[Action, ...]

    @property
    def key(self) -> str:
        return "" if self.order is None else str(self.order % 10)
