"""Recordings: what was recorded is shown again, nothing that is somebody's own is in one, and no file does harm."""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.functional.stage import snapshot
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.sample import EngineHere, Host
from vllm_studio_tui.domain.series import HostSeries, RunSeries
from vllm_studio_tui.domain.timeline import TimelineEvent
from vllm_studio_tui.kit.event_bus import Bus
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.recorded import Recorded
from vllm_studio_tui.remote.recording import WHOLE, Recorder, without_own
from vllm_studio_tui.remote.replay import ReplaySampler, ReplayStudio
from vllm_studio_tui.services.watching.snapshot import Snapshot
from vllm_studio_tui.tui.flows import replaying

BEGIN = 1_800_000_000.0
CPU = HostSeries.CPU


def samples(folder: Path, count: int) -> list[Snapshot]:
    """A second apart; CPU counts them, and the last run leaves after the half."""
    one = snapshot(folder)
    made = []
    for number in range(count):
        tick = replace(one.tick, at=BEGIN + number, host=Host(cpu=float(number)))
        every = one.every if number < count // 2 else one.every[:-1]
        runs = tuple(run for run in one.runs if run in every)
        made.append(replace(one, tick=tick, every=every, runs=runs))
    return made


def record(path: Path, made: list[Snapshot], *events: TimelineEvent) -> Path:
    recorder = Recorder(path)
    for one in made:
        recorder.sample(one)
    recorder.events(events)
    recorder.close()
    return path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    event = TimelineEvent(BEGIN + 50, "failed", "llama failed: out of memory", "llama-1", "failed")
    return record(folder / "session.jsonl.gz", samples(folder, 150), event)


@pytest.fixture
def recorded(session: Path) -> Iterator[Recorded]:
    made = Recorded(session)
    yield made
    made.close()


def test_what_was_recorded_comes_out_again(session: Path, recorded: Recorded) -> None:
    wanted = [without_own(one) for one in samples(session.parent, 150)]
    found = dict(recorded.play(0))
    assert (recorded.since, recorded.until, recorded.left) == (BEGIN, BEGIN + 149, 0)
    assert [one.tick for one in found.values()] == [one.tick for one in wanted]
    assert [[run.run_id for run in one.every] for one in found.values()] == [
        [run.run_id for run in one.every] for one in wanted
    ]
    assert found[3].runs[0].status == wanted[3].runs[0].status
    assert [one.kind for one in recorded.events] == ["failed"]


@pytest.mark.parametrize("first", [0, 1, WHOLE - 1, WHOLE, WHOLE + 1, 149])
def test_any_moment_of_it_is_found(recorded: Recorded, first: int) -> None:
    number, one = next(recorded.play(first))
    assert (number, one.tick.host.cpu) == (first, float(first))
    assert recorded.index(BEGIN + first + 0.5) == first
    assert one.every


def test_nothing_that_is_somebodys_own_is_in_a_recording(tmp_path: Path) -> None:
    one = snapshot(tmp_path)
    secret = "sk-abcdefghijklmnop1234567890"  # noqa: S105, RUF100
    run = one.every[0]
    assert run.spec is not None
    spec = replace(
        run.spec,
        model="/home/alice/private/models/tiny",
        argv=("vllm", "--api-key", secret),
        env={"HF_TOKEN": secret},
        cwd="/home/alice",
        recipe={**run.spec.recipe, "api_key": secret, "env_vars": {"A": secret}, "description": "for alice"},
    )
    status = replace(run.status, title=f"died with {secret}", evidence=["prompt: my diary"], heard=secret)
    (gpu, *rest) = one.tick.gpus.gpus
    process = replace(gpu.processes[0], user="alice", command=f"/home/alice/bin/serve --api-key {secret}")
    gpus = replace(one.tick.gpus, gpus=(replace(gpu, processes=(process,)), *rest))
    foreign = (EngineHere(5, 6, "vllm", "/home/alice/m", 8000, f"http://alice:{secret}@x", "alice"),)
    changed = replace(run, spec=spec, status=status, folder=Path("/home/alice/runs/r"))
    sample = replace(one, tick=replace(one.tick, gpus=gpus), every=(changed, *one.every[1:]), foreign=foreign)
    chat = TimelineEvent(1.0, "chat", "my diary, 412 tokens", "session-1")
    path = record(tmp_path / "one.gz", [sample], chat, TimelineEvent(2.0, "failed", f"r failed: {secret}", "r"))
    text = gzip.decompress(path.read_bytes()).decode()
    for own in (secret, "alice", "diary", "session-1"):
        assert own not in text
    assert '"serve"' in text
    assert '"tiny"' in text
    assert path.stat().st_mode & 0o077 == 0


