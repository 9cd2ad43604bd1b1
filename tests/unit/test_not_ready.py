"""What is said of a start that is not ready: what its prober hears, how long its log is silent, who has its port."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.functional.stage import NOW, run_view
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.runs.json_documents import run_document
from vllm_studio_tui.runs.not_ready import remarks, waiting_for
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.launching.targets import refuse_stranger
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.paint.runs import rows

OTHER = "another server answers on :8001 (pid 77, python, model theirs)"
STRANGER = {"pid": 77, "name": "python", "user": "bob", "model": "theirs"}


def loading(tmp_path: Path, log_at: float | None = None, **facts: Any) -> RunView:
    run = run_view(tmp_path, "r", State.LOADING, port=8001, started_at=NOW - 300, stage="weights", **facts)
    return dataclasses.replace(run, log_at=log_at)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ""),
        ({"heard": "/health answers 503", "heard_at": NOW - 2}, ""),
        ({"heard": "/health answers 500", "heard_at": NOW - 75}, "/health answers 500, for 1m15s"),
        ({"heard": OTHER, "heard_at": NOW, "stranger": STRANGER}, OTHER),
        ({"log_at": NOW - 30}, ""),
        ({"log_at": NOW - 240}, "its log is silent, for 4m00s"),
        (
            {"heard": "port 8001 is bound, not listening", "heard_at": NOW - 60, "log_at": NOW - 100},
            "port 8001 is bound, not listening, for 1m00s; its log is silent, for 1m40s",
        ),
    ],
)
def test_what_a_start_waits_for(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    assert waiting_for(loading(tmp_path, **facts), NOW) == words


def test_only_starts_are_remarked_on(tmp_path: Path) -> None:
    for state in (State.READY, State.STOPPING, State.FAILED):
        run = run_view(tmp_path, str(state), state, heard="x", heard_at=NOW - 500)
        assert remarks(dataclasses.replace(run, log_at=NOW - 500), NOW) == []


def test_status_tells_it_to_programs(tmp_path: Path) -> None:
    told = run_document(loading(tmp_path, heard=OTHER, heard_at=NOW, stranger=STRANGER))
    assert told["heard"] == told["waiting_for"] == OTHER
    assert told["stranger"] == STRANGER
    assert run_document(loading(tmp_path))["stranger"] is None


@pytest.mark.parametrize("size", [(160, Size.FULL), (120, Size.WIDE), (80, Size.BASE), (70, Size.COMPACT)])
@pytest.mark.parametrize("state", [State.LOADING, State.UNHEALTHY])
def test_a_stranger_is_named_on_the_dashboard(tmp_path: Path, size: tuple[int, Size], state: State) -> None:
    run = run_view(
        tmp_path, "r", state, port=8001, started_at=NOW - 9, stage="weights", heard=OTHER, heard_at=NOW,
        stranger=STRANGER, title=OTHER,
    )  # fmt: skip
    shown = "\n".join(row.text() for row in rows(RunFacts(run), UNICODE, size[0], size[1], NOW))
    assert "nother server answers on :8001" in shown


def test_a_run_whose_port_a_stranger_has_is_given_no_question(tmp_path: Path) -> None:
    refuse_stranger(run_view(tmp_path, "ours", State.READY))
    with pytest.raises(StudioError, match="cannot be asked"):
        refuse_stranger(run_view(tmp_path, "r", State.UNHEALTHY, heard=OTHER, stranger=STRANGER))


def test_a_start_in_one_line_says_what_it_waits_for_and_no_word_twice(tmp_path: Path) -> None:
    def line(run: RunView) -> str:
        return str(rows(RunFacts(run), UNICODE, 100, Size.BASE, NOW, tight=True)[0])

    silent = line(run_view(tmp_path, "r", State.STARTING, port=8001, started_at=NOW - 3))
    assert silent.count("starting") == 1
    assert "no log line yet" in silent
    begun = run_view(tmp_path, "r", State.LOADING, port=8001, started_at=NOW - 3)
    assert "no stage seen yet" in line(begun)
    assert "no stage seen yet, 3 s" in str(rows(RunFacts(begun), UNICODE, 100, Size.BASE, NOW)[0])
    waits = line(loading(tmp_path, heard="port 8001 is bound, not listening", heard_at=NOW - 60))
    assert "weights" in waits
    assert "port 8001 is bound, not listening, for 1m00s" in waits


@pytest.mark.parametrize(
    ("facts", "tone"),
    [
        ({"heard": "port 8001 is bound, not listening", "heard_at": NOW - 60}, "dim"),
        ({"heard": OTHER, "heard_at": NOW, "stranger": STRANGER}, "warn"),
        ({"log_at": NOW - 240}, "warn"),
    ],
)
def test_only_what_is_out_of_the_ordinary_is_shown_as_a_warning(
    tmp_path: Path, facts: dict[str, Any], tone: str
) -> None:
    run = loading(tmp_path, **facts)
    shown = rows(RunFacts(run), UNICODE, 120, Size.WIDE, NOW)
    words = waiting_for(run, NOW)
    styles = [style for row in shown for _, text, style in row.pieces if words.startswith(text[:12])]
    assert styles == [tone]
