"""A staged app that writes to an emulated terminal, and what that shows beside what the app means to show."""

from __future__ import annotations

import asyncio
from typing import Any

import pyte
import pytest
from textual.geometry import Size

from tests.functional.stage import Staged
from vllm_studio_tui.tui.app import StudioApp
from vllm_studio_tui.tui.terminal import textual_patches

#: How often it is looked again, while what changed is not written yet.
LOOKS = 100


class Picture:
    """An emulated terminal that shows what the app writes.

    Attributes:
        screen: The cells of the terminal.
        written: How many characters were written.
    """

    def __init__(self, stage: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
        textual_patches.install()
        self._stage = stage
        self._driver: Any = stage.app._driver
        width, height = stage.app.size
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self.screen)
        self.written = 0
        monkeypatch.setattr(StudioApp, "is_headless", property(lambda _: False))
        monkeypatch.setattr(self._driver, "write", self._write)

    def _write(self, text: str) -> None:
        self.written += len(text)
        self._stream.feed(text)

    def fit(self) -> None:
        """Give the terminal the size that the app was told last. What it showed is kept as far as it fits."""
        width, height = self._driver._size
        if (self.screen.columns, self.screen.lines) != (width, height):
            self.screen.resize(height, width)

    def wrong(self) -> list[str]:
        """Return the lines in which the terminal shows something else than the app means to, both ways."""
        meant = self._meant()
        found = []
        for y in range(meant.lines):
            ours, theirs = self._cells(meant, y), self._cells(self.screen, y)
            if ours != theirs:
                x = next(x for x, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
                found.append(
                    f"line {y} from {x} ({ours[x]} is {theirs[x]}):\n"
                    f"  {meant.display[y].rstrip()}\n  {self.screen.display[y].rstrip()}"
                )
        return found

    @staticmethod
    def _cells(screen: pyte.Screen, y: int) -> list[tuple[object, ...]]:
        line = screen.buffer[y]
        # A blank has no colour of its text that anybody could see.
        return [
            tuple(cell) if cell.data != " " else (" ", cell.bg, cell.reverse, cell.underscore, cell.strikethrough)
            for cell in (line[x] for x in range(screen.columns))
        ]

    def _meant(self) -> pyte.Screen:
        """Return a terminal to which the whole picture was written at once."""
        app = self._stage.app
        screen = pyte.Screen(*app.size)
        stream = pyte.Stream(screen)
        for y, strip in enumerate(app.screen._compositor.render_strips()):
            stream.feed(f"\x1b[{y + 1};1H{strip.render(app.console)}\x1b[0m")
        return screen

    async def check(self, what: str) -> None:
        """Wait until the terminal shows what the app means to show.

        Raises:
            AssertionError: It never does.
        """
        found: list[str] = []
        for _ in range(LOOKS):
            await self._stage.pilot.pause(0)
            if self._stage.app.size == Size(self.screen.columns, self.screen.lines):
                found = self.wrong()
                if not found:
                    return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{what}, {self._stage.app.size}:\n" + "\n".join(found[:4]))
