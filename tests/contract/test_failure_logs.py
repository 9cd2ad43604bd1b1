"""Whole logs of engines that failed, each with its true cause and what to change; and logs of runs that went well."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.failure_cases import CASES, HALVES
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.spec import Failure
from vllm_studio_tui.keeper.log_watch import LogWatch, plain
from vllm_studio_tui.keeper.pattern_words import words
from vllm_studio_tui.keeper.verdict import explain_exit
from vllm_studio_tui.runs.diagnose import diagnose_bytes, diagnose_file

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAILED = FIXTURES / "failures"
SERVED = sorted((FIXTURES / "served").glob("*.txt"))
LINES = [line for path in (*FAILED.glob("*.txt"), *SERVED) for line in path.read_text().split("\n")]


@pytest.mark.parametrize(("log", "reason", "title", "advice"), CASES, ids=[case[0] for case in CASES])
def test_the_cause_and_what_to_change_are_told(log: str, reason: str, title: str, advice: str) -> None:
    found = diagnose_file(FAILED / f"{log}.txt", FAILURES)
    assert (found.reason, found.explained) == (reason, True), (found.title, found.line)
    assert title in (found.title or "")
    assert advice in (found.advice or "")
    assert "{" not in (found.advice or "")
    assert found.line_number
    assert len(found.title or "") <= 260


@pytest.mark.parametrize("label", ["1: ", "[1 node-b] ", "[x7k2q] ", "[replica_1.log] "])
@pytest.mark.parametrize(
    "log", ["vllm-rank-failed", "vllm-config-yaml-unknown", "llamacpp-cuda-oom", "vllm-oom-weights"]
)
def test_who_wrote_a_line_changes_no_cause(tmp_path: Path, log: str, label: str) -> None:
    """Of a run that is followed, whose keeper has the lines of all ranks, pods or replicas in one log."""
    text = (FAILED / f"{log}.txt").read_text()
    found = []
    for name, labelled in (("plain", False), ("labelled", True)):
        path = tmp_path / name
        path.write_text("".join(f"{label if labelled else ''}{line}\n" for line in text.split("\n")))
        watch = LogWatch(path, (), FAILURES, labelled=labelled)
        watch.begin_at(0)
        found.append(explain_exit(watch, 1, None, was_ready=False))
    assert found[0].reason != "process_exited"
    assert found[0] == found[1]


@pytest.mark.parametrize("label", ["1: ", "[1 node-b] "])
def test_a_log_of_ranks_from_elsewhere_is_explained(label: str) -> None:
    text = (FAILED / "vllm-rank-failed.txt").read_text()
    found = diagnose_bytes("".join(f"{label}{line}\n" for line in text.split("\n")).encode(), FAILURES)
    assert (found.reason, found.title) == (
        "engine_error",
        "AssertionError: assert self.intermediate_tensors is not None",
    )


@pytest.mark.parametrize(
    "line", ["[vllm-studio] attempt 1", "[INFO] x", "[error] y", "[2026-11-28 10:00:00 TP3] z", "0.1 E x"]
)
def test_what_is_no_label_stays(line: str) -> None:
    assert plain(line.encode(), labelled=True) == [line]


@pytest.mark.parametrize(("log", "reason", "title"), HALVES, ids=[case[0] for case in HALVES])
def test_where_the_engine_does_not_say_what_was_meant_its_words_are_shown(log: str, reason: str, title: str) -> None:
    found = diagnose_file(FAILED / f"{log}.txt", FAILURES)
    assert found.reason == reason
    assert title in (found.title or "")


def test_each_log_has_its_row() -> None:
    named = [case[0] for case in (*CASES, *HALVES)]
    assert sorted(named) == sorted(path.stem for path in FAILED.glob("*.txt"))
    assert len(set(named)) == len(named) >= 120


@pytest.mark.parametrize("log", SERVED, ids=lambda path: path.stem)
def test_a_run_that_went_well_is_quiet_whatever_requests_it_refused(log: Path) -> None:
    found = diagnose_file(log, FAILURES)
    assert (found.reason, found.explained) == (None, True), (found.title, found.line)


@pytest.mark.parametrize("log", SERVED, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("code", "number", "reason"),
    [(0, None, "process_exited"), (None, signal.SIGKILL, "killed"), (1, None, "process_exited")],
)
def test_no_refused_request_explains_an_end(log: Path, code: int | None, number: int | None, reason: str) -> None:
    watch = LogWatch(log, (), FAILURES)
    watch.begin_at(0)
    found = explain_exit(watch, code, number, was_ready=True)
    assert (found.reason, found.retry) == (reason, True), (found.title, found.evidence)


def test_there_are_logs_enough() -> None:
    assert len(SERVED) >= 30


@pytest.mark.parametrize("failure", FAILURES, ids=lambda one: f"{one.reason}: {one.pattern[:30]}")
def test_a_row_is_passed_over_only_where_it_cannot_match(failure: Failure) -> None:
    needed = words(failure.pattern)
    assert needed, "each branch of a row needs a plain word, or it is tried on every line"
    pattern = re.compile(failure.pattern, re.IGNORECASE)
    for line in LINES:
        low = line.lower()
        assert any(word in low for word in needed) or not pattern.search(line)


@settings(max_examples=60)
@given(st.binary(max_size=2000), st.lists(st.sampled_from(LINES), max_size=30), st.binary(max_size=200))
def test_any_bytes_between_any_lines_are_read_without_harm(first: bytes, lines: list[str], last: bytes) -> None:
    raw = first + "\n".join(lines).encode() + last
    found = diagnose_bytes(raw, FAILURES)
    assert found.reason is None or (found.title and found.line_number)
