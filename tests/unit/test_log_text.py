"""Logs of any size, read from where they are looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.runs import log_text
from vllm_studio_tui.runs.log_text import BLOCK, LONGEST, LogText, in_traceback, level_of


class CountedLog(LogText):
    """Counts the bytes that are read of the file."""

    bytes_read = 0

    def read(self, offset: int, size: int) -> bytes:
        data = super().read(offset, size)
        self.bytes_read += len(data)
        return data


LINES = st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line and b"\0" not in line), max_size=60)


def texts(path: Path, step: int) -> tuple[list[tuple[int, int, str]], list[tuple[int, int, str]]]:
    """The whole file read forwards, and read backwards in steps."""
    log = LogText(path)
    forwards = [(line.offset, line.end, line.text) for line in log.after(0, 10_000_000)]
    backwards: list[tuple[int, int, str]] = []
    at = log.size
    while at > 0:
        part = log.before(at, step)
        assert part, at
        backwards = [(line.offset, line.end, line.text) for line in part] + backwards
        at = part[0].offset
    log.close()
    return forwards, backwards


@settings(max_examples=60, deadline=None)
@given(lines=LINES, step=st.integers(1, 9), ended=st.booleans())
def test_backwards_reads_what_forwards_reads(
    lines: list[bytes], step: int, ended: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "engine.log"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ended and lines else b""))
    forwards, backwards = texts(path, step)
    assert forwards == backwards
    assert "".join(text for _, _, text in forwards).count("\x1b") == 0


def test_a_gigabyte_opens_by_reading_its_end(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    with path.open("wb") as stream:
        stream.write(b"first\n")
        stream.truncate(1 << 30)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\n".join(b"line %d" % number for number in range(5000)) + b"\n")
    log = CountedLog(path)
    last = log.tail(800)
    assert [line.text for line in last] == [f"line {number}" for number in range(4200, 5000)]
    assert log.bytes_read < 2 << 20


def test_a_hole_is_one_line_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    with path.open("wb") as stream:
        stream.write(b"head\n" * 1000)
        stream.seek(64 << 20)
        stream.write(b"tail\n" * 1000)
    log = CountedLog(path)
    lines = log.before(log.size, 3000)
    assert len(lines) == 2001
    assert [line.hole for line in lines].count(True) == 1
    assert "MiB of the middle were dropped here" in lines[1000].text
    assert {line.text.strip("\0") for line in lines if not line.hole} == {"head", "tail"}
    log.bytes_read = 0
    assert log.search("head", log.size, -1)[0] == 4995
    assert log.bytes_read < 4 << 20
    found, _ = log.search("tail", 0, 1)
    assert found is not None
    assert log.after(found, 1)[0].text == "tail"


def test_a_hole_at_the_end_ends(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"one\n")
    os.truncate(path, 8 << 20)
    assert len(LogText(path).tail(100)) == 2


def test_a_secret_is_hidden_wherever_a_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    secret = "topsecretvalue123"
    path.write_bytes(b"x" * (LONGEST - 6) + secret.encode() + b"y" * 100 + b"\nkey sk-abcdefghijklmnop end\n")
    shown = "".join(line.text for line in LogText(path, [secret]).tail(10))
    assert "topsec" not in shown
    assert "retvalue" not in shown
    assert "sk-abc" not in shown
    assert "yyy" in shown


def test_long_lines_come_in_pieces_of_whole_characters(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("ä" * LONGEST + "\n")
    lines = LogText(path).after(0, 100)
    assert len(lines) == 3
    assert "".join(line.text for line in lines) == "ä" * LONGEST
    assert len(LogText(path).before(path.stat().st_size, 100)) == 3


def test_progress_bars_show_their_last_state(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"load:  1%\rload: 50%\rload: 100%\r\n\x1b[31mred\x1b[0m\r\n")
    assert [line.text for line in LogText(path).tail(10)] == ["load: 100%", "red"]


def test_search_goes_both_ways_across_blocks_and_says_how_far_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine.log"
    filler = b"filler line\n" * (BLOCK * 20 // 12)
    path.write_bytes(b"Needle one\n" + filler + b"a NEEDLE two\n" + filler)
    log = LogText(path)
    second, _ = log.search("needle", 5, 1)
    assert second == 11 + len(filler)
    assert log.search("needle", log.size, -1)[0] == second
    assert log.search("needle", second, -1)[0] == 0
    assert log.search("nothing", 0, 1) == (None, log.size)
    assert log.search("nothing", log.size, -1) == (None, 0)
    monkeypatch.setattr(log_text, "PATIENCE", 0.0)
    assert log.search("nothing", 0, 1) == (None, 0)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("ERROR 11-23 08:02:59 [core.py:842] EngineCore failed to start.", "error"),
        ("(EngineCore pid=7) ERROR 11-23 08:02:59 [core.py:842] x", "error"),
        ("INFO 11-23 08:02:30 retry after ConnectionError, then fine", "info"),
        ("INFO 11-23 08:02:30 plan E is chosen", "info"),
        ("(APIServer pid=1) WARNING 11-23 08:02:30 odd", "warning"),
        ("[2026-11-23 08:26:16] Scheduler hit an exception: Traceback", "error"),
        ("0.00.001.674 E srv  llama_server: broken", "error"),
        ("0.00.001.674 I srv  llama_server: fine", "info"),
        ("Segmentation fault (core dumped)", "error"),
        ("torch.OutOfMemoryError: CUDA out of memory", "error"),
        ("/usr/lib/x.py:3: UserWarning: old", "warning"),
        ("DEBUG 11-23 x", "debug"),
        ("hello", "info"),
    ],
)
def test_levels_come_from_the_words_engines_use(text: str, level: str) -> None:
    assert level_of(text) == level


def test_a_traceback_is_told_from_what_surrounds_it() -> None:
    lines = [
        "INFO a",
        "Traceback (most recent call last):",
        '  File "x.py", line 3',
        "    raise",
        "ValueError: x",
        "INFO b",
    ]
    inside, found = False, []
    for line in lines:
        inside = in_traceback(line, inside)
        found.append(inside)
    assert found == [False, True, True, True, False, False]
