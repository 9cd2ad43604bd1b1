"""A storm of keys, clicks, wheels, sizes and samples over a staged app, from a seed.

Nothing in it leaves the stage: no process of this machine is looked at or ended, nothing is fetched, no editor is
opened, and the app cannot be left.
"""

from __future__ import annotations

import asyncio
import random
import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.geometry import Size
from textual.keys import _get_unicode_name_from_key

from tests.functional.stage import Staged, bare, snapshot
from tests.functional.terminal_picture import Picture
from vllm_studio_tui.domain.chat import Delta, Ended, Timings, TokenUsage
from vllm_studio_tui.domain.errors import StoreError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.foreign import Foreign
from vllm_studio_tui.tui.keys import actions
from vllm_studio_tui.tui.screens.registry import SCREENS
from vllm_studio_tui.tui.terminal import textual_patches

#: What the engine answers: thinking, a table, code and a list.
SCRIPT = (
    Delta(reasoning="a thought\nof two lines"),
    Delta(content="| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint(1)\n```\n\n1. one\n2. two\n"),
    Ended("stop", TokenUsage(10, 20), Timings(0.1, None, 1.0, 40.0)),
)
#: Keys that end or stop the app. What they do is tested elsewhere.
LEAVING = {"q", "ctrl+c", "ctrl+z", "ctrl+q"}
#: Keys that everybody tries.
COMMON = (*"abcdefghijklmnoprstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
          *("enter", "escape", "tab", "shift+tab", "space", "up", "down", "left", "right", "pageup", "pagedown"),
          *("home", "end", "backspace", "delete", "slash", "colon", "question_mark", "minus", "plus", "full_stop"),
          *("enter", "escape", "escape", "down", "up", "enter"))  # fmt: skip
#: Ways to what few random keys find: the screen to begin at, and the keys from there.
WAYS = {
    "form": ("alt+2", "e"), "run": ("alt+1", "enter"), "Question": ("alt+2", "d"), "Chooser": ("alt+6", "ctrl+o"),
    "Prompt": ("alt+2", "D"), "Writing": ("alt+3", "f3", "down", "s", "y", "s", "enter"), "Pages": ("alt+4", "f1"),
    "Palette": ("alt+5", "ctrl+p"), "DiffSheet": ("alt+1", "g", "f"), "SettingsSheet": ("alt+1", "f8"),
    "DoctorSheet": ("alt+1", "f7"), "StartSheet": ("alt+1", "n"), "TableSheet": ("alt+1", "I"),
}  # fmt: skip
#: All that there is to meet.
EVERYTHING = {screen.name for screen in SCREENS} | set(WAYS)
#: Sizes that a terminal is changed to on the way.
SIZES = ((160, 45), (120, 36), (80, 24), (60, 15), (40, 6), (30, 3), (12, 2), (1, 1), (200, 60), (80, 6), (40, 45))


