"""The last lines of a log with their numbers, read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_studio_tui.runs import last_lines
from vllm_studio_tui.runs.last_lines import LastLines, NumberedLine, of_file
from vllm_studio_tui.runs.log_text import LogText


def test_lines_have_the_numbers_that_an_editor_gives_them(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    end = LastLines(of_file(log), around=50, before=1, after=2)
    found = end.look(2)
    assert found.count == 100
    assert found.lines == (NumberedLine(99, "line 99"), NumberedLine(100, "line 100"))
    assert [line.number for line in found.around] == [49, 50, 51, 52]
    assert [line.text for line in found.around] == ["line 49", "line 50", "line 51", "line 52"]
    with log.open("a") as stream:
        stream.write("line 101\nhalf")
    assert end.look(2).lines == (NumberedLine(101, "line 101"), NumberedLine(102, "half"))


def test_the_pieces_of_a_long_line_have_one_number(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("first\n" + "x" * 20_000 + "\nlast\n")
    found = LastLines(of_file(log)).look(5)
    assert [line.number for line in found.lines] == [1, 2, 2, 2, 3]


def test_only_what_grew_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "engine.log"
    log.write_text("line\n" * 1000)
    end = LastLines(of_file(log))
    first = end.look(3)
    read: list[int] = []
    real = LogText.read

    def counted(self: LogText, offset: int, size: int) -> bytes:
        found = real(self, offset, size)
        read.append(len(found))
        return found

    monkeypatch.setattr(LogText, "read", counted)
    assert end.look(3) is first
    assert read == []


def test_a_log_of_gigabytes_is_numbered_bit_by_bit_and_shown_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "engine.log"
    log.write_text("line\n" * 500_000)
    monkeypatch.setattr(last_lines, "PATIENCE", 0.0)
    end = LastLines(of_file(log))
    found = end.look(1)
    assert (found.count, found.lines) == (None, (NumberedLine(None, "line"),))
    monkeypatch.setattr(last_lines, "PATIENCE", 10.0)
    assert end.look(1).count == 500_000


def test_what_cannot_be_read_and_what_begins_anew_harms_nobody(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    end = LastLines(of_file(log, ["hunter2hunter2"]))
    assert end.look(3).lines == ()
    log.write_bytes(b"\xff\x00 a\nkey hunter2hunter2\n")
    found = end.look(3)
    assert found.count == 2 and "hunter2" not in found.lines[1].text
    other = tmp_path / "other"
    other.write_text("one\n")
    other.replace(log)
    assert end.look(3).lines == (NumberedLine(1, "one"),)
    log.write_text("")
    assert end.look(3).lines == ()


def test_what_an_idle_engine_says_again_and_again_is_there_once(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    idle = "".join(f"0.0{at}.000.000 I srv  update_slots: all slots are idle\n" for at in range(1, 10))
    log.write_text(f"0.00.000.001 I srv  init: model loaded\nplain\nplain\n{idle}")
    end = LastLines(of_file(log)).look(4)
    assert [line.number for line in end.lines] == [1, 2, 3, 12]
    assert end.count == 12
