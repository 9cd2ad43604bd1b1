"""Colours by their words, or as `#rrggbb` and `color(N)` where pictures have them; and styles, not more than needed."""

from __future__ import annotations

from rich.style import Style

#: Styles that are kept: pictures have many.
MOST_STYLES = 20_000


class Hues(dict[str, str]):
    """The colours of a theme; a colour of its own stands for itself."""

    def of(self, word: str) -> str | None:
        """Return the colour of a word."""
        return word if word.startswith(("#", "color(")) else self.get(word)


class Styles(dict[tuple[str, str], Style]):
    """Styles that were made; when there are too many, all are made anew."""

    def __setitem__(self, key: tuple[str, str], value: Style) -> None:
        if len(self) > MOST_STYLES:
            self.clear()
        super().__setitem__(key, value)
