"""The appearance of the studio: the themes, the theme in use, and its colours and glyphs for drawing."""

from __future__ import annotations

import os
from pathlib import Path

from textual.app import App

from vllm_studio_tui.config.themes import DEFAULT, LIGHT, load_themes
from vllm_studio_tui.probes.terminal import INDEXED, NONE, SIXTEEN
from vllm_studio_tui.tui.look import theming
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.ink import Ink
from vllm_studio_tui.tui.terminal.profile import Profile


class Looks:
    """The themes and the theme in use.

    Args:
        folder: The folder of the user's own themes.
        name: The first theme; None: the one that suits the terminal.
        profile: What the terminal can do.
    """

    def __init__(self, folder: Path, name: str | None, profile: Profile) -> None:
        self.themes, self.broken = load_themes(folder)
        self._ascii, self.no_colour = profile.ascii, profile.colours == NONE
        self._links = profile.terminal.links
        if profile.colours == SIXTEEN:
            self.themes = theming.for_sixteen_colours(self.themes)
        if profile.colours == INDEXED:
            from vllm_studio_tui.tui.look import indexed  # deferred: most terminals have all colours

            indexed.install()
            self.themes = indexed.for_indexed_colours(self.themes)
        wanted = name or (LIGHT if profile.light else DEFAULT)
        if self.no_colour or (name is None and profile.colours == SIXTEEN):
            wanted = theming.ANSI_THEME
        self._file = self.themes.get(wanted) or self.themes[DEFAULT]
        self.ink = self._made(-1)

    @property
    def name(self) -> str:
        return self._file.name

    def register(self, app: App[int]) -> None:
        """Register the themes with Textual, and its filter where colours are off."""
        for theme in self.themes.values():
            app.register_theme(theming.textual_theme(theme))
        app.set_class(self._ascii, "-ascii")
        if self.no_colour:
            # Textual removes NO_COLOR from the environment; engines and editors that are started from here need it.
            os.environ["NO_COLOR"] = "1"
            app._filters = [theming.Colourless()]

    def use(self, name: str) -> bool:
        """Switch to a theme; return False where no theme has that name or colours are off."""
        if name not in self.themes or self.no_colour:
            return False
        self._file = self.themes[name]
        self.ink = self._made(self.ink.edge)
        return True

    def _made(self, edge: int) -> Ink:
        ink = theming.ink_of(self._file, ascii_only=self._ascii, no_colour=self.no_colour)
        ink.edge = edge
        ink.links = self._links
        return ink

    def fit(self, size: Size) -> None:
        """Set the column of the cursor bars for a size class; small sizes have no bars."""
        self.ink.edge = 1 if size >= Size.WIDE else 0 if size >= Size.COMPACT else -1