def tame(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Take everything away from the app by which it could reach out of the stage."""
    textual_patches.install()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDITOR", "true")
    theirs = Foreign(2**22 + 4711, 1, "vllm", "org/theirs", 8123, "127.0.0.1", "bob")  # no process has such a number
    monkeypatch.setattr("vllm_studio_tui.runs.foreign.find_foreign", lambda: [theirs])
    monkeypatch.setattr("vllm_studio_tui.runs.foreign.find_orphans", list)
    monkeypatch.setattr("vllm_studio_tui.runs.foreign.end", lambda *_, **__: None)

    def refused(*_: object, **__: object) -> None:
        raise StoreError("nothing is fetched in a storm")

    monkeypatch.setattr("vllm_studio_tui.models.demo.fetch.fetch_demo_model", refused)
    monkeypatch.setattr("vllm_studio_tui.services.demo.fetch_demo_model", refused)
    monkeypatch.setattr("vllm_studio_tui.services.recipes.starting.server_models", refused)

    monkeypatch.setattr("vllm_studio_tui.tui.screens.hosts.flows._check", refused)

    def stays(self: object, *_: object, **__: object) -> None:
        raise AssertionError("the app was told to end")

    monkeypatch.setattr("vllm_studio_tui.tui.app.StudioApp.exit", stays)
    monkeypatch.setattr("vllm_studio_tui.tui.app.StudioApp.leave", lambda _: None)
    monkeypatch.setattr("vllm_studio_tui.tui.app.StudioApp.action_quit_studio", lambda _: None)


async def storm(stage: Staged, folder: Path, seed: int, count: int, picture: Picture | None = None) -> Counter[str]:
    """Send `count` random events, in bursts of up to twelve; return the screens and dialogs met, and how often.

    Args:
        picture: A terminal; after each burst it has to show what the app means to show.

    Raises:
        AssertionError: Something failed; its cause is the fault, its text the last events.
    """
    chance = random.Random(seed)
    keys = sorted({key for action in actions.ACTIONS for key in action.keys.split(",") if key} - LEAVING)
    shown = [snapshot(folder / "runs"), bare(folder / "none")]
    shown += [with_state(shown[0], state) for state in State]
    sent: list[str] = []
    met: Counter[str] = Counter()
    ways = cycle(chance.sample(sorted(WAYS), len(WAYS)))
    every = max(20, min(100, count // (len(WAYS) + 1)))
    due = every
    while len(sent) < count:
        if len(sent) >= due:
            due += every
            sent += await _go(stage, WAYS[next(ways)])
            met[_place(stage)] += 1
        for _ in range(chance.randint(1, 12)):
            sent += [_event(stage, chance, keys, shown)]
            if picture is not None:
                picture.fit()
        await _rest(stage)
        met[_place(stage)] += 1
        fault = stage.app._exception or next(iter(stage.app.faults.errors), None)
        if fault is not None:
            raise AssertionError(f"seed {seed}, after {len(sent)} events: {' '.join(sent[-40:])}") from fault
        if picture is not None:
            await picture.check(f"seed {seed}, after {len(sent)} events: {' '.join(sent[-20:])}")
    await stage.pilot.pause()
    return met


async def _go(stage: Staged, way: tuple[str, ...]) -> list[str]:
    """Close what is open, and press the keys of a way one after the other; return the keys."""
    keys = [*["escape"] * 3, *way]
    for key in keys:
        stage.app.post_message(events.Key(*_key(key)))
        await (_rest(stage) if key == "escape" else stage.settle())
    return keys


def _place(stage: Staged) -> str:
    """Return the name of what is in front: a dialog, the form, or a screen."""
    app = stage.app
    if len(app.screen_stack) > 1:
        return type(app.screen).__name__
    return "form" if app.place_name == "recipes" and app.current.query("RecipeForm") else app.place_name


def with_state(shown: Any, state: State) -> Any:
    """Return the snapshot with all its runs in another state."""
    runs = tuple(replace(run, status=replace(run.status, state=state)) for run in shown.runs)
    return replace(shown, runs=runs, every=runs)


def _event(stage: Staged, chance: random.Random, keys: list[str], shown: list[Any]) -> str:
    app = stage.app
    width, height = app.size
    kind = chance.random()
    if kind < 0.80:
        key = chance.choice(keys) if kind < 0.50 else chance.choice(COMMON)
        if key in LEAVING:
            key = "escape"
        app.post_message(events.Key(*_key(key)))
        return key
    x, y = chance.randrange(max(1, width)), chance.randrange(max(1, height))
    if kind < 0.93:
        _mouse(stage, chance, x, y)
        return f"mouse({x},{y})"
    if kind < 0.97:
        size = chance.choice(SIZES)
        app._driver._size = size  # type: ignore[union-attr]
        app.post_message(events.Resize(Size(*size), Size(*size)))
        return f"size{size}"
    stage.studio.sampler.show(chance.choice(shown))  # type: ignore[attr-defined]
    return "sample"


def _key(key: str) -> tuple[str, str | None]:
    """Return a key with the character that it types, as Textual's driver reports both."""
    if len(key) == 1:
        return key, key
    if "+" in key or key in ("up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete"):
        return key, None
    try:
        return key, unicodedata.lookup(_get_unicode_name_from_key(key))
    except KeyError:
        return key, {"tab": "\t", "enter": "\r", "space": " "}.get(key)


def _mouse(stage: Staged, chance: random.Random, x: int, y: int) -> None:
    app = stage.app
    common: dict[str, Any] = {
        "widget": None, "x": x, "y": y, "delta_x": 0, "delta_y": 0, "shift": False, "meta": False, "ctrl": False,
        "screen_x": x, "screen_y": y,
    }  # fmt: skip
    what = chance.choice(("click", "double", "drag", "wheel", "move"))
    if what == "wheel":
        wheel = chance.choice((events.MouseScrollDown, events.MouseScrollUp))
        app.screen._forward_event(wheel(button=0, **common))
        return
    app.screen._forward_event(events.MouseMove(button=0, **common))
    if what == "move":
        return
    for _ in range(2 if what == "double" else 1):
        app.screen._forward_event(events.MouseDown(button=1, **common))
        if what == "drag":
            app.screen._forward_event(events.MouseMove(button=1, **{**common, "x": x // 2, "screen_x": x // 2}))
        app.screen._forward_event(events.MouseUp(button=1, **common))


async def _rest(stage: Staged) -> None:
    """Let the app take what was sent. Threads may go on: what they bring belongs to the storm."""
    await stage.pilot.pause(0)
    await asyncio.sleep(0)