def test_a_killed_recorder_leaves_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    recorder = Recorder(path)
    for one in samples(tmp_path, 12):
        recorder.sample(one)
    recorded = Recorded(path)  # while it is written
    assert len(recorded.times) == 10
    assert len(list(recorded.play(0))) == 10
    recorded.close()
    recorder.close()


def test_a_file_that_is_there_is_not_written_over(session: Path) -> None:
    before = session.read_bytes()
    with pytest.raises(UsageError, match="there already"):
        Recorder(session)
    with pytest.raises(UsageError, match="cannot be written"):
        Recorder(session / "inside")
    assert session.read_bytes() == before


def packed(*lines: object) -> bytes:
    return gzip.compress(b"".join(json.dumps(one).encode() + b"\n" for one in lines))


HEAD = {"format": "vllm-studio-recording", "version": 1}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no recording"),
        (b"text\n" * 9, "is no recording"),
        (b"\x1f\x8b" + bytes(99), "is no recording"),
        (packed({"a": 1}), "is no recording"),
        (packed([1]), "is no recording"),
        (gzip.compress(b"\xff\xfe{"), "is no recording"),
        (packed({**HEAD, "version": 2, "studio": "9.9"}), "newer version"),
        (packed({**HEAD, "version": True}), "newer version"),
        (packed(HEAD), "has no samples"),
        (packed(HEAD, {"at": "x"}, 5, None), "has no samples"),
        (gzip.compress(json.dumps(HEAD).encode() + b"\n" + b"a" * 20_000_000), "is no recording"),
    ],
    ids=[
        "empty",
        "text",
        "cut",
        "another document",
        "a list",
        "no text",
        "newer",
        "a version that is none",
        "no sample",
        "no line of it",
        "a line without end",
    ],
)
def test_what_is_no_recording_is_said_in_words(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "other.gz"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=words):
        Recorded(path)
    with pytest.raises(UsageError, match="is no file"):
        Recorded(tmp_path / "none")


def test_more_than_it_may_be_is_refused(tmp_path: Path, session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_studio_tui.remote.recorded.MOST_BYTES", 100_000)
    with pytest.raises(UsageError, match="too large"):
        Recorded(session)
    monkeypatch.setattr("vllm_studio_tui.remote.recorded.MOST_FILE", 10)
    with pytest.raises(UsageError, match="too large"):
        Recorded(session)


def play_all(path: Path) -> None:
    """Read all of it, as far as it can be; only errors in words come out."""
    try:
        recorded = Recorded(path)
    except StudioError:
        return
    sampler = ReplaySampler(recorded, Bus())
    for at in (recorded.since, recorded.until, recorded.since):
        sampler._show(at)
    recorded.close()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_no_damage_to_a_file_raises(
    tmp_path_factory: pytest.TempPathFactory, session: Path, seed: int, hits: int
) -> None:
    rolls = random.Random(seed)
    text = bytearray(b"\n".join(gzip.decompress(session.read_bytes()).split(b"\n")[:8]))
    for _ in range(hits):
        text[rolls.randrange(len(text))] = rolls.randrange(32, 127)
    path = tmp_path_factory.mktemp("damaged") / "file.gz"
    path.write_bytes(gzip.compress(bytes(text), 1))
    play_all(path)
    raw = bytearray(session.read_bytes())
    raw[rolls.randrange(len(raw))] ^= 1 << rolls.randrange(8)
    path.write_bytes(bytes(raw[: rolls.randrange(1, len(raw))]))
    play_all(path)


wild = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["tick", "ages", "every", "shown", "runs", "specs", "foreign"]), wild)
def test_no_value_in_a_file_raises(
    tmp_path_factory: pytest.TempPathFactory, session: Path, name: str, value: object
) -> None:
    first, second = gzip.decompress(session.read_bytes()).split(b"\n")[:2]
    document = json.loads(second)
    document["sample"][name] = value
    path = tmp_path_factory.mktemp("wild") / "file.gz"
    path.write_bytes(gzip.compress(first + b"\n" + json.dumps(document, separators=(",", ":")).encode() + b"\n", 1))
    play_all(path)


def test_it_is_played_and_found_again_in_both_directions(recorded: Recorded) -> None:
    sampler = ReplaySampler(recorded, Bus(), at=BEGIN + 20)

    def cpu() -> float | None:
        assert sampler.latest is not None
        assert sampler.latest.replay is not None
        assert sampler.latest.now == sampler.latest.replay.at
        return sampler.latest.tick.host.cpu

    assert sampler.first().tick.host.cpu == 20.0
    for at in (21.0, 22.9, 100.0, 99.0, 3.0, 149.0, 0.0):
        sampler._show(BEGIN + at)
        assert cpu() == float(int(at))
    known = [value for _, value in sampler.history._series[CPU].fine]
    assert known == [float(number) for number in range(150)], "each is in the charts once"


