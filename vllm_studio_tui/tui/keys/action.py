"""An action: something the user can do with a key or from the palette."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """Something the user can do.

    Attributes:
        id: `scope.name`; it calls the method `action_<name>` of the widget whose scope it is.
        keys: Default keys, separated by commas.
        label: One or two words for the footer; empty: not shown there.
        help: What it does, for help and palette.
        writes: Whether it changes anything; `--read-only` disables it then.
        priority: Whether its keys work in text fields too.
        palette: Whether the palette lists it.
        footer: The keys as the footer shows them; empty: the first key.
        rare: Whether the footer shows it after those of the screen that are not, and after those of its table.
        kept: Whether the footer has room for it at every width.
    """

    id: str
    keys: str
    label: str
    help: str
    writes: bool = False
    priority: bool = False
    palette: bool = True
    footer: str = ""
    rare: bool = False
    kept: bool = False

    @property
    def scope(self) -> str:
        """The first part of the id."""
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        """The second part of the id."""
        return self.id.partition(".")[2]

    @property
    def method(self) -> str:
        """The name of the Textual action, without `action_`."""
        return self.name.replace("-", "_")
