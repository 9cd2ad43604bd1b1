"""Whatever is asked, left, launched, stopped and killed around `serve`, in whatever order: each request ends once.

In a calm sequence nobody is killed, so every request has to be answered whole, however models take turns. A failure
names its seed. The default run tries a few; `pytest -m slow` tries a hundred, and a thousand with the variable
VLLM_STUDIO_TEST_SEEDS=100-600.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.ports import free_port
from tests.process.house import House, until
from tests.process.serving import recipe
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.usage import UsageQuery
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.studio import Studio

NAMES = ("a", "b", "c")
#: The first seed of the many, and the one after the last; each is lived through twice.
SEEDS = tuple(int(one) for one in os.environ.get("VLLM_STUDIO_TEST_SEEDS", "100-150").split("-"))
#: Tokens of the longest answer that is asked for.
MOST = 40


class Sequence:
    """One random life of a server with three models and room for two."""

    def __init__(self, house: House, seed: int, *, calm: bool) -> None:
        self.house = house
        self.calm = calm
        self.random = random.Random(seed)
        self.tasks: list[asyncio.Task[None]] = []
        self.answered: list[str] = []
        self.broken: list[str] = []
        self.left = self.killed = self.stopped = 0
        settings = {"max_loaded": 2, "max_consecutive": 0.3, "min_warm": 0, "abandon_after": 0.2, "max_wait": 60,
                    "inference_port": free_port(), "shutdown_grace": 2}  # fmt: skip
        house.places.config.mkdir(parents=True)
        house.places.settings_file.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
        flags = (
            "--account",
            str(house.accounts / "{{pid}}.json"),
            "--tokens-per-second",
            "200",
            "--load-seconds",
            "0.2",
        )
        with Studio.open_sync(house.places) as studio:
            for name in NAMES:
                studio.recipes.create(recipe(name, *flags, restart={"policy": "on-failure", "delay": 0.05}))
        self.serve()

    def serve(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vllm_studio_tui", "serve", "--port", "0"],
            env={**os.environ, "VLLM_STUDIO_HOME": str(self.house.root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    async def request(self) -> None:
        """Ask a model, and perhaps leave in the middle of it."""
        name, stream = self.random.choice(NAMES), self.random.random() < 0.5
        leave = self.random.random() < 0.3
        body = {"model": name, "messages": [{"role": "user", "content": "count"}], "stream": stream,
                "max_tokens": self.random.choice([3, MOST])}  # fmt: skip
        patience = self.random.uniform(0.05, 0.6) if leave else 90
        try:
            async with (
                asyncio.timeout(patience),
                aiohttp.ClientSession() as client,
                client.post(f"{self.url}/chat/completions", json=body) as got,
            ):
                text = await got.text()
                if got.status != 200 or (stream and "[DONE]" not in text):
                    self.broken.append(f"{name} {got.status} {text[-300:]}")
                self.answered.append(got.headers["x-vllm-studio-request"])
        except TimeoutError:
            assert leave, "nobody waits for ever"
            self.left += 1
        except aiohttp.ClientError as error:
            self.broken.append(f"{name} {type(error).__name__}")

    async def step(self) -> None:
        ask = [self.ask] * 8
        rough = (
            [] if self.calm else [self.kill_serve, self.kill_keeper, self.kill_engine, self.person, self.person_stops]
        )
        await self.random.choice([*ask, self.pause, *rough])()

    async def ask(self) -> None:
        for _ in range(self.random.choice([1, 1, 4])):
            self.tasks.append(asyncio.create_task(self.request()))

    async def pause(self) -> None:
        await asyncio.sleep(self.random.uniform(0.0, 0.5))

    async def kill_serve(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        self.close_pipe()
        await asyncio.to_thread(self.serve)

    def close_pipe(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def pick(self) -> read.RunView | None:
        runs = read.live_runs(self.house.places)
        return self.random.choice(runs) if runs else None

    async def kill_keeper(self) -> None:
        run = self.pick()
        if run is not None:
            self.stopped += 1
            await asyncio.to_thread(self.house.kill_keeper, run)

    async def kill_engine(self) -> None:
        run = self.pick()
        if run is not None:
            self.killed += 1
            await asyncio.to_thread(self.house.kill_engine, run)

    async def person(self) -> None:
        """A person launches, or switches, at the same time."""
        name, switch = self.random.choice(NAMES), self.random.random() < 0.3
        self.stopped += switch

        def launch() -> None:
            with Studio.open_sync(self.house.places) as studio, contextlib.suppress(StudioError):
                chosen = studio.recipes.get(name)
                (studio.launcher.switch if switch else studio.launcher.launch)(chosen)

        await asyncio.to_thread(launch)

    async def person_stops(self) -> None:
        run = self.pick()
        if run is not None:
            self.stopped += 1
            await asyncio.to_thread(control.stop, run)

    async def end(self) -> None:
        """All are answered, and the books agree with what the engines spent."""
        await asyncio.gather(*self.tasks)
        assert self.calm is False or self.broken == []
        root = self.url.removesuffix("/v1")
        async with aiohttp.ClientSession() as client:
            for _ in range(1200):
                async with client.get(f"{root}/requests/live") as got:
                    now: dict[str, Any] = await got.json()
                if not (now["requests"] or now["queue"] or now["in_flight"] or now["waiting"] or now["launching"]):
                    break
                await asyncio.sleep(0.05)
            else:
                raise AssertionError(f"not at rest: {now}")
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, 30) == 0
        self.close_pipe()
        await asyncio.to_thread(self.check_books)

    def check_books(self) -> None:
        places = self.house.places
        control.settle(places)
        for run in read.live_runs(places):
            control.stop(run)
        until(lambda: not read.live_runs(places), "every run has ended")
        until(lambda: not any(one.keeper_alive for one in read.all_runs(places)), "every keeper has gone")
        self.house.check_nothing_is_left()
        with Studio.open_sync(places) as studio:
            rows = RequestRows(studio.db).recent(10_000)
            totals = studio.usage.report(UsageQuery()).totals
        ids = [one.id for one in rows]
        assert len(ids) == len(set(ids))
        assert set(self.answered) <= set(ids), "whoever was answered is on record"
        assert not [one for one in rows if one.finish == "streaming"]
        spent = [json.loads(path.read_text()) for path in self.house.accounts.glob("*.json")]
        wanted = sum(one["generation_tokens"] for one in spent)
        # Of an engine that is killed, stopped while it answers, or left without its keeper, the last tokens may be in
        # no counter that was read: at most what was under way. One that is killed has no account of them either.
        under_way = MOST * 8
        assert wanted - under_way * (self.killed + self.stopped) <= (totals.completion_tokens or 0)
        assert (totals.completion_tokens or 0) <= wanted + under_way * self.killed


async def live(tmp_path: Path, seed: int, *, calm: bool) -> None:
    house = House(tmp_path / "home")
    sequence = None
    try:
        sequence = Sequence(house, seed, calm=calm)
        for _ in range(sequence.random.randint(6, 16)):
            await sequence.step()
        await sequence.end()
    finally:
        if sequence is not None:
            with contextlib.suppress(ProcessLookupError):
                sequence.process.kill()
        house.end()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("calm", [True, False], ids=["calm", "rough"])
@pytest.mark.parametrize("seed", range(3))
async def test_each_request_ends_once_and_what_was_spent_is_counted_once(tmp_path: Path, seed: int, calm: bool) -> None:
    await live(tmp_path, seed, calm=calm)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("calm", [True, False], ids=["calm", "rough"])
@pytest.mark.parametrize("seed", range(*SEEDS))
async def test_many_sequences(tmp_path: Path, seed: int, calm: bool) -> None:
    await live(tmp_path, seed, calm=calm)
