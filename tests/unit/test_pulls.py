"""What comes from the hub, as the screens see it: when it is looked at, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from vllm_studio_tui.domain.download import Download, DownloadState
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.tui.flows.looking import PACE, REST
from vllm_studio_tui.tui.flows.pulls import Pulls
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.downloads import chip, facts_of, room, rows_of
from vllm_studio_tui.tui.paint.glyphs import ASCII, UNICODE
from vllm_studio_tui.tui.paint.header import header
from vllm_studio_tui.tui.paint.ink import Ink

GIB = 1024**3
RUNNING = Download(
    "a", "openai/gpt-oss-120b", "main", DownloadState.RUNNING, bytes_done=21 * GIB, bytes_total=60 * GIB,
    speed=400 * 1024**2, seconds_left=100.0, files_done=5, files_total=15,
)  # fmt: skip


class Shell:
    """As much of a shell as `Pulls` needs; its work is done at once."""

    def __init__(self) -> None:
        self.found: list[Download] = []
        self.error: StudioError | None = None
        self.looks = 0
        self.told: list[tuple[str, str]] = []
        self.studio = SimpleNamespace(downloads=SimpleNamespace(list=self._list))

    def _list(self) -> list[Download]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return list(self.found)

    def spawn(self, work: Any, *, group: str = "") -> None:
        asyncio.run(work)

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        return work()

    def tell(self, text: str, severity: str = "information") -> None:
        self.told.append((text, severity))


class World:
    """A watch of downloads on a shell, with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.shell, self.now, self.changes = Shell(), 100.0, list[bool]()
        self.pulls = Pulls(cast(Any, self.shell), self.changes.append, lambda: self.now)

    def show(self, *found: Download) -> None:
        self.shell.found = list(found)
        self.pulls.look()


def test_it_looks_each_second_while_something_comes_and_seldom_else() -> None:
    world = World()
    world.pulls.tick()
    assert world.shell.looks == 1
    world.now += PACE + 0.1
    world.pulls.tick()
    assert world.shell.looks == 1, "nothing comes"
    world.now += REST
    world.shell.found = [RUNNING]
    world.pulls.tick()
    world.now += PACE / 2
    world.pulls.tick()
    assert world.shell.looks == 2
    world.now += PACE
    world.pulls.tick()
    assert world.shell.looks == 3


def test_what_did_not_change_is_not_drawn_again() -> None:
    world = World()
    world.show()
    assert world.changes == [], "no download was there before either"
    world.show(RUNNING)
    world.show(RUNNING)
    assert world.changes == [False]
    world.show(replace(RUNNING, bytes_done=22 * GIB))
    assert world.changes == [False, False]


def test_an_end_is_told_once_and_only_of_what_was_seen_coming() -> None:
    world = World()
    done = replace(RUNNING, state=DownloadState.DONE, bytes_done=60 * GIB)
    world.show(done)
    assert world.shell.told == [], "it ended before this program began"
    world.show(RUNNING)
    world.show(done)
    world.show(done)
    assert world.shell.told == [("gpt-oss-120b is whole.", "information")]
    assert world.changes[-1] is True


def test_what_stopped_by_itself_is_told_with_what_mends_it_and_a_pause_is_not() -> None:
    world = World()
    world.show(RUNNING)
    world.show(replace(RUNNING, state=DownloadState.PAUSED))
    assert world.shell.told == []
    world.show(RUNNING)
    world.show(replace(RUNNING, state=DownloadState.FAILED, error="no room", advice="Free some."))
    assert world.shell.told == [("The download of gpt-oss-120b stopped. no room Free some.", "error")]


def test_what_cannot_be_seen_leaves_what_was_known() -> None:
    world = World()
    world.show(RUNNING)
    world.shell.error = StudioError("no connection")
    world.pulls.look()
    assert world.pulls.going == [RUNNING] and world.pulls.error is world.shell.error
    world.shell.error = None
    world.pulls.look()
    assert world.pulls.error is None


def test_those_that_come_stand_first() -> None:
    world = World()
    queued, paused = (
        replace(RUNNING, id="q", state=DownloadState.QUEUED),
        replace(RUNNING, id="p", state=DownloadState.PAUSED),
    )
    world.show(paused, queued, RUNNING, replace(RUNNING, id="d", state=DownloadState.DONE))
    assert [one.id for one in world.pulls.unfinished] == ["a", "q", "p"]


def test_a_download_in_the_header_takes_no_run_away() -> None:
    ink = Ink({})
    for width in range(40, 170):
        size = Size.FULL if width >= 150 else Size.BASE if width >= 80 else Size.COMPACT
        plain = header(ink, width, size, "dashboard", None, host="h")[0].text(width)
        found = header(ink, width, size, "dashboard", None, host="h", pulls=[RUNNING])[0].text(width)
        assert len(found) <= width
        assert "35%" in found or width < 60, (width, found)
        for digit in "12345678":
            assert (digit in plain) is (
                digit in found.replace("35%", "").replace("120b", "").replace("gpt-oss-1", "")
            ), found


def test_downloads_are_drawn_at_every_width() -> None:
    failed = replace(RUNNING, state=DownloadState.FAILED, error="why " * 60, advice="what " * 60)
    for glyphs in (UNICODE, ASCII):
        for width in range(1, 170):
            rows = rows_of([RUNNING, failed, replace(RUNNING, bytes_total=None)], glyphs, 2, width, now=0.0)
            assert all(len(row.text(max(1, width))) <= max(1, width) for row in rows)
    assert chip(RUNNING, 8) == "gpt-oss 35%"
    assert facts_of(RUNNING) == ["21.0 of 60.0 GiB", "400 MiB/s", "about 1m40s left", "5 of 15 files"]
    assert [room(one) for one in (None, 900, 3 * GIB, 2048 * GIB)] == ["–", "900 B", "3.0 GiB", "2.00 TiB"]
