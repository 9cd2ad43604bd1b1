"""Rows of runs: what they say of a start is what has happened."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.functional.stage import NOW, run_view
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import Stage
from vllm_studio_tui.tui.look.sizes import Size
from vllm_studio_tui.tui.paint import events
from vllm_studio_tui.tui.paint.glyphs import UNICODE
from vllm_studio_tui.tui.paint.run_parts import RunFacts
from vllm_studio_tui.tui.paint.runs import rows

NAMES = ("config", "weights", "compiling", "kv_cache", "graphs", "serving")


def test_a_stage_that_was_left_out_is_not_shown_as_passed(tmp_path: Path) -> None:
    """An eager run of vLLM compiles nothing and captures no graphs."""
    marks = {"config": 1.0, "weights": 4.0, "kv_cache": 9.0}
    run = run_view(tmp_path, "r", State.LOADING, started_at=NOW - 12, stage="kv_cache", marks=marks)
    assert run.spec is not None
    run = dataclasses.replace(run, spec=dataclasses.replace(run.spec, stages=tuple(Stage(f"{n}!", n) for n in NAMES)))
    shown = rows(RunFacts(run), UNICODE, 160, Size.FULL, NOW)[0].text()
    assert f"{UNICODE.passed} weights" in shown
    assert "compile" not in shown
    assert f"{UNICODE.pending} graphs" in shown, "what is to come is not known to be left out yet"


def test_words_of_events_stand_in_a_column(tmp_path: Path) -> None:
    found = [
        events.Event(NOW, State.READY, name, "ready after 57 s", name) for name in ("qwen3-32b", "deepseek-r1-70b")
    ]
    for width in (120, 58, 46):
        drawn = [row.text(width) for row in events.rows(found, UNICODE, 0, width, NOW)]
        assert len({text.index("ready after") for text in drawn}) == 1, drawn
