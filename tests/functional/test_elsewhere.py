"""The screens on a studio elsewhere, asked over a socket: each opens, and what is done happens there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.elsewhere import served, short
from tests.functional.stage import recipe
from vllm_studio_tui.domain.download import DownloadPlan, PlannedFile
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.models.pulling.directory import create
from vllm_studio_tui.remote.sampler import RemoteSampler
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.services.watching.sampler import Sampler
from vllm_studio_tui.simulation import model_files
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.app import StudioApp
from vllm_studio_tui.tui.screens.registry import SCREENS


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.05)


async def test_every_screen_opens_on_a_studio_elsewhere_and_says_where_it_is(tmp_path: Path) -> None:
    there, here = tmp_path / "there", Places.under(tmp_path / "here")
    there.mkdir()
    with Studio.open_sync(Places.under(there)) as studio:
        studio.recipes.create(recipe("one"))
    with short(there) as places, served(places) as address, connect(address, here) as elsewhere:
        app = StudioApp(elsewhere, label=elsewhere.host or "")
        async with app.run_test(size=(160, 45)) as pilot:
            await until(lambda: app.snapshot is not None and app.snapshot.tick.host.cores is not None, "a sample")
            for screen in SCREENS:
                await app.show_place(screen.name)
                await pilot.pause()
                header = "".join(segment.text for segment in app.screen_stack[0].query_one("#header").render_line(0))
                assert "elsewhere" in header, screen.name
            await app.show_place("recipes")
            await pilot.pause()
            await until(lambda: _shows(app, "one"), "the recipe there")
            assert not app.faults.errors
        assert not here.database.exists()


def test_a_server_ends_after_its_samplers_have_kept_what_they_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    close = Sampler.close

    def slow(sampler: Sampler) -> None:
        time.sleep(0.3)
        close(sampler)
        ended.append(True)

    monkeypatch.setattr(Sampler, "close", slow)
    there = tmp_path / "there"
    there.mkdir()
    with short(there) as places:
        with served(places) as address, connect(address, Places.under(tmp_path / "here")) as elsewhere:
            sampler = elsewhere.sampler
            assert isinstance(sampler, RemoteSampler)
            sampler.start()
            deadline = time.monotonic() + 40
            while sampler.latest is None:
                assert time.monotonic() < deadline, "no sample"
                time.sleep(0.02)
            sampler.close()
        assert ended == [True]


async def test_models_and_downloads_are_those_of_the_machine_that_is_looked_at(tmp_path: Path) -> None:
    there, here = tmp_path / "there", Places.under(tmp_path / "here")
    there.mkdir()
    shape = next(one for one in model_files.SHAPES if one.id.startswith("HuggingFaceTB"))
    snapshot = model_files.write_model(tmp_path / "hub", shape)
    with short(there) as places, served(places) as address, connect(address, here) as elsewhere:
        (places.data / "models").mkdir(parents=True)
        (places.data / "models" / "smol").symlink_to(snapshot)
        plan = DownloadPlan("org/coming", "main", "c" * 40, (PlannedFile("w.safetensors", 1000, "0" * 64),))
        create(places.downloads, plan, endpoint="http://127.0.0.1:9", cache=tmp_path / "hub")
        app = StudioApp(elsewhere, place="models", label=elsewhere.host or "")
        async with app.run_test(size=(160, 45)):
            await until(lambda: _shows(app, "smol") and _shows(app, "coming"), "what is there")
            await until(lambda: _shows(app, "paused"), "no process works on it")
            assert not _shows(app, " free "), "the disk of this machine is not meant"
            assert not app.faults.errors
        assert not here.downloads.exists()


async def test_a_model_there_becomes_a_recipe_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "2,kind=rtx4090")  # of the other machine
    there, here = tmp_path / "there", Places.under(tmp_path / "here")
    there.mkdir()
    shape = next(one for one in model_files.SHAPES if one.id.startswith("HuggingFaceTB"))
    model = str(model_files.write_model(tmp_path / "hub", shape))
    with short(there) as places, served(places) as address, connect(address, here) as elsewhere:
        app = StudioApp(elsewhere, label=elsewhere.host or "")
        async with app.run_test(size=(160, 45)) as pilot:
            await until(lambda: app.snapshot is not None, "a sample")
            app.open_page("create", model)
            await until(lambda: _shows(app, "HOW LONG, FOR HOW MANY"), "what it needs there")
            assert _shows(app, "1 of 2"), "GPUs of the machine that is looked at"
            await until(lambda: _shows(app, "f2 save"), "it can be saved")
            await pilot.press("f2")
            await until(lambda: bool(elsewhere.recipe_list()), "it is kept there")
            assert [data["model_path"] for _, data in elsewhere.recipe_list()] == [model]
            assert not app.faults.errors
        assert not here.database.exists()


def _shows(app: StudioApp, text: str) -> bool:
    return any(text in "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())
