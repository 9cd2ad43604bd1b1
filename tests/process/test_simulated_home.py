"""The home that `demo --simulate` opens: weeks behind it, three runs in it, and nothing of a person's lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.elsewhere import served, short
from vllm_studio_tui.config.settings import load_settings, save_setting
from vllm_studio_tui.domain.answer_share import AnswerShare
from vllm_studio_tui.domain.chat import Ended
from vllm_studio_tui.domain.download import DownloadState
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.usage import UsageQuery
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.gpu.nvml import NvmlReader
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.runs import read
from vllm_studio_tui.services import demo
from vllm_studio_tui.services.chat.events import AnswerSaved
from vllm_studio_tui.services.simulated_home.home import SimulatedHome
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.simulation import gpus
from vllm_studio_tui.simulation.recipes import FAILED, LOADING, READY
from vllm_studio_tui.studio import Studio


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "4")
    monkeypatch.setenv("HF_HUB_CACHE", "")
    made = Places.of()
    yield made
    with Studio.open_sync(made) as studio:
        for one in studio.downloads.list():
            studio.downloads.pause(one.id)
        for run in read.live_runs(made):
            studio.launcher.stop(run, force=True)


def opened(studio: Studio) -> read.RunView:
    demo.prepare_simulation(studio.places)
    return demo.open_simulation(studio.places, studio.settings, studio.db, studio.recipes)


def test_it_opens_full_and_opening_it_again_adds_nothing(places: Places) -> None:
    with Studio.open_sync(places) as studio:
        run = opened(studio)
        assert (run.recipe_id, run.state) == (READY, State.READY)
        assert run.status.started_at is not None
        assert time.time() - run.status.started_at > 2 * 86_400
        runs = read.all_runs(places)
        shown = {one.recipe_id: one for one in read.shown_runs(runs)}
        assert {name: one.state for name, one in shown.items()} == {
            READY: State.READY,
            LOADING: State.LOADING,
            FAILED: State.FAILED,
        }
        failed = shown[FAILED].status
        assert failed.reason == "kv_cache_too_small"
        assert failed.fixes
        assert {"weights", "kv_cache"} <= set(failed.marks)
        assert sum(one.state is State.EXITED for one in runs) > 10
        report = studio.usage.report(UsageQuery(days=14, by="day"))
        assert len(report.rows) == 14
        assert all(row.total_tokens and row.energy_wh for row in report.rows)
        assert {row.key for row in studio.usage.report(UsageQuery()).rows} >= {READY, LOADING, "gemma-3-12b"}
        sessions = studio.chats.list()
        assert len(sessions) >= 12
        assert any(one.parent_id for one in sessions)
        kept = [message for one in sessions for message in studio.chats.branch(one.id)]
        assert {"stop", "stopped", "tool_calls"} <= {message.finish for message in kept}
        assert any(message.reasoning for message in kept)
        assert [one.number for one in studio.recipes.revisions(FAILED)] == [3, 2, 1]
        assert studio.recipes.number(studio.recipes.get(READY)) == 3
        told = json.dumps([(one.name, one.model, one.spec and one.spec.engine, one.status.title) for one in runs])
        assert "simulated" not in told.lower()
        coming = studio.downloads.list()
        assert [(one.repo, one.state) for one in coming] == [("openai/gpt-oss-120b", DownloadState.RUNNING)]
        assert coming[0].share is not None and coming[0].share >= 0.34
        models = {one.name: one for one in studio.models.list()}
        assert models["Qwen/Qwen3-32B"].complete and models["Qwen/Qwen3-32B"].recipes == (READY,)
        again = opened(studio)
        assert len(studio.downloads.list()) == 1
        assert again.run_id == run.run_id
        assert [one.run_id for one in read.all_runs(places)] == [one.run_id for one in runs]
        gpus.HOLDERS.forget()
        now = time.time()
        assert gpus.utilization(0, now) > 10
        assert [pid for pid, _ in gpus.processes(0, now)] == [run.status.pid]


def test_a_past_that_is_made_anew_replaces_the_old_one_and_no_chat_of_the_person(places: Places) -> None:
    with Studio.open_sync(places) as studio:
        demo.prepare_simulation(places)
        home = SimulatedHome(places, studio.settings, studio.db, studio.recipes)
        now = time.time()
        home._fill(now - 90_000, ())
        before = read.all_runs(places)
        mine = studio.chats.create("mine")
        home._fill(now, before)
        after = read.all_runs(places)
        assert len(after) == len(before)
        assert not {one.run_id for one in before} & {one.run_id for one in after}
        assert [one.id for one in studio.chats.list()] == [mine.id]
        assert len(studio.recipes.revisions(READY)) == 3


def test_a_home_with_a_persons_own_data_is_given_no_past(places: Places) -> None:
    with Studio.open_sync(places) as studio:
        studio.chats.create("mine")
        run = opened(studio)
        assert {one.recipe_id for one in read.all_runs(places)} == {READY, LOADING}
        assert run.status.started_at is not None
        assert time.time() - run.status.started_at < 600
        assert [one.title for one in studio.chats.list()] == ["mine"]


def test_it_opens_where_there_are_settings_already_and_leaves_what_they_say(places: Places) -> None:
    save_setting(places, "alert_quiet", "22:00-07:00")
    save_setting(places, "vllm_executable", "/mine/vllm")
    demo.prepare_simulation(places)
    settings = load_settings(places, {})
    assert (settings.alert_quiet, settings.vllm_executable) == ("22:00-07:00", "/mine/vllm")
    assert settings.sglang_python is not None and Path(settings.sglang_python).exists()


async def test_answers_have_their_share_of_the_energy_of_the_gpus(places: Places) -> None:
    """The engine and the GPUs are simulated, the readings, the shares and what is kept are real."""
    with Studio.open_sync(places) as studio:
        run = opened(studio)
        assert run.spec is not None
        target = studio.launcher.target(recipe=READY)
        sampled, saved = asyncio.Event(), asyncio.Queue[AnswerSaved]()
        loop = asyncio.get_running_loop()

        def on_sample(_: Snapshot) -> None:
            loop.call_soon_threadsafe(sampled.set)

        def on_saved(event: AnswerSaved) -> None:
            loop.call_soon_threadsafe(saved.put_nowait, event)

        studio.bus.subscribe(Snapshot, on_sample)
        studio.bus.subscribe(AnswerSaved, on_saved)
        chat = studio.chat
        studio.sampler.set_pace(0.2)
        before, error = NvmlReader().energies(run.spec.gpus)
        assert error is None
        studio.sampler.start()
        await asyncio.wait_for(sampled.wait(), 30)

        async def ask(text: str) -> str:
            session = chat.new_session(text, model=target.model)
            ends = [one async for one in chat.send(session, text, target) if isinstance(one, Ended)]
            assert [one.error for one in ends] == [None]
            return session

        sessions = await asyncio.gather(*(ask(f"Tell me of the {thing}.") for thing in ("sea", "sky", "wood")))
        for _ in sessions:
            await asyncio.wait_for(saved.get(), 30)
        after, _ = NvmlReader().energies(run.spec.gpus)
        whole = sum(after[uuid] - before[uuid] for uuid in before) / 1000
        shares = [AnswerShare.from_json(chat.messages.branch(one)[-1].details["during"]) for one in sessions]
        joules = [one.joules for one in shares if one is not None and one.joules is not None]
        assert len(joules) == len(sessions)
        assert 0 < sum(joules) <= whole
        assert all(one is not None and one.gpus == len(before) and one.metered for one in shares)
        assert all(one is not None and one.requests >= len(sessions) - 1 for one in shares)  # they came at once


async def test_an_answer_of_a_studio_elsewhere_has_its_share_where_somebody_looks(
    places: Places, tmp_path: Path
) -> None:
    with Studio.open_sync(places) as studio:
        opened(studio)
    with (
        short(tmp_path / "home") as there,
        served(there) as address,
        connect(address, Places.under(tmp_path / "me")) as far,
    ):
        sampled, loop = asyncio.Event(), asyncio.get_running_loop()

        def on_sample(_: Snapshot) -> None:
            loop.call_soon_threadsafe(sampled.set)

        target = await asyncio.to_thread(lambda: far.launcher.target(recipe=READY))
        session = await asyncio.to_thread(lambda: far.chat.new_session("sea", model=target.model))
        far.bus.subscribe(Snapshot, on_sample)
        far.sampler.start()
        await asyncio.wait_for(sampled.wait(), 30)
        share = None
        for _ in range(4):  # where samples were late about an answer nobody knows its share: the next one is asked
            ends = [one async for one in far.chat.send(session, "Of the sea.", target) if isinstance(one, Ended)]
            assert [one.error for one in ends] == [None]
            deadline = time.monotonic() + 15
            while share is None and time.monotonic() < deadline:
                branch = await asyncio.to_thread(lambda: far.chats.branch(session))
                share = AnswerShare.from_json(branch[-1].details.get("during"))
                await asyncio.sleep(0.1)
            if share is not None:
                break
        assert share is not None
        assert share.joules is not None
        assert share.joules > 0
