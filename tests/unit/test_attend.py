"""What attends a rank on its host: what it answers when it is asked whether the log tells of a failure."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import RunSpec
from vllm_studio_tui.runs.attend import EXPLAINED, Attendant

CASES = Path(__file__).parents[1] / "fixtures" / "failures"
WELL = "(EngineCore pid=7) INFO 11-28 14:21:37 [default_loader.py:501] Loading weights took 0.05 seconds\n"


def answer(folder: Path, log: str | None, *, served: bool = True) -> Mapping[str, Any]:
    """Return what is told of a run with this log, as a line that its unit reads."""
    now = time.time()
    spec = RunSpec(
        "m.r1-1", "m", "M", "vllm", "m", ("x",), "127.0.0.1", 1, "http://127.0.0.1:1/v1", now, failures=FAILURES
    )
    (folder / "spec.json").write_text(json.dumps(spec.to_json()))
    # Of a run that lives it would look after the keeper.
    state = RunState("m.r1-1", State.EXITED, started_at=now, ready_at=now if served else None)
    (folder / "state.json").write_text(json.dumps(state.to_json()))
    if log is not None:
        (folder / "engine.log").write_text(log)
    attendant = Attendant(folder, 0, 1.0)
    attendant._look(time.monotonic())
    attendant._hear({"why": True})
    (line,) = attendant._out.splitlines()
    told: Mapping[str, Any] = json.loads(line)["why"]
    return told


@pytest.mark.parametrize("served", [True, False])
def test_an_error_of_an_engine_that_goes_on_is_told(tmp_path: Path, served: bool) -> None:
    whole = (CASES / "vllm-rank-failed.txt").read_text()
    log = whole[: whole.index("[shutdown]")].rpartition("\n")[0] if "[shutdown]" in whole else whole
    told = answer(tmp_path, WELL * (EXPLAINED // len(WELL)) + log, served=served)
    assert told["reason"] == "engine_error"
    assert "assert self.intermediate_tensors is not None" in told["title"]
    assert told["advice"]
    assert "AssertionError" in told["evidence"][0]


@pytest.mark.parametrize("log", [None, "", WELL * 50, "\x00\xff" * 400_000])
def test_of_a_log_that_tells_of_none_nothing_is_said(tmp_path: Path, log: str | None) -> None:
    assert answer(tmp_path, log) == {}
