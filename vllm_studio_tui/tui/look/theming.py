"""Converts theme files to Textual themes and to the ink that canvases draw with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from vllm_studio_tui.config.themes import ThemeFile
from vllm_studio_tui.probes.terminal import INDEXED, SIXTEEN, TRUE
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.paint.ink import Ink

#: The theme for terminals with sixteen colours, or with none.
ANSI_THEME = "ansi"


_ANSI = {
    "ansi-background": "ansi_black",
    "ansi-foreground": "ansi_white",
    "border-blurred": "ansi_black",
    # On a light page as on a dark one.
    "input-cursor-background": "ansi_default",
    "input-cursor-foreground": "ansi_default",
    "input-cursor-text-style": "reverse",
    "input-selection-foreground": "ansi_black",
    "screen-selection-background": "ansi_bright_blue",
    "screen-selection-foreground": "ansi_black",
}


def textual_theme(theme: ThemeFile) -> Theme:
    """Return a theme for Textual's own widgets: inputs, text areas, toasts."""

    def colour(word: str) -> str:
        name = theme.colours[word]
        return f"ansi_{name}" if theme.ansi else name

    return Theme(
        name=theme.name,
        primary=colour("accent"),
        secondary=colour("data"),
        accent=colour("accent"),
        success=colour("ok"),
        warning=colour("warn"),
        error=colour("err"),
        foreground=colour("fg"),
        background=colour("bg"),
        surface=colour("surf"),
        panel=colour("panel"),
        dark=theme.dark,
        ansi=theme.ansi,
        variables={
            **{f"studio-{word}": colour(word) for word in ("sel", "dim", "faint", "track", "fill", "code")},
            "block-cursor-background": colour("sel"),
            "block-cursor-foreground": colour("fg"),
            "block-cursor-text-style": "none",
            "border": colour("track"),
            "scrollbar": colour("track"),
            "scrollbar-background": colour("bg"),
            "input-selection-background": colour("fill"),
            "footer-background": colour("bg"),
            # Textual's own style sheets need these of every theme with sixteen colours.
            **(_ANSI if theme.ansi else {}),
        },
    )


def for_sixteen_colours(themes: Mapping[str, ThemeFile]) -> dict[str, ThemeFile]:
    """Return the themes in the terminal's own colours.

    The nearest of sixteen colours makes most of a theme's colours white, and a light page unreadable.
    """
    own = themes[ANSI_THEME].colours
    return {name: theme if theme.ansi else replace(theme, ansi=True, colours=own) for name, theme in themes.items()}


def use_colours(console: Console, colours: int) -> None:
    """Let a console write as many colours as the terminal has."""
    if colours:
        console._color_system = {
            SIXTEEN: ColorSystem.STANDARD, INDEXED: ColorSystem.EIGHT_BIT, TRUE: ColorSystem.TRUECOLOR
        }[colours]  # fmt: skip


def ink_of(theme: ThemeFile, *, ascii_only: bool, no_colour: bool) -> Ink:
    """Return the ink that canvases draw with."""
    colours = {**theme.colours, "comment": theme.colours["faint"], "num": theme.colours["str"],
               "fn": theme.colours["accent"]}  # fmt: skip
    return Ink(colours, ASCII if ascii_only else UNICODE, plain=no_colour)


class Colourless(LineFilter):
    """Removes all colours, as NO_COLOR demands; bold, dim, italic, underline and reverse stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, _colourless(style), control) for text, style, control in segments]


_known: dict[Style, Style] = {}


def _colourless(style: Style | None) -> Style | None:
    if style is None:
        return None
    found = _known.get(style)
    if found is None:
        if len(_known) > 2000:
            _known.clear()
        found = _known[style] = Style(
            bold=style.bold,
            dim=style.dim,
            italic=style.italic,
            underline=style.underline,
            strike=style.strike,
            reverse=style.reverse,
            meta=style.meta or None,
            link=style.link,
        )
        found._link_id = style._link_id
    return found


def names(themes: Iterable[ThemeFile]) -> list[str]:
    """Return the names of the themes in alphabetical order."""
    return sorted(theme.name for theme in themes)


__all__ = ["ANSI_THEME", "Colourless", "for_sixteen_colours", "ink_of", "names", "textual_theme", "use_colours"]
