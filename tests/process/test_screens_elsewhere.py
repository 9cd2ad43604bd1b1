"""The screens on a real `serve` of another home, by keys: a real model launched, talked to, read and stopped there.

And the server killed while one looks: the screens say so, nothing raises, and they find back by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.ports import free_port
from tests.process.house import House
from tests.process.serving import recipe, small_model
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.address import read_address
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.runs import read
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tui.app import StudioApp


class Server:
    """`serve` as a process of its own, on the same port each time that it is started."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vllm_studio_tui", "serve", "--port", str(self.port)],
            env={**os.environ, "VLLM_STUDIO_HOME": str(self.house.root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("vllm-studio serves on"), line

    def end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()

    def answers(self) -> list[str]:
        """What models have said in the chats there."""
        with Studio.open_sync(self.house.places) as there:
            every = [one for session in there.chats.list() for one in there.chats.tree(session.id)]
        return [one.content for one in every if one.role == "assistant"]

    def live(self) -> list[read.RunView]:
        return read.live_runs(self.house.places)


class Screens:
    """The app as a person has it: what it shows, and keys."""

    def __init__(self, app: StudioApp, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot
        self.told: list[str] = []
        tell = app.tell

        def told(text: str, *given: Any, **options: Any) -> None:
            self.told.append(text)
            tell(text, *given, **options)

        app.tell = told  # type: ignore[method-assign]

    def text(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    def header(self) -> str:
        return self.text().partition("\n")[0]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.text()}"
            await asyncio.sleep(0.05)
        assert not self.app.faults.errors

    async def shows(self, *words: str) -> None:
        await self.until(lambda: all(word in self.text() for word in words), " and ".join(words))


@pytest.fixture
def server(house: House) -> Iterator[Server]:
    house.places.config.mkdir(parents=True)
    house.places.settings_file.write_text(f"inference_port: {free_port()}\n")
    made = Server(house)
    yield made
    with contextlib.suppress(ProcessLookupError):
        made.end(signal.SIGTERM)


@contextlib.asynccontextmanager
async def screens(server: Server, here: Path) -> AsyncIterator[Screens]:
    address = replace(read_address(f"http://127.0.0.1:{server.port}", {}), called="gpu-box")
    with connect(address, Places.under(here)) as studio:
        app = StudioApp(studio, label=studio.host or "")
        async with app.run_test(size=(160, 45)) as pilot:
            yield Screens(app, pilot)


@pytest.mark.timeout(240)
async def test_a_real_model_elsewhere_is_launched_asked_read_and_stopped_by_keys(
    server: Server, tmp_path: Path
) -> None:
    fields = {"backend": "llamacpp", "model_path": str(small_model()), "max_model_len": 2048, "max_num_seqs": 1}
    with Studio.open_sync(server.house.places) as there:
        there.recipes.create(Recipe.model_validate({"id": "smol", "name": "SmolLM2", **fields}))
    server.start()
    async with screens(server, tmp_path / "here") as one:
        await one.press("2")
        await one.shows("SmolLM2")
        await one.press("r")
        await one.until(lambda: bool(server.live()), "it is launched there")
        await one.press("1")
        await one.shows("RUNS  1 ready", "SmolLM2", "c chat")
        assert "gpu-box" in one.header()
        # A chat with it.
        await one.press("c")
        await one.shows("anything.")
        await one.press(*"Say hello.", "enter")
        await one.shows("tok/s")
        await one.until(lambda: server.answers() != [""], "what it says is kept there")
        await one.press("escape")
        await one.until(lambda: "esc stop" not in one.text(), "the answer has ended")
        assert len(server.answers()) == 1
        # Its log on its screen, and the end of it on its page.
        await one.press("alt+6")
        (run,) = server.live()
        last = [line for line in run.log.read_text(errors="replace").splitlines() if line.strip()][-1]
        await one.shows(" lines", last.strip()[-30:])
        await one.press("alt+1", "enter")
        await one.shows("log", last.strip()[-30:])
        # Stopped.
        await one.press("s")
        await one.shows("Stop")
        await one.press("s")
        await one.until(lambda: not server.live(), "it is stopped there")
        await one.press("escape", "1")
        await one.shows("Nothing runs yet.")
        assert "gpu-box" in one.header()
    assert not Places.under(tmp_path / "here").database.exists(), "nothing of it was done here"


@pytest.mark.timeout(240)
async def test_a_server_that_is_killed_and_started_again_is_said_and_found_again(
    server: Server, tmp_path: Path
) -> None:
    with Studio.open_sync(server.house.places) as there:
        there.recipes.create(recipe("sim"))
    server.start()
    async with screens(server, tmp_path / "here") as one:
        await one.press("2")
        await one.shows("sim")
        await one.press("r")
        await one.until(lambda: any(run.state.value == "ready" for run in server.live()), "it is ready")
        await one.press("6")
        await one.shows(" lines")
        server.end(signal.SIGKILL)
        await one.until(lambda: "no connection" in one.header(), "the header says so")
        assert "gpu-box" in one.header()
        await one.shows("not heard")
        # Whatever one does meanwhile is answered, and nothing raises.
        for screen in "12345678":
            await one.press(screen)
            await one.until(lambda: "no connection" in one.header(), f"screen {screen} says so")
        told = len(one.told)
        await one.press("alt+1", "g")
        await one.shows("s stop")
        await one.press("s")
        await one.shows("Stop sim?")
        await one.press("s")
        await one.until(lambda: "gpu-box does not answer" in one.told[-1], "what was asked for is answered in words")
        await one.press("enter", "escape", "alt+2")
        assert one.told[told:].count(one.told[-1]) == 1, "what nobody asked for says nothing"
        server.start()
        await one.press("6")
        await one.until(lambda: "no connection" not in one.header(), "it is heard again")
        await one.until(lambda: "not heard" not in one.text(), "its log too")
        (run,) = server.live()
        with run.log.open("a") as stream:
            stream.write("a line after it all\n")
        await one.shows("a line after it all")
        await one.press("alt+1")
        await one.shows("RUNS  1 ready", "sim")
        await one.press("alt+2")
        await one.shows("simulation.engine")  # what a launch would do is found out anew
