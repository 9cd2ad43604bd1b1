"""What a keeper writes survives full disks and cut-off writers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import CounterNames, Failure, ReadyProbe, Restart, RunSpec, Stage
from vllm_studio_tui.keeper.count import Counting
from vllm_studio_tui.keeper.files import LEDGER, STATE, Ledger, StateFile, ledger_lines, read_spec, read_state
from vllm_studio_tui.keeper.tree import Tree


def full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_state_that_does_not_fit_is_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StateFile(tmp_path)
    file.write(RunState("r", State.LOADING))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        file.write(RunState("r", State.READY))
        written = read_state(tmp_path)
        assert written is not None
        assert written.state is State.LOADING
        assert not file.flush()
    assert file.flush()
    written = read_state(tmp_path)
    assert written is not None
    assert written.state is State.READY
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


def test_ledger_lines_wait_for_room_and_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("spawn", 1.0, 1, pid=5)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_disk)
        ledger.append("move", 2.0, 1, to="ready")
        ledger.append("exit", 3.0, 1, code=0)
        assert not ledger.flush()
    assert ledger.flush()
    assert [(line["seq"], line["kind"]) for line in ledger_lines(tmp_path / LEDGER)] == [
        (1, "spawn"),
        (2, "move"),
        (3, "exit"),
    ]


def test_a_line_half_written_by_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("spawn", 1.0, 1)
    real, calls = os.write, 0

    def half(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(fd, data[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        ledger.append("exit", 2.0, 1)
    assert (tmp_path / LEDGER).read_bytes().count(b"\n") == 1
    assert ledger.flush()
    assert [line["seq"] for line in ledger_lines(tmp_path / LEDGER)] == [1, 2]


def test_the_next_keeper_goes_on_after_a_torn_last_line(tmp_path: Path) -> None:
    Ledger(tmp_path).append("spawn", 1.0, 1)
    with (tmp_path / LEDGER).open("ab") as stream:
        stream.write(b'{"seq":2,"t":1.0,"kin')
    Ledger(tmp_path).append("exit", 2.0, 1)
    assert [(line["seq"], line["kind"]) for line in ledger_lines(tmp_path / LEDGER)] == [(1, "spawn"), (2, "exit")]


@given(st.binary(max_size=300))
def test_no_bytes_in_a_run_directory_are_too_strange_to_read(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / STATE).write_bytes(junk)
    (folder / LEDGER).write_bytes(junk)
    read_state(folder)
    ledger_lines(folder / LEDGER)


def test_a_spec_reads_back_as_it_was_written_also_with_keys_of_a_later_version(tmp_path: Path) -> None:
    spec = RunSpec(
        "r-1",
        "r",
        "R",
        "custom",
        "m",
        ("a", "b"),
        "127.0.0.1",
        8000,
        "http://127.0.0.1:8000/v1",
        1.0,
        env_refs={"KEY": "env:K"},
        gpus=("0", "GPU-1"),
        ready=ReadyProbe("/h", "/m", "x", deadline=3.0),
        stages=(Stage("a", "weights"),),
        failures=(Failure("b", "oom", "t", restart=False),),
        counters=CounterNames("/metrics", True, ("a_total",), ("b", "c")),
        restart=Restart("on-failure", budget=5),
    )
    data = {**spec.to_json(), "of_tomorrow": 1}
    data["ready"]["of_tomorrow"] = 2
    (tmp_path / "spec.json").write_text(json.dumps(data))
    assert read_spec(tmp_path) == spec


def test_the_best_speed_of_answers_is_kept_as_the_engine_timed_them(tmp_path: Path) -> None:
    counting = Counting(Ledger(tmp_path), Tree("r"), ())
    state = RunState("r", attempt=1)
    for gaps, seconds in (
        (40.0, 40 / 145),  # an answer of a third of a second
        (50.0, 40 / 145 + 0.0001),  # too few tokens to say anything
        (140.0, 40 / 145 + 1.0),  # slower
        (340.0, 40 / 145 + 2.0),
        (1e300, 40 / 145 + 2.0),
    ):
        counting.tokens(state, {"generation_tokens": gaps, "token_gaps": gaps, "token_seconds": seconds})
    counting.new_engine()
    counting.tokens(state, {"token_gaps": 100.0, "token_seconds": 0.25})
    counting.tokens(state, {"generation_tokens": 1.0})
    lines = ledger_lines(tmp_path / LEDGER)
    assert [one["tokens_per_second"] for one in lines if one["kind"] == "peak"] == [145.0, 200.0, 400.0]
    assert all("token_gaps" not in one["values"] for one in lines if one["kind"] == "counters")
