"""An action: something a person can do with a key."""

from __future__ import annotations

from dataclasses import dataclass


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
        footer: How its keys are written in the footer, where that is not the first of them.
    """

    id: str
    keys: str
    label: str
    help: str
    writes: bool = False
    priority: bool = False
    palette: bool = True
    footer: str = ""

    @property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        return self.id.partition(".")[2]

    @property
    def method(self) -> str:
        return self.name.replace("-", "_")
