"""Read and check theme files: those of the package and the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_studio_tui.config.packaged_data import data_dir
from vllm_studio_tui.domain.errors import SettingsError

DEFAULT = "slate"
#: The default where the terminal is light.
LIGHT = "paper"
MAX_FILE = 64 * 1024
#: Every colour a theme gives; what each one means is in docs/themes.md.
COLOURS = (
    "bg", "surf", "panel", "sel", "fg", "dim", "faint", "track", "accent", "data", "fill", "ok", "warn", "err",
    "errbg", "warnbg", "code", "kw", "str",
)  # fmt: skip
ANSI = frozenset(
    ["default"]
    + [f"{bright}{name}" for bright in ("", "bright_") for name in
       ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")]
)  # fmt: skip
#: Least contrast (WCAG 2.2) of a colour on the page and on the plane of the cursor.
CONTRAST = {"fg": 4.5, "dim": 4.5, "faint": 3.0, "ok": 4.5, "warn": 4.5, "err": 4.5, "accent": 3.0}
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class ThemeFile:
    """A theme: a colour for every name in `COLOURS`, as `#rrggbb` or, in an ANSI theme, by name."""

    name: str
    dark: bool
    ansi: bool
    colours: Mapping[str, str]
    path: Path


@dataclass(frozen=True, slots=True)
class BrokenTheme:
    """A file that is not a valid theme, and why. It does not hide the others."""

    path: Path
    reason: str


def load_themes(user_dir: Path | None) -> tuple[dict[str, ThemeFile], list[BrokenTheme]]:
    """Return all themes by file name; a user's theme replaces a packed one of the same name."""
    themes: dict[str, ThemeFile] = {}
    broken: list[BrokenTheme] = []
    for path in _files(user_dir):
        try:
            theme = read_theme(path)
        except SettingsError as error:
            broken.append(BrokenTheme(path, error.cause or error.title))
        else:
            themes[theme.name] = theme
    return themes, broken


def _files(user_dir: Path | None) -> Iterator[Path]:
    yield from sorted(data_dir("themes").glob("*.yaml"))
    if user_dir is not None and user_dir.is_dir():
        yield from sorted(user_dir.glob("*.yaml"))


def read_theme(path: Path) -> ThemeFile:
    """One theme.

    Raises:
        SettingsError: The file cannot be read, a colour is missing or wrong, or the contrast is too low.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise _wrong(path, "it is larger than 64 KiB")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error)[:200]) from None
    data: Any = _plain(text)
    if data is None:
        import yaml  # deferred: a theme as ours are written needs none of it, and the first picture waits

        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise _wrong(path, str(error).split("\n")[0][:200]) from None
    if not isinstance(data, Mapping) or not isinstance(data.get("colours"), Mapping):
        raise _wrong(path, "it needs `dark` and `colours`")
    # A theme is called as its file: a copy of another one is a theme of its own, whatever `name` it was copied with.
    name = path.stem
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
        raise _wrong(path, "its file's name is not a-z, 0-9, dash or underscore")
    ansi = data.get("ansi", False) is True
    given: Mapping[Any, Any] = data["colours"]
    if unknown := [str(word)[:30] for word in given if word not in COLOURS]:
        raise _wrong(path, f"no such colour: {', '.join(unknown[:3])}")
    if missing := [word for word in COLOURS if word not in given]:
        raise _wrong(path, f"colours are missing: {', '.join(missing)}")
    colours = {word: str(given[word]) for word in COLOURS}
    for word, colour in colours.items():
        if not (colour in ANSI if ansi else _HEX.fullmatch(colour)):
            kind = "the name of an ANSI colour" if ansi else "#rrggbb"
            raise _wrong(path, f"{word} is not {kind}: {colour[:30]}")
    if not ansi and (low := too_low(colours)):
        raise _wrong(path, f"too little contrast: {'; '.join(low)}")
    return ThemeFile(name, data.get("dark", True) is not False, ansi, colours, path)


_TOP = re.compile(r"(name|dark|ansi): *([a-z0-9_-]+)$")
_COLOUR = re.compile(r'  ([a-z]+): *"?(#[0-9a-fA-F]{6}|[a-z_]+)"?$')


def _plain(text: str) -> dict[str, Any] | None:
    """Return a theme's data if every line has the simple form; None leaves the file to the YAML parser."""
    data: dict[str, Any] = {}
    colours: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line == "colours:":
            data["colours"] = colours
        elif "colours" not in data and (top := _TOP.match(line)):
            if top[1] != "name" and top[2] not in ("true", "false"):
                return None
            data[top[1]] = top[2] if top[1] == "name" else top[2] == "true"
        elif "colours" in data and (colour := _COLOUR.match(line)) and colour[1] not in colours:
            colours[colour[1]] = colour[2]
        else:
            return None
    return data if colours else None


def too_low(colours: Mapping[str, str]) -> list[str]:
    """Return what is hard to read: each colour with its contrast and the minimum it needs."""
    found = []
    for word, least in CONTRAST.items():
        for plane in ("bg", "sel"):
            have = contrast(colours[word], colours[plane])
            # The cursor's plane is close to the page; faint text there is never the only carrier of a fact.
            need = least if plane == "bg" or word != "faint" else 2.5
            if have < need:
                found.append(f"{word} on {plane} is {have:.1f}, needs {need:.1f}")
    return found


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two `#rrggbb` colours, 1-21 (WCAG 2.2, "contrast ratio")."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance, 0-1 (WCAG 2.2, "relative luminance")."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _wrong(path: Path, reason: str) -> SettingsError:
    return SettingsError(
        f"{path.name} is not a theme", cause=f"{path}: {reason}", advice="Correct the file or remove it."
    )
