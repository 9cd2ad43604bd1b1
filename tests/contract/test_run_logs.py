"""What every log of a run must do, whether it is a file of this machine or lies with a studio elsewhere."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.elsewhere import served, short
from vllm_studio_tui.domain.errors import NotFound
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.runs import log_index, read
from vllm_studio_tui.runs.log_index import LogIndex
from vllm_studio_tui.runs.log_pieces import LogAway, NotHere
from vllm_studio_tui.runs.log_text import LogText
from vllm_studio_tui.runs.log_window import Filter, LogWindow
from vllm_studio_tui.services.run_logs import far_text, service
from vllm_studio_tui.services.run_logs.far_log import FarLog
from vllm_studio_tui.services.run_logs.far_text import PAGE
from vllm_studio_tui.services.run_logs.run_log import LocalLog, RunLog, open_log
from vllm_studio_tui.services.run_logs.service import Logs
from vllm_studio_tui.services.runs import Runs

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\n    boom()\nValueError: no\n'


class Ground:
    """A home with one run, and its log."""

    def __init__(self, home: Path) -> None:
        self.places = Places.under(home)
        self.folder = self.places.runs / "run-1"
        self.folder.mkdir(parents=True)
        self.log = self.folder / "engine.log"
        self.carried = 0

    def far(self) -> FarLog:
        """The log as of a studio elsewhere: the service there, without the wire; counts the bytes that would cross."""
        logs = Counting(self)
        studio = SimpleNamespace(host="elsewhere", logs=logs, runs=Runs(self.places))
        return FarLog(cast(Any, studio), read.view(self.folder))


class Counting(Logs):
    def __init__(self, ground: Ground) -> None:
        super().__init__(ground.places)
        self._ground = ground

    def news(self, *given: Any) -> Any:
        found = super().news(*given)
        self._ground.carried += len(found.data)
        return found

    def read(self, *given: Any) -> bytes:
        found = super().read(*given)
        self._ground.carried += len(found)
        return found


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.fixture(params=["here", "far", "served"])
def opened(request: pytest.FixtureRequest, ground: Ground, tmp_path: Path) -> Iterator[Any]:
    """What opens the log: as a file, through the service, and through a real server and its client."""
    if request.param == "here":
        yield lambda: LocalLog(read.view(ground.folder))
    elif request.param == "far":
        yield ground.far
    else:
        home = ground.places.data.parent
        with short(home) as places, served(places) as address, connect(address, Places.under(tmp_path / "me")) as there:
            yield lambda: open_log(there, there.runs.find("run-1"))


def whole(scan: Any) -> None:
    """Look through everything."""
    for _ in range(100_000):
        moved = scan.step()
        if scan.complete or not moved:
            return


def texts(window: LogWindow) -> list[str]:
    return [line.text for line in window.lines]


def test_its_end_is_shown_numbered_and_followed(ground: Ground, opened: Any) -> None:
    ground.log.write_text("".join(f"line {number}\n" for number in range(1, 2001)))
    log: RunLog = opened()
    window, index = log.window(), log.index()
    assert texts(window)[-1] == "line 2000"
    assert window.at_end
    whole(index)
    assert (index.lines, index.complete) == (2000, True)
    assert index.numbers([line.offset for line in window.lines[-3:]]) == [1998, 1999, 2000]
    with ground.log.open("a") as stream:
        stream.write("line 2001\nhal")
    log.file.refresh()
    assert window.follow()
    assert texts(window)[-2:] == ["line 2001", "hal"]
    with ground.log.open("a") as stream:
        stream.write("f\n")
    log.file.refresh()
    assert window.follow()
    assert texts(window)[-2:] == ["line 2001", "half"]
    assert not window.rewritten
    whole(index)
    assert index.lines == 2002
    log.file.close()


def test_a_log_that_is_cut_or_written_anew_or_replaced_is_noticed(ground: Ground, opened: Any) -> None:
    ground.log.write_text("one\n" * 500)
    for change in ("cut", "anew", "replaced"):
        log: RunLog = opened()
        window = log.window()
        if change == "cut":
            os.truncate(ground.log, 40)
        elif change == "anew":
            ground.log.write_text("another\n" * 800)
        else:
            ground.log.rename(ground.folder / "old")
            ground.log.write_text("new\n" * 900)
        log.file.refresh()
        window.follow()
        assert window.rewritten or log.file.replaced(), change
        anew = opened().window()
        assert texts(anew)[-1] == ground.log.read_text().splitlines()[-1]


def test_a_run_without_a_log_raises_an_os_error(ground: Ground, opened: Any) -> None:
    with pytest.raises(OSError) as said:
        opened().window()
    assert not isinstance(said.value, LogAway)


def test_words_levels_and_stages_are_found_in_all_of_it(ground: Ground, opened: Any) -> None:
    lines = [f"INFO all is well {number}\n" for number in range(20_000)]
    lines[100] = "ERROR the first\n"
    lines[12_345] = TRACEBACK
    lines[19_000] = "WARNING the Needle\n"
    ground.log.write_text("".join(lines))
    log: RunLog = opened()
    window, index, hits = log.window(), log.index(), log.hits("needle", Filter())
    whole(index)
    whole(hits)
    assert (index.errors, index.warnings, hits.count) == (2, 1, 1)
    assert [line.text for line in log.file.lines_at(list(index.error_at)) if line] == [
        "ERROR the first",
        "ValueError: no",
    ]
    assert index.numbers(list(hits.at)) == [19_004]
    assert index.offset(19_004) == hits.at[0]
    window.set_filter(Filter("error"))
    while not window.at_start:
        assert window.add(-1, window.start, *window.fetch(-1, window.start))
    assert texts(window) == ["ERROR the first", *TRACEBACK.splitlines()]
    size = log.file.size
    at, _ = log.file.search("all is well 500", size, -1)
    assert at is not None
    assert next(iter(log.file.after(at, 1))).text.endswith("all is well 5009")
    assert log.hits("well", Filter("error")).step() in (True, False)
    assert log.file.search("nowhere", size, -1)[0] is None


def test_the_hole_of_a_log_that_was_trimmed_is_one_line(ground: Ground, opened: Any) -> None:
    with ground.log.open("wb") as stream:
        stream.write(b"first\n")
        stream.truncate(40 * 1024 * 1024)
        stream.seek(0, os.SEEK_END)
        stream.write(b"last\n")
    log: RunLog = opened()
    window = log.window()
    assert texts(window)[0] == "first"
    assert "were dropped here" in texts(window)[1]
    assert texts(window)[-1] == "last"
    assert log.file.holes() == LogText(ground.log).holes()


# --- elsewhere -------------------------------------------------------------------------------------------------


KINDS = st.sampled_from(
    [b"INFO all is well", b"ERROR bad", b"WARNING hm", b"", b"x" * 700, "é".encode() * 50, b"a NEEDLE in it",
     b"Traceback (most recent call last):", b"  File", b"ValueError: no"]
)  # fmt: skip
LINES = st.lists(KINDS, max_size=300)


@settings(max_examples=40, deadline=None)
@given(first=LINES, more=st.lists(LINES, max_size=3), ended=st.booleans(), step=st.sampled_from([40, 400]))
def test_a_far_log_reads_as_the_file_does(
    first: list[bytes], more: list[list[bytes]], ended: bool, step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ground = Ground(tmp_path_factory.mktemp("home"))
    ground.log.write_bytes(b"\n".join(first))
    far, here = ground.far(), LocalLog(read.view(ground.folder))
    far.file.refresh()
    counted: list[tuple[LogIndex, Any]] = [(one.index(), one.hits("needle", Filter())) for one in (far, here)]
    for part in [[], *more]:
        with ground.log.open("ab") as stream:
            stream.write(b"\n".join(part) + (b"\n" if ended else b""))
        far.file.refresh()
        for index, hits in counted:
            whole(index)
            whole(hits)
        (theirs, their_hits), (ours, our_hits) = counted
        assert far.file.size == here.file.size
        assert far.file.after(0, 10_000) == here.file.after(0, 10_000)
        assert far.file.before(far.file.size, step) == here.file.before(here.file.size, step)
        assert (theirs.lines, theirs.errors, theirs.warnings) == (ours.lines, ours.errors, ours.warnings)
        assert (theirs.error_at, theirs.warning_at, their_hits.at) == (ours.error_at, ours.warning_at, our_hits.at)
        places = [line.offset for line in here.file.after(0, 10_000)][::7]
        assert theirs.numbers(places) == ours.numbers(places)


def test_a_large_log_opens_at_its_end_and_only_what_is_looked_at_is_carried(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ground.log.open("w") as stream:
        for part in range(20):
            stream.write("".join(f"INFO a line of the engine {part} {number}\n" for number in range(30_000)))
    size = ground.log.stat().st_size
    assert size > 12 * 1024 * 1024
    log = ground.far()
    window = log.window()
    assert texts(window)[-1] == "INFO a line of the engine 19 29999"
    index, hits = log.index(), log.hits("engine 12 777", Filter())
    whole(index)
    whole(hits)
    assert index.lines == 20 * 30_000
    assert index.numbers([window.lines[-1].offset]) == [20 * 30_000]
    assert hits.count == 11
    window.around(hits.at[0])
    assert any(line.text == "INFO a line of the engine 12 777" for line in window.lines)
    assert ground.carried < size / 32
    # Reading all of it keeps only so much of it.
    monkeypatch.setattr(far_text, "KEPT", 40)
    at = 0
    while lines := log.file.after(at, 5000):
        at = lines[-1].end
    assert at == size
    assert len(log._text._pages) <= 40


def test_the_thread_that_draws_never_waits(ground: Ground) -> None:
    ground.log.write_text("".join(f"line {number}\n" for number in range(200_000)))
    log = ground.far()
    opened: list[LogWindow] = []
    thread = threading.Thread(target=lambda: opened.append(log.window()))
    thread.start()
    thread.join()
    (window,) = opened
    log.never_wait_here()
    carried = ground.carried
    with pytest.raises(NotHere) as missing:
        window.head()
    assert ground.carried == carried
    assert texts(window)[-1] == "line 199999"  # as it was
    thread = threading.Thread(target=lambda: log.bring(missing.value))
    thread.start()
    thread.join()
    window.head()
    assert texts(window)[0] == "line 0"
    index = log.index()
    thread = threading.Thread(target=lambda: whole(index))
    thread.start()
    thread.join()
    middle = 1_000_000 // 10 * 10
    start = LogText(ground.log).start_of(middle)
    assert index.number(start) is None
    assert index.unsettled
    thread = threading.Thread(target=index.step)
    thread.start()
    thread.join()
    assert index.number(start) == LogText(ground.log).read(0, start).count(b"\n") + 1
    assert not index.unsettled


def test_a_flood_between_two_looks_is_passed_over_and_read_when_it_is_looked_at(ground: Ground) -> None:
    ground.log.write_text("first\n")
    log = ground.far()
    window = log.window()
    with ground.log.open("a") as stream:
        stream.write("".join(f"line {number}\n" for number in range(200_000)))
    log.file.refresh()
    assert window.follow()
    assert texts(window)[-1] == "line 199999"
    assert ground.carried < 8 * PAGE
    window.head()
    assert texts(window)[:2] == ["first", "line 0"]


def test_secrets_do_not_cross_wherever_a_read_cuts_them(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2-hunter2-hunter2"
    monkeypatch.setattr(service, "known_secrets", lambda run: [secret])
    line = f"key is {secret} and hf_abcdefgh12345678 too\n"
    ground.log.write_text(line * 3000)
    logs = Logs(ground.places)
    size = ground.log.stat().st_size
    begin = random.Random(5).randrange(60, 100)
    told = b"".join(logs.read("run-1", at, 61) for at in range(begin, size, 61))
    assert len(told) == size - begin
    for part in (b"hunter2", b"unter2-hun", b"abcdefgh", b"h12345678"):
        assert part not in told
    # Half of it stands at the end of the file: the rest comes, and then no half is left of it.
    log = ground.far()
    with ground.log.open("a") as stream:
        stream.write(f"key is {secret[:12]}")
    window = log.window()
    with ground.log.open("a") as stream:
        stream.write(f"{secret[12:]}\n")
    log.file.refresh()
    window.follow()
    assert "hunter2" not in "".join(texts(window)[-2:])


@pytest.mark.parametrize("number", [-1, -(2**80), 2**62, 2**80])
def test_no_question_breaks_the_service(ground: Ground, number: int) -> None:
    ground.log.write_text("one\ntwo\n" * 100)
    logs = Logs(ground.places)
    for run_id in ("", ".", "..", "../run-1", "a/b", "none", "\0", "x" * 5000):
        with pytest.raises(NotFound):
            logs.read(run_id, 0, 10)
    assert len(logs.read("run-1", number, 2**80)) in (0, 800)
    assert logs.news("run-1", number, number, number).size == 800
    assert logs.counts("run-1", number).lines in (0, 200)
    assert logs.hits("run-1", "two", Filter(), number).count in (0, 100)
    assert len(logs.feeds("run-1", [(number, number), (0, number)])) == 2
    logs.kept("run-1", Filter("error", "x", "y"), number, number)
    logs.lines_at("run-1", [number, 0])
    logs.search("run-1", "one", number, number)
    assert logs.stages("run-1", number) == []


def test_a_studio_that_does_not_answer_is_said_as_an_os_error_with_its_words(ground: Ground, tmp_path: Path) -> None:
    ground.log.write_text("one\n")
    home = ground.places.data.parent
    with short(home) as places, contextlib.ExitStack() as stack:
        with served(places) as address:
            there = stack.enter_context(connect(address, Places.under(tmp_path / "me")))
            log = open_log(there, there.runs.find("run-1"))
            window = log.window()
        with pytest.raises(LogAway) as said:
            log.file.refresh()
        assert "does not answer" in str(said.value.strerror)
        assert texts(window) == ["one"]
        with served(places):  # it is there again
            with ground.log.open("a") as stream:
                stream.write("two\n")
            log.file.refresh()
            assert window.follow()
            assert texts(window) == ["one", "two"]


def test_many_errors_come_in_several_answers(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PLACES", 500)
    monkeypatch.setattr(log_index, "PIECE", 4096)
    ground.log.write_text("ERROR bad\n" * 5000)
    first = Logs(ground.places).counts("run-1", 0)
    assert 500 <= first.errors < 1000
    index = ground.far().index()
    cast(Any, index)._text.refresh()
    whole(index)
    assert index.errors == 5000
    assert len(index.error_at) == 5000
