"""The log of a job of SLURM with several ranks: whose line it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm_studio_tui.followers.slurm_log import JobLog


def log_of(path: Path) -> JobLog:
    memory: dict[str, Any] = {}
    log = JobLog(memory)
    log.note(str(path))
    return log


def test_each_line_of_a_rank_has_its_rank_and_node_before_it(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text(
        "1: Loading 2: weights\nno label: 1: x\n0: ready\n7: of none\n1: \nsrun: error: n2: task 1: Killed\n"
    )
    log = log_of(path)
    assert log.read(["n1", "n2"]).decode().splitlines() == [
        "[1 n2] Loading 2: weights", "no label: 1: x", "[0 n1] ready", "7: of none", "[1 n2] ",
        "srun: error: n2: task 1: Killed",
    ]  # fmt: skip
    assert log.read(["n1", "n2"]) == b""
    assert log.first_to_end() == ("n2", "1", "Killed")


def test_a_label_that_is_half_written_is_waited_for_and_the_last_words_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("0: one\n1")
    log = log_of(path)
    assert log.read(["n1", "n2"]) == b"[0 n1] one\n"
    with path.open("a") as file:
        file.write(": two\n0: without an end")
    assert log.read(["n1", "n2"]) == b"[1 n2] two\n"
    assert log.read(["n1", "n2"]) == b"[0 n1] without an end"


def test_of_one_rank_lines_are_passed_on_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("1: a list\n2: of two")
    assert log_of(path).read(["n1"]) == b"1: a list\n2: of two"
    assert log_of(path).read() == b"1: a list\n2: of two"
