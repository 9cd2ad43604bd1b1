"""What stands in the terminal is what the app means to show: no leftovers, whatever changes, opens, closes or moves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.widgets._toast import Toast

from tests.functional.stage import staged
from tests.functional.storm import SCRIPT, storm, tame
from tests.functional.terminal_picture import Picture

SIZES = ((120, 36), (40, 6))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_terminal_shows_what_is_meant_throughout_a_short_storm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    tame(monkeypatch, tmp_path)
    async with staged(tmp_path / "home", size=size, script=SCRIPT) as stage:
        picture = Picture(stage, monkeypatch)
        stage.app.refresh(layout=True)
        await storm(stage, tmp_path, seed=size[0], count=150, picture=picture)
        assert picture.written > 10_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", (1, 2, 3))
@pytest.mark.parametrize("size", ((160, 45), (80, 24), (60, 15), (40, 6)), ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_terminal_shows_what_is_meant_throughout_a_long_storm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], seed: int
) -> None:
    tame(monkeypatch, tmp_path)
    async with staged(tmp_path / "home", size=size, script=SCRIPT) as stage:
        picture = Picture(stage, monkeypatch)
        stage.app.refresh(layout=True)
        await storm(stage, tmp_path, seed=seed, count=3000, picture=picture)


async def test_a_message_that_goes_while_somebody_asks_where_things_are_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, size=(80, 24)) as stage:
        picture = Picture(stage, monkeypatch)
        stage.app.refresh(layout=True)
        stage.app.tell("Something was told that is long enough to be seen", "error")
        await stage.settle()
        await picture.check("the message stands there")
        assert "Something was told" in "".join(picture.screen.display)
        stage.app.clear_notifications()
        compositor = stage.app.screen._compositor
        while stage.app.screen.query(Toast):
            compositor._full_map_invalidated = True
            assert compositor.full_map
            await asyncio.sleep(0)
        compositor._full_map_invalidated = True
        assert compositor.full_map
        await picture.check("the message is gone")
        assert "Something was told" not in "".join(picture.screen.display)
