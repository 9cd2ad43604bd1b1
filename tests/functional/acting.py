"""Scenarios: each says of one action, or of two that undo each other, what a person sees or what is kept after it.

Scenarios of one scene share a running studio, one after the other, because to start one is what costs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from tests.functional.stage import Staged, staged
from vllm_studio_tui.tui.keys.actions import BY_ID
from vllm_studio_tui.tui.widgets.canvas import ListCanvas

Steps = Callable[[Staged], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """What is done, and the actions that it shows at work."""

    ids: tuple[str, ...]
    steps: Steps


class Scene:
    """A place to begin at, and the scenarios that are played there.

    Args:
        begin: Done before each scenario.
        options: Go to `staged`.
    """

    def __init__(self, name: str, *, place: str, begin: Steps | None = None, **options: Any) -> None:
        self.name = name
        self.place = place
        self.scenarios: list[Scenario] = []
        self._begin = begin
        self._options = options

    def scenario(self, *ids: str) -> Callable[[Steps], Steps]:
        """The function shows what these actions do. Every key of theirs has to be pressed in it."""

        def keep(steps: Steps) -> Steps:
            self.scenarios.append(Scenario(ids, steps))
            return steps

        return keep

    async def play(self, home: Path) -> None:
        """Play every scenario."""
        async with staged(home, place=self.place, **self._options) as stage:
            for one in self.scenarios:
                try:
                    await self._set(stage)
                    await one.steps(stage)
                    keys = {key for id_ in one.ids for key in BY_ID[id_].keys.split(",") if key}
                    assert keys <= stage.pressed, f"never pressed: {sorted(keys - stage.pressed)}"
                except BaseException as error:
                    error.add_note(f"in the scenario of {', '.join(one.ids)}")
                    raise

    async def _set(self, stage: Staged) -> None:
        """As at the beginning: nothing was called, pressed or said, and the place is in front."""
        assert len(stage.app.screen_stack) == 1, "the scenario before has left something open"
        stage.calls.clear()
        stage.app.clear_notifications()
        stage.said.clear()
        await stage.app.show_place(self.place)
        if self._begin is not None:
            await self._begin(stage)
        await stage.settle()
        stage.pressed.clear()


def ids_of(*scenes: Scene) -> set[str]:
    return {id_ for scene in scenes for one in scene.scenarios for id_ in one.ids}


# --- what scenarios are made of -------------------------------------------------------------------------------


async def fill_in(stage: Staged, text: str) -> None:
    """Put a text into the field that has the focus, as if it was pasted."""
    field = stage.app.focused
    assert isinstance(field, Input), field
    field.value = text
    await stage.settle()


async def command(stage: Staged, words: str) -> None:
    """Do something through the palette."""
    await stage.press("ctrl+p")
    await stage.until(lambda: len(stage.app.screen_stack) == 2, "the palette")
    await fill_in(stage, words)
    await stage.press("enter")


async def cursor(stage: Staged, canvas: str, key: str) -> None:
    """Put the cursor of a list on a row."""
    found = stage.app.current.one(canvas)
    assert isinstance(found, ListCanvas)
    found.choose(key)
    await stage.settle()
    assert found.key == key


async def at(stage: Staged, place: str, words: str) -> None:
    """Wait until another screen is in front and shows something."""
    await stage.until(lambda: stage.app.place_name == place and words in stage.text(), f"{place} with {words!r}")


async def shows(stage: Staged, words: str) -> None:
    await stage.until(lambda: words in stage.text(), f"{words!r} is shown")


async def hides(stage: Staged, words: str) -> None:
    await stage.until(lambda: words not in stage.text(), f"{words!r} is not shown")


async def told(stage: Staged, words: str) -> None:
    """Wait until a message with these words was told, since one with them was waited for last, or stands there."""
    await stage.until(lambda: any(words in one for one in stage.heard), f"{words!r} is said")
    found = next((at for at, one in enumerate(stage.said) if words in one), None)
    if found is not None:
        del stage.said[found]


async def asked(stage: Staged, *calls: tuple[str, str]) -> None:
    """Wait until the launcher was asked for exactly this."""
    await stage.until(lambda: stage.calls == list(calls), f"{calls} instead of {stage.calls}")


@contextmanager
def editor(stage: Staged, script: str) -> Iterator[None]:
    """`$EDITOR` changes the file as this sed script says; there is no terminal to be given back meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISUAL", f"sed -i {script}")
        patch.setattr(stage.app, "suspend", nullcontext)
        yield
