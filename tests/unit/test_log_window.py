"""The part of a log that is in memory, and looking through the rest of it for lines of a level."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.runs import log_window
from vllm_studio_tui.runs.log_index import Hits
from vllm_studio_tui.runs.log_text import LogText, level_of
from vllm_studio_tui.runs.log_window import FLOOD, LAST, Filter, LogWindow, groups, may_tell

TRACEBACK = ["Traceback (most recent call last):", '  File "a.py", line 1', "    boom()", "ValueError: no"]


@pytest.fixture(autouse=True)
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_window, "PIECE", log_window.PIECE)  # tests may set it


KINDS = st.sampled_from(
    [["INFO all is well"], ["WARNING hm"], ["ERROR bad"], TRACEBACK, ["plain words"], [""], ["  indented"], ["é" * 50]]
)


def window_of(path: Path, level: str = "all") -> LogWindow:
    window = LogWindow(LogText(path))
    window.set_filter(Filter(level))
    return window


def read_all(window: LogWindow, step: int) -> None:
    """Until nothing more comes."""
    while True:
        edge = window.start if step < 0 else window.end
        if not window.add(step, edge, *window.fetch(step, edge)):
            return


@pytest.mark.parametrize("level", ["all", "warning", "error"])
@settings(max_examples=40, deadline=None)
@given(parts=st.lists(KINDS, max_size=1200), begin=st.floats(0, 1), piece=st.integers(60, 3000))
def test_a_level_finds_the_same_lines_from_wherever_it_begins(
    level: str, parts: list[list[str]], begin: float, piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "engine.log"
    log_window.PIECE = piece
    path.write_text("".join(f"{line}\n" for part in parts for line in part))
    window = window_of(path, level)
    whole = window._select(window.file.after(0, 100_000))
    offset = window.file.start_of(int(begin * max(0, window.file.size - 1)))
    window.around(offset)
    read_all(window, -1)
    read_all(window, 1)
    assert window.at_start
    assert window.at_end
    # A piece that begins within a traceback cannot know it: of that one the first lines may be missing.
    missing = [line for line in whole if line not in window.lines]
    assert len(missing) <= len(TRACEBACK)
    assert [line for line in window.lines if line not in whole] == []
    assert window.lines == sorted(window.lines, key=lambda line: line.offset)


def test_an_error_at_the_beginning_of_a_large_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("ERROR the first\n" + "INFO nothing\n" * 200_000 + "ERROR the last\n")
    window = window_of(path, "error")
    assert [line.text for line in window.lines] == ["ERROR the last"]
    read_all(window, -1)
    assert [line.text for line in window.lines] == ["ERROR the first", "ERROR the last"]
    assert window.at_start


def test_what_comes_is_kept_by_its_level_and_a_traceback_is_joined(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("INFO begin\n")
    window = window_of(path, "error")
    with path.open("a") as stream:
        for piece in (
            "INFO x\nTraceback (most recent",
            " call last):\n",
            '  File "a.py"\n',
            "ValueError: no\nINFO y\n",
        ):
            stream.write(piece)
            stream.flush()
            assert window.follow()
    assert [[line.text for line in lines] for lines, _ in groups(window.lines)] == [
        ["Traceback (most recent call last):", '  File "a.py"'],
        ["ValueError: no"],
    ]
    assert not window.follow()


def test_a_flood_is_passed_over_unless_a_level_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("INFO begin\n")
    every, errors = window_of(path), window_of(path, "error")
    flood = "INFO flood\n" * (FLOOD // 5)
    with path.open("a") as stream:
        stream.write(f"{flood}ERROR in the middle\n{flood}")
    assert every.follow()
    assert every.skipped > FLOOD
    assert len(every.lines) == LAST
    errors.follow()
    read_all(errors, 1)
    assert [line.text for line in errors.lines] == ["ERROR in the middle"]
    assert errors.at_end


def test_a_log_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("one\ntwo\n")
    window = window_of(path)
    path.write_text("other\n")
    assert window.follow()
    assert [line.text for line in window.lines] == ["other"]


@given(st.text(max_size=90))
def test_a_piece_that_is_passed_over_holds_no_line_that_tells(text: str) -> None:
    line = text.replace("\n", " ")
    if level_of(line) in ("warning", "error"):
        assert may_tell(line.encode() + b"\n")


@pytest.mark.parametrize(
    "line", ["12.3 E failed", "[W] hm", "ERROR", "foo.BarException", "x: error: y", "Killed", "UserWarning: x"]
)
def test_what_tells_is_looked_at(line: str) -> None:
    assert may_tell(f"INFO\n{line}\nINFO\n".encode())


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(["ERROR needle", "INFO needle", "WARNING no", "ERROR a Needle", "", "é needle"]), max_size=80
    ),
    step=st.sampled_from([-1, 1]),
    level=st.sampled_from(["all", "error"]),
)
def test_a_search_finds_each_line_one_after_the_other_and_hits_are_those_that_are_kept(
    lines: list[str], step: int, level: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "engine.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    file = LogText(path)
    wanted = [line for line in file.after(0, 1000) if "needle" in line.text.lower()]
    found: list[int] = []
    at = 0 if step > 0 else file.size
    while (hit := file.search("needle", at, step)[0]) is not None:
        found.append(hit)
        at = hit if step < 0 else file.after(hit, 1)[0].end
    assert found == [line.offset for line in wanted[::step]]
    hits = Hits(file, "Needle", Filter(level).keeps_text)
    while hits.step(deadline=10.0):
        pass
    assert list(hits.at) == [line.offset for line in wanted if level == "all" or "ERROR" in line.text]
