"""What a keeper writes survives full disks and cut-off writers."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import CounterNames, Failure, ReadyProbe, Restart, RunSpec, Stage
from vllm_studio_tui.keeper.files import (
    LEDGER,
    STATE,
    Ledger,
    StateFile,
    backwards,
    last_chapter,
    ledger_after,
    read_ledger,
    read_spec,
    read_state,
)
from vllm_studio_tui.keeper.tree import Tree
from vllm_studio_tui.keeper.usage import UsageRecorder


def ledger_lines(path: Path) -> list[dict[str, Any]]:
    return [line for _, line in read_ledger(path)]


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
    counting = UsageRecorder(Ledger(tmp_path), Tree("r"), ())
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


def written(count: int) -> list[bytes]:
    return [
        json.dumps({"seq": n, "t": 1.0, "attempt": 1, "kind": "x", "pad": "y" * (n % 90)}).encode() + b"\n"
        for n in range(1, count + 1)
    ]


@given(st.integers(1, 200), st.integers(0, 210), st.lists(st.tuples(st.integers(0, 199), st.binary(max_size=40))))
def test_a_ledger_is_read_from_behind_the_line_that_was_folded_last(
    tmp_path_factory: pytest.TempPathFactory, count: int, last: int, torn: list[tuple[int, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("run") / LEDGER
    lines = written(count)
    for place, junk in torn:
        if place < count and place + 1 != last:
            lines[place] = junk.replace(b"\n", b"") + b"\n"
    path.write_bytes(b"".join(lines))
    begin = ledger_after(path, last)
    whole = {line["seq"] for line in ledger_lines(path)}
    rest = [line["seq"] for _, line in read_ledger(path, begin)]
    if last in whole:
        assert rest == sorted(number for number in whole if number > last)
    else:
        assert begin == 0


@given(st.lists(st.binary(max_size=80).map(lambda raw: raw.replace(b"\n", b" ")), max_size=60), st.integers(8, 64))
def test_lines_read_backwards_are_the_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], piece: int
) -> None:
    path = tmp_path_factory.mktemp("run") / LEDGER
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vllm_studio_tui.keeper.files.PIECE", piece)
        found = [line for line in backwards(path) if line]
    assert found == [line for line in reversed(lines) if line]


def test_of_a_large_ledger_only_what_is_needed_is_read(tmp_path: Path) -> None:
    class Counted:
        read = 0

    ledger = Ledger(tmp_path)
    ledger.append("spawn", 1.0, 1, pid=7, log=11)
    path = tmp_path / LEDGER
    with path.open("ab") as stream:
        for n in range(2, 40_000):
            stream.write(b'{"seq":%d,"t":2.0,"attempt":1,"kind":"counters","values":{"prompt_tokens":%d}}\n' % (n, n))
    ledger = Ledger(tmp_path)
    assert (ledger.seq, ledger.log_offset) == (39_999, 11)
    assert [line["kind"] for line in last_chapter(path)] == ["spawn"]
    real = Path.open

    def counted(self: Path, mode: str = "r") -> object:
        stream = real(self, mode)
        plain = stream.readline

        class Stream:
            def __enter__(self) -> object:
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

            def __getattr__(self, name: str) -> object:
                return getattr(stream, name)

            def readline(self, *size: int) -> bytes:
                Counted.read += 1
                return bytes(plain(*size))

        return Stream()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", counted)
        begin = ledger_after(path, 39_990)
        assert len(list(read_ledger(path, begin))) == 9
    assert Counted.read < 100


def test_what_was_folded_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm_studio_tui.kit.paths import Places
    from vllm_studio_tui.runs import ledger as folding

    places = Places.under(tmp_path)
    folder = places.runs / "r-1"
    folder.mkdir(parents=True)
    spec = RunSpec("r-1", "r", "R", "custom", "m", ("a",), "127.0.0.1", 8000, "http://127.0.0.1:8000/v1", 1.0)
    (folder / "spec.json").write_text(json.dumps(spec.to_json()))
    path = folder / LEDGER
    path.write_bytes(b"".join(written(300)))
    kept: list[int] = []

    class Rows:
        def record(self, *_: object) -> None:
            pass

        def last_seq(self, _: str) -> int:
            return max(kept, default=0)

        def fold(self, _: str, lines: object) -> int:
            assert isinstance(lines, list)
            kept.extend(line["seq"] for line in lines)
            return len(lines)

    assert folding.fold_all(places, Rows()) == 300
    begins: list[int] = []

    def spied(path: Path, begin: int = 0) -> object:
        begins.append(begin)
        return read_ledger(path, begin)

    monkeypatch.setattr(folding, "read_ledger", spied)
    size = path.stat().st_size
    with path.open("ab") as stream:
        stream.write(written(301)[-1])
    assert folding.fold_all(places, Rows()) == 1
    assert begins == [size]
    assert kept == list(range(1, 302))
