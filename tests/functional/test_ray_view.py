"""A Ray cluster on the monitor: real answers at every size; where none is known nothing is shown, and nothing asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import NOW, Staged, staged
from tests.functional.test_colours import Legend, painted
from tests.functional.test_snapshots import HERE, SIZES, compare
from tests.ray_dashboard import dashboard, view_of
from vllm_studio_tui.config.settings import save_setting
from vllm_studio_tui.domain.ray_view import RayView
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.screens.monitor import ray_data
from vllm_studio_tui.tui.screens.monitor.place import Monitor

HOSTILE = "\x1b]0;title\x07[red]\u202egpj.exe"


class StillRay:
    """A cluster that stands still, and how often it was looked at."""

    def __init__(self, view: RayView | None) -> None:
        self.view = view
        self.looks = 0

    def look(self, address: str | None = None) -> RayView | None:
        self.looks += 1
        return self.view


def with_ray(ray: StillRay) -> Callable[[Studio], None]:
    def prepare(studio: Studio) -> None:
        studio.__dict__["ray"] = ray

    return prepare


def known(name: str) -> StillRay:
    return StillRay(view_of(name, at=NOW - 2))


def place(stage: Staged) -> Monitor:
    return stage.app.query_one(Monitor)


def look_again(stage: Staged) -> None:
    """Have as much time go by as lies between two looks, and a tick come."""
    place(stage)._ray._looked = 0.0
    place(stage).update_place()


async def open_cluster(stage: Staged) -> None:
    """The view of the cluster, from that of the charts."""
    await stage.until(lambda: place(stage)._ray.view is not None, "the cluster was looked at")
    await stage.press("v", "v")
    await stage.until(lambda: "NODES" in stage.text(), "the cluster")


async def drawn(stage: Staged) -> str:
    parts = []
    for width, height in SIZES:
        await stage.pilot.resize_terminal(width, height)
        await stage.settle()
        parts.append(f"== Ray {width}x{height}\n{stage.text()}\n")
    return "\n".join(parts)


@pytest.mark.parametrize("looks", ["unicode", "ascii"])
@pytest.mark.parametrize("name", ["healthy", "raylet-killed-later", "deploy-failed", "no-serve"])
async def test_a_cluster_looks_as_it_did(tmp_path: Path, name: str, looks: str) -> None:
    options: dict[str, Any] = {"place": "monitor", "prepare": with_ray(known(name)), "ascii_only": looks == "ascii"}
    async with staged(tmp_path, **options) as stage:
        await open_cluster(stage)
        text = await drawn(stage)
    compare(HERE / "ray" / f"{name}-{looks}.txt", text)


@pytest.mark.parametrize("theme", ["slate", "paper", "nocolour"])
async def test_a_cluster_has_the_colours_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theme: str) -> None:
    colourless = theme == "nocolour"
    if colourless:
        monkeypatch.setenv("NO_COLOR", "1")
    options: dict[str, Any] = {"place": "monitor", "prepare": with_ray(known("raylet-killed-later"))}
    async with staged(tmp_path, theme_name=None if colourless else theme, **options) as stage:
        await open_cluster(stage)
        legend = Legend("" if colourless else f"on {stage.app.looks.themes[theme].colours['bg']}")
        text = await painted(stage, "Ray", legend, colourless=colourless)
    compare(HERE / "colours" / f"ray-{theme}.txt", f"{text}\n== legend\n{legend}")


@pytest.mark.parametrize("size", [(160, 45), (80, 24), (60, 15)])
async def test_what_is_wrong_with_it_stands_above_the_charts_in_one_row(tmp_path: Path, size: tuple[int, int]) -> None:
    ray = known("raylet-killed-later")
    async with staged(tmp_path, place="monitor", size=size, prepare=with_ray(ray)) as stage:
        await stage.until(lambda: "RAY  ✕ Node 10.77.0.2 is dead for 3" in stage.text(), "the worst of it")
        assert "+5" in next(line for line in stage.lines() if "RAY  ✕" in line)
        assert "output tok/s" in stage.text()


async def test_a_healthy_one_has_a_row_only_where_there_is_room(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor", prepare=with_ray(known("healthy"))) as stage:
        await stage.until(lambda: "RAY  2 nodes   2 replicas of Serve run" in stage.text(), "it is well")
        await stage.pilot.resize_terminal(80, 24)
        await stage.settle()
        assert "RAY" not in stage.text()
        await stage.press("v")
        assert "v Ray" in stage.text()


async def test_without_a_ray_there_is_no_view_of_one_and_nobody_is_asked(tmp_path: Path) -> None:
    with dashboard("healthy") as board:
        async with staged(tmp_path, place="monitor") as stage:
            await stage.quiet()
            assert "RAY" not in stage.text()
            await stage.press("v")
            assert "v charts" in stage.text()
            await stage.press("v")
            assert board.asked == []


async def test_a_setting_is_followed_without_a_new_start(tmp_path: Path) -> None:
    with dashboard("healthy") as board:
        async with staged(tmp_path, place="monitor") as stage:
            save_setting(stage.studio.places, "ray_address", board.url)
            look_again(stage)
            await stage.until(lambda: "RAY  2 nodes" in stage.text(), "the cluster of the setting")
    assert {path for path, _ in board.asked} == set(board.answers)


async def test_it_is_looked_at_every_five_seconds_and_only_while_it_is_seen(tmp_path: Path) -> None:
    assert ray_data.EVERY == 5.0
    ray = known("healthy")
    async with staged(tmp_path, place="monitor", prepare=with_ray(ray)) as stage:
        await stage.until(lambda: ray.looks == 1, "the first look")
        began = time.monotonic()
        stage.app.current.update_place()
        await stage.settle()
        assert ray.looks == 1 or time.monotonic() > began + 4, "it was looked at a moment ago"
        looks = ray.looks
        look_again(stage)
        await stage.until(lambda: ray.looks == looks + 1, "the time is over")
        await stage.settle()
        await stage.press("v")  # the processes
        look_again(stage)
        await stage.settle()
        assert ray.looks == looks + 1, "nothing of it is seen there"
        await stage.press("v")
        await stage.until(lambda: ray.looks == looks + 2, "it is seen again")
        await stage.settle()
        await stage.press("1")
        place(stage)._ray._looked = 0.0
        await stage.quiet()
        assert ray.looks == looks + 2, "another screen is seen"


async def test_escape_leads_back_and_there_is_no_axis_to_move_on(tmp_path: Path) -> None:
    async with staged(tmp_path, place="monitor", prepare=with_ray(known("pending"))) as stage:
        await open_cluster(stage)
        assert "+ - zoom" not in stage.text()
        await stage.press("G")
        await stage.press("enter")
        assert stage.app.place_name == "monitor", "there is nothing to open"
        await stage.press("escape")
        await stage.until(lambda: "TIME  " in stage.text(), "the charts")
        assert "NODES" not in stage.text()


async def test_a_cluster_that_is_no_longer_known_gives_the_charts_back(tmp_path: Path) -> None:
    ray = known("healthy")
    async with staged(tmp_path, place="monitor", prepare=with_ray(ray)) as stage:
        await open_cluster(stage)
        ray.view = None
        look_again(stage)
        await stage.until(lambda: "TIME  " in stage.text() and "RAY" not in stage.text(), "the charts")


async def test_one_that_does_not_answer_says_why_and_what_to_do(tmp_path: Path) -> None:
    gone = RayView("http://head:8265", NOW - 2, error="connection refused", advice="Give the address of its dashboard.")
    async with staged(tmp_path, place="monitor", prepare=with_ray(StillRay(gone))) as stage:
        await stage.until(lambda: "RAY  ✕ Ray does not answer: connection refused" in stage.text(), "the reason")
        await stage.press("v", "v")
        await stage.until(lambda: "Give the address of its dashboard." in stage.text(), "what to do")
        assert "http://head:8265" in stage.text()


async def test_an_answer_that_has_grown_old_says_so(tmp_path: Path) -> None:
    old = StillRay(view_of("healthy", at=NOW - 125))
    async with staged(tmp_path, place="monitor", prepare=with_ray(old)) as stage:
        await open_cluster(stage)
        await stage.until(lambda: "ago" in stage.text().split("RAY", 1)[1].splitlines()[0], "its age")


async def test_hostile_names_change_nothing_of_the_terminal(tmp_path: Path) -> None:
    view = view_of("raylet-killed-later", at=NOW - 2)
    (app, *_) = view.applications or ()
    ((deployment),) = app.deployments
    bad = replace(
        view,
        version=HOSTILE, address=HOSTILE,
        nodes=tuple(replace(node, address=HOSTILE, state=HOSTILE, why=HOSTILE) for node in view.nodes or ()),
        applications=(replace(app, name=HOSTILE, deployments=(replace(deployment, name=HOSTILE, status=HOSTILE),)),),
        actors={HOSTILE: 3},
        idle_actors=tuple(replace(actor, kind=HOSTILE, why=HOSTILE) for actor in view.idle_actors),
    )  # fmt: skip
    async with staged(tmp_path, place="monitor", prepare=with_ray(StillRay(bad))) as stage:
        for size in SIZES:
            await stage.pilot.resize_terminal(*size)
            await stage.settle()
            if size == SIZES[0]:
                await open_cluster(stage)
            text = "".join(stage.lines())
            assert "\x1b" not in text
            assert "\u202e" not in text
