"""What stands in the terminal is what the app means to show: no leftovers, whatever changes, opens, closes or moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.stage import staged
from tests.functional.storm import SCRIPT, storm, tame
from tests.functional.terminal_picture import Picture

SIZES = ((120, 36), (40, 6))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_terminal_shows_what_is_meant_throughout_a_short_storm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    tame(monkeypatch, tmp_path)
    async with staged(tmp_path / "home", size=size, script=SCRIPT) as stage:
        picture = Picture(stage, monkeypatch)
        stage.app.refresh(layout=True)
        await storm(stage, tmp_path, seed=size[0], count=250, picture=picture)


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