def test_the_studio_of_a_recording_shows_it_and_touches_nothing_here(session: Path, tmp_path: Path) -> None:
    here = Places.under(tmp_path / "mine")
    studio = ReplayStudio(Recorded(session), here, at=BEGIN + 100)
    there = threading.Event()
    studio.bus.subscribe(Snapshot, lambda one: there.set() if one.tick.host.cpu in (5.0, 6.0) else None)
    assert studio.first_look().tick.host.cpu == 100.0
    (values,) = studio.timeline.over([CPU], BEGIN + 90, BEGIN + 100, 10).values()
    assert values == [float(number) for number in range(91, 101)]
    assert [one.title for one in studio.timeline.events(BEGIN, BEGIN + 100)] == ["llama failed: out of memory"]
    for run in studio.first_look().every:
        assert not run.folder.exists()
        assert (run.status.pid, run.status.keeper_pid) == (None, None)
    assert studio.processes.tree() == ()
    for refused in (lambda: studio.processes.signal([(1, 1)], "TERM"), lambda: studio.timeline.pin(BEGIN, "x")):
        with pytest.raises(UsageError):
            refused()
    studio.sampler.start()
    studio.sampler.seek(BEGIN + 5)
    assert there.wait(10)
    home = studio.places.data.parent
    studio.close()
    assert not home.exists()
    assert not (tmp_path / "mine").exists()


def test_a_moment_of_a_recording_is_explained_as_it_was_then(session: Path, tmp_path: Path) -> None:
    studio = ReplayStudio(Recorded(session), Places.under(tmp_path / "mine"), at=BEGIN + 100)
    run = studio.first_look().runs[0]
    why = studio.why.slow(run.run_id)
    assert why is not None and why.name == run.name
    assert BEGIN + 90 <= why.at <= BEGIN + 100, "the present is that of the recording"
    assert why.figures["running"].now is not None, "from its samples"
    assert studio.why.slow("somebody-else") is None
    studio.close()


def test_the_palette_moves_in_a_recording_and_offers_nothing_in_the_present(recorded: Recorded, tmp_path: Path) -> None:
    sampler = ReplaySampler(recorded, Bus(), at=BEGIN + 100)
    shell: Any = SimpleNamespace(snapshot=sampler.first(), studio=SimpleNamespace(sampler=sampler))
    offered = replaying.entries(shell)
    assert {one.group for one in offered} == {"RECORDING"}
    moved = {}
    for one in offered:
        sampler.seek(BEGIN + 100)
        sampler.set_speed(1.0)
        replaying.do(shell, one.id.removeprefix("replay:"))
        moved[one.id.removeprefix("replay:")] = (sampler.position - BEGIN, sampler.speed)
    assert moved["back-10"] == (90.0, 1.0)
    assert moved["on-60"] == (149.0, 1.0), "no further than its end"
    assert moved["begin"] == (0.0, 1.0)
    assert [moved[name][1] for name in ("pause", "faster", "slower")] == [0.0, 2.0, 0.5]
    shell.snapshot = snapshot(tmp_path)
    assert replaying.entries(shell) == []
    replaying.do(shell, "pause")
    assert sampler.speed == 0.5, "the last that was chosen"


def test_a_recording_of_before_lacks_what_came_later_and_is_shown(tmp_path: Path, session: Path) -> None:
    first, second = gzip.decompress(session.read_bytes()).split(b"\n")[:2]
    document = json.loads(second)
    for name in ("alerts", "foreign"):
        document["sample"].pop(name, None)
    document["sample"]["tick"]["of a later version"] = 1
    path = tmp_path / "old.gz"
    path.write_bytes(gzip.compress(first + b"\n" + json.dumps(document, separators=(",", ":")).encode() + b"\n"))
    recorded = Recorded(path)
    assert [one.tick.host.cpu for _, one in recorded.play(0)] == [0.0]
    recorded.close()


def test_an_engine_that_did_not_answer_is_not_drawn_at_its_last_speed(tmp_path: Path) -> None:
    one = snapshot(tmp_path)
    (run_id,) = one.tick.engines
    made = [
        replace(one, tick=replace(one.tick, at=BEGIN + second), ages={} if second < 10 else {run_id: second - 9.0})
        for second in range(20)
    ]
    found = Recorded(record(tmp_path / "stalled", made))
    sampler = ReplaySampler(found, Bus(), at=BEGIN + 19)
    try:
        sampler.first()
        drawn = sampler.history.over(RunSeries.OUTPUT.of(run_id), 2, 20.0, BEGIN + 19)
        assert drawn == [1842.0, None]
    finally:
        found.close()
