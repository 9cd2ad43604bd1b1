"""The log of a run of a studio elsewhere, on its screen and on the page of the run: read there, shown here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.elsewhere import served, short
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.tui.app import StudioApp

LINES = 400_000


class Elsewhere:
    """The screens on a studio that another thread serves, whose one run has a large log."""

    def __init__(self, app: StudioApp, pilot: Pilot[Any], log: Path) -> None:
        self.app, self.pilot, self.log = app, pilot, log

    def text(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def shows(self, words: str) -> None:
        deadline = time.monotonic() + 40
        while words not in self.text():
            assert time.monotonic() < deadline, f"not in time: {words}\n{self.text()}"
            await asyncio.sleep(0.05)
        assert not self.app.faults.errors

    async def until_gone(self, words: str) -> None:
        deadline = time.monotonic() + 40
        while words in self.text():
            assert time.monotonic() < deadline, f"still there: {words}\n{self.text()}"
            await asyncio.sleep(0.05)


def written(there: Path) -> Path:
    folder = Places.under(there).runs / "one-20260101-000000"
    folder.mkdir(parents=True)
    log = folder / "engine.log"
    with log.open("w") as stream:
        for begin in range(0, LINES, 10_000):
            stream.write("".join(f"INFO line {number} of the engine\n" for number in range(begin, begin + 10_000)))
            if begin == 200_000:
                stream.write("ERROR the one error\n")
    return log


@contextlib.asynccontextmanager
async def on_logs(places: Places, log: Path, here: Path, address: Any) -> AsyncIterator[Elsewhere]:
    with connect(address, Places.under(here)) as studio:
        app = StudioApp(studio, label=studio.host or "", place="logs")
        async with app.run_test(size=(160, 45), notifications=True) as pilot:
            yield Elsewhere(app, pilot, log)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


async def test_a_large_log_is_read_from_its_end_and_wherever_one_goes(there: Path, tmp_path: Path) -> None:
    log = written(there)
    with short(there) as places, served(places) as address:
        async with on_logs(places, log, tmp_path / "here", address) as one:
            await one.shows(f"line {LINES - 1} of the engine")
            await one.shows("400k lines")
            await one.shows("1 error")
            await one.shows(f"{LINES + 1}  ")  # its number before the last line
            with log.open("a") as stream:
                stream.write("WARNING it goes on\n")
            await one.shows("it goes on")
            await one.pilot.press("g")
            await one.shows("line 0 of the engine")
            await one.pilot.press("right_square_bracket")
            await one.shows("the one error")
            await one.shows("line 209999 of the engine")
            await one.pilot.press("slash", *"line 3001", "enter")
            await one.shows("of 11")
            await one.shows("line 300")
            await one.pilot.press("escape", "escape", "v", "v")
            await one.pilot.press("G")
            await one.shows("the one error")
            assert "of the engine" not in one.text()
            await one.pilot.press("v", "G")
            await one.shows("it goes on")
            assert not (tmp_path / "here" / "state" / "runs").exists()


async def test_while_its_studio_is_not_heard_the_log_says_so_and_then_goes_on(there: Path, tmp_path: Path) -> None:
    log = written(there)
    with short(there) as places, contextlib.ExitStack() as stack:
        serving = stack.enter_context(contextlib.ExitStack())
        address = serving.enter_context(served(places))
        async with on_logs(places, log, tmp_path / "here", address) as one:
            await one.shows(f"line {LINES - 1} of the engine")
            await asyncio.to_thread(serving.close)
            await one.shows("not heard")
            assert f"line {LINES - 1} of the engine" in one.text()
            await one.pilot.press("g", "v", "slash", "x", "enter", "escape", "escape")  # nothing of it raises
            await one.pilot.pause()
            await asyncio.to_thread(stack.enter_context, served(places))
            with log.open("a") as stream:
                stream.write("it is heard again\n")
            await one.pilot.press("escape", "escape", "G")
            await one.shows("it is heard again")
            await one.until_gone("not heard")


async def test_a_run_without_a_log_says_so(there: Path, tmp_path: Path) -> None:
    log = written(there)
    log.unlink()
    with short(there) as places, served(places) as address:
        async with on_logs(places, log, tmp_path / "here", address) as one:
            await one.shows("cannot be read: No such file or directory")
            log.write_text("now it has\n")
            await one.shows("now it has")


async def test_it_is_written_to_a_file_here_and_not_opened_in_an_editor(there: Path, tmp_path: Path) -> None:
    log = written(there)
    log.write_text("".join(f"INFO line {number}, key hf_abcdefgh12345678\n" for number in range(30_000)))
    here = tmp_path / "here"
    with short(there) as places, contextlib.ExitStack() as stack:
        serving = stack.enter_context(contextlib.ExitStack())
        address = serving.enter_context(served(places))
        async with on_logs(places, log, here, address) as one:
            await one.shows("line 29999")
            assert "$EDITOR" not in one.text().splitlines()[-1], "it cannot be, so it is not offered"
            await one.pilot.press("E")
            await one.shows("The file lies on elsewhere")
            await one.pilot.press("x")
            await one.shows("Write the log of")
            await one.pilot.press("enter")
            await one.shows("written to")
            (exported,) = Places.under(here).exports.iterdir()
            told = log.read_text().replace("hf_abcdefgh12345678", "*" * 19)
            assert exported.read_text() == told
            exported.unlink()
            await asyncio.to_thread(serving.close)
            await one.pilot.press("x")
            await one.shows("Write the log of")
            await one.pilot.press("enter")
            await one.shows("the log cannot be read")
            assert list(Places.under(here).exports.iterdir()) == [], "a part is not left as if it were the whole"
