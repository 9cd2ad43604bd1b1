"""Whole logs of engines that failed, each with its true cause and what to change; and logs of runs that went well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.failure_cases import CASES, HALVES
from vllm_studio_tui.backends.failures import FAILURES
from vllm_studio_tui.runs.diagnose import diagnose_file

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAILED = FIXTURES / "failures"


@pytest.mark.parametrize(("log", "reason", "title", "advice"), CASES, ids=[case[0] for case in CASES])
def test_the_cause_and_what_to_change_are_told(log: str, reason: str, title: str, advice: str) -> None:
    found = diagnose_file(FAILED / f"{log}.txt", FAILURES)
    assert (found.reason, found.explained) == (reason, True), (found.title, found.line)
    assert title in (found.title or "")
    assert advice in (found.advice or "")
    assert "{" not in (found.advice or "")
    assert found.line_number
    assert len(found.title or "") <= 260


@pytest.mark.parametrize(("log", "reason", "title"), HALVES, ids=[case[0] for case in HALVES])
def test_where_the_engine_does_not_say_what_was_meant_its_words_are_shown(log: str, reason: str, title: str) -> None:
    found = diagnose_file(FAILED / f"{log}.txt", FAILURES)
    assert found.reason == reason
    assert title in (found.title or "")


def test_each_log_has_its_row() -> None:
    named = [case[0] for case in (*CASES, *HALVES)]
    assert sorted(named) == sorted(path.stem for path in FAILED.glob("*.txt"))
    assert len(set(named)) == len(named) >= 120
