"""Themes in the 256 colours that terminals number.

Rich rounds each channel by itself: a red becomes orange, and planes that differ a little become one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from rich.color import Color, ColorSystem, ColorType

from vllm_studio_tui.config.themes import CONTRAST, ThemeFile, contrast

#: The planes with text on them, and those that each has to differ from, because it lies on them.
PLANES = {"bg": (), "sel": ("bg",), "panel": ("bg", "sel"), "surf": ("bg", "sel")}


def for_indexed_colours(themes: Mapping[str, ThemeFile]) -> dict[str, ThemeFile]:
    """Return the themes with each colour replaced by the most similar one of 256."""
    return {name: theme if theme.ansi else replace(theme, colours=_indexed(theme)) for name, theme in themes.items()}


def _indexed(theme: ThemeFile) -> dict[str, str]:
    """Return the colours of a theme, each as one of the 256: planes stay apart, text stays readable on them."""
    made: dict[str, str] = {}
    for plane, below in PLANES.items():
        taken = {made[word] for word in below}
        made[plane] = _nearest(theme.colours[plane], lambda one, taken=taken: one not in taken)  # type: ignore[misc]
    planes = set(made.values())
    made["fg"] = _nearest(theme.colours["fg"], lambda one: True)
    made["fill"] = _nearest(theme.colours["fill"], lambda one: contrast(one, made["fg"]) >= 4.5)  # selected text
    for word, colour in theme.colours.items():
        least = CONTRAST.get(word, 4.5 if word in ("kw", "str") else 0.0)
        if word not in made:
            made[word] = _nearest(colour, lambda one, least=least: all(contrast(one, it) >= least for it in planes))  # type: ignore[misc]
    return {word: made[word] for word in theme.colours}


def install() -> None:
    """Let Rich write the most similar of 256 colours, also for what Textual mixes."""
    theirs = Color.downgrade
    numbers = {name: number for number, name, *_ in _numbered()}

    @cache
    def downgrade(colour: Color, system: ColorSystem) -> Color:
        if system is not ColorSystem.EIGHT_BIT or colour.type is not ColorType.TRUECOLOR or colour.triplet is None:
            return theirs(colour, system)
        return Color.from_ansi(numbers[_nearest(colour.triplet.hex, lambda _: True)])

    Color.downgrade = downgrade  # type: ignore[method-assign]


def _nearest(colour: str, fits: Callable[[str], bool]) -> str:
    """Return the most similar of the 256 colours that fit; the most similar one where none does."""
    light, red, blue = _lab(colour)
    near = sorted(((light - its) ** 2 + (red - a) ** 2 + (blue - b) ** 2, name) for _, name, its, a, b in _numbered())
    return next((name for _, name in near if fits(name)), near[0][1])


@cache
def _numbered() -> list[tuple[int, str, float, float, float]]:
    """Return each number with its colour, also in Oklab; the first 16 are left out: terminals differ in them."""
    names = ((number, Color.from_ansi(number).get_truecolor().hex) for number in range(16, 256))
    return [(number, name, *_lab(name)) for number, name in names]


def _lab(colour: str) -> tuple[float, float, float]:
    """Return a `#rrggbb` colour in Oklab, where distance is how different people find two colours."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    )
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )
